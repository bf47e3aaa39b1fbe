"""Attribution methods against the truth of simulated worlds: accuracy and time.

make bench-attribution ARGS="--customers 20000 --presets confounded"
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import polars as pl

from seqmarket.attribution.attributor import Attributor, Evidence
from seqmarket.attribution.evaluation import truth_table
from seqmarket.attribution.first import FirstTouch
from seqmarket.attribution.journeys import Journeys, JourneySettings, make_journeys
from seqmarket.attribution.last import LastTouch
from seqmarket.attribution.last_non_direct import LastNonDirect
from seqmarket.attribution.linear import Linear
from seqmarket.attribution.markov import MarkovRemoval
from seqmarket.attribution.position_based import PositionBased
from seqmarket.attribution.regression import Regression
from seqmarket.attribution.shapley import ShapleySets
from seqmarket.attribution.time_decay import TimeDecay
from seqmarket.data.log_settings import LogSettings
from seqmarket.data.prepare import Workshop, prepare_store
from seqmarket.data.settings import EncodingSettings, SplitSettings
from seqmarket.data.simulation.truth import Truth
from seqmarket.data.simulation.world import PRESETS
from seqmarket.data.sources.simulator import JourneySimulator
from seqmarket.data.store import SequenceStore
from seqmarket.schema import MICROSECONDS_PER_DAY

METHODS: dict[str, Attributor] = {
    "first": FirstTouch(),
    "last": LastTouch(),
    "last_non_direct": LastNonDirect(),
    "linear": Linear(),
    "position_based": PositionBased(),
    "time_decay": TimeDecay(),
    "markov": MarkovRemoval(),
    "shapley": ShapleySets(),
    "shapley_rate": ShapleySets(game="rate"),
    "regression": Regression(),
}


def simulated_store(preset: str, customers: int, seed: int, folder: Path) -> SequenceStore:
    """A simulated log, encoded."""
    split = SplitSettings(train_fraction=0.6, validation_fraction=0.2)
    source = simulator(preset, customers, seed)
    return prepare_store(source, LogSettings(), split, EncodingSettings(), Workshop(folder))


def simulated(
    preset: str, customers: int, seed: int, folder: Path
) -> tuple[Journeys, Journeys, Truth]:
    """The journeys of the test and of the training period, and what is true of the former."""
    source = simulator(preset, customers, seed)
    store = simulated_store(preset, customers, seed, folder)
    settings = JourneySettings.model_validate(
        {"touches": {"channel": source.world.names}, "lookback": "30d"}
    )
    periods = store.split.periods
    present, past = (
        make_journeys(store.events, store.spec, periods[fold], settings)
        for fold in ("test", "train")
    )
    first = (periods["test"].start - periods["train"].start) // MICROSECONDS_PER_DAY
    return present, past, source.truth(int(first))


def simulator(preset: str, customers: int, seed: int) -> JourneySimulator:
    given = {"preset": preset, "n_customers": customers, "seed": seed}
    return JourneySimulator.model_validate(given)


def measure(preset: str, customers: int, seed: int, folder: Path) -> pl.DataFrame:
    """One row per method: its scores, and the seconds that it took."""
    present, past, truth = simulated(preset, customers, seed, folder)
    found, seconds = {}, {}
    for name, method in METHODS.items():
        began = time.perf_counter()
        found[name] = method.attribute(Evidence(present, past))
        seconds[name] = time.perf_counter() - began
    table = truth_table(present, found, truth)
    print(f"\n{preset}: {len(present.conversion):,} conversions, {len(present.touch):,} touches")
    return table.with_columns(
        seconds=pl.col("method").replace_strict(seconds, return_dtype=pl.Float64)
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--presets", nargs="+", default=list(PRESETS), choices=list(PRESETS))
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        pl.Config(
            tbl_rows=-1,
            tbl_cols=-1,
            tbl_width_chars=140,
            float_precision=3,
            tbl_hide_column_data_types=True,
        ),
    ):
        for preset in options.presets:
            print(measure(preset, options.customers, options.seed, Path(folder)))


if __name__ == "__main__":
    main()
