"""Attribution methods against the truth of simulated worlds: accuracy, intervals and time.

make bench-attribution ARGS="--customers 20000 --presets confounded"
make bench-attribution ARGS="--presets unconfounded --methods deconfounded --seeds 20 --intervals"
make bench-attribution ARGS="--model gru"     # also the methods that ask a run's own model
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from seqmarket.attribution.attributor import Attribution, Attributor, Evidence
from seqmarket.attribution.config import build_methods
from seqmarket.attribution.evaluation import truth_table
from seqmarket.attribution.journeys import Journeys, JourneySettings, make_journeys
from seqmarket.attribution.summary import channel_summary
from seqmarket.cli.compose import load_plain
from seqmarket.data.log_settings import LogSettings
from seqmarket.data.prepare import Workshop, prepare_store
from seqmarket.data.settings import EncodingSettings, SplitSettings
from seqmarket.data.simulation.truth import Truth
from seqmarket.data.simulation.world import PRESETS
from seqmarket.data.sources.simulator import JourneySimulator
from seqmarket.data.splits import to_microseconds
from seqmarket.data.store import SequenceStore
from seqmarket.errors import SeqmarketError
from seqmarket.schema import MICROSECONDS_PER_DAY
from seqmarket.training.checkpoint import TrainedModel, load_trained
from seqmarket.training.config import ComponentConfig

_NETWORKS = ("attention", "attention_gradient", "integrated_gradients", "removal", "deep_shapley")
"""They ask a run's own model; so does rollout, of layers of attention."""


def methods(names: list[str], *, intervals: bool = False) -> dict[str, Attributor]:
    """As `attribution=all` has them; what is learnt is learnt once, without intervals."""
    plain = load_plain([], "attribute")["attribution"]
    for component in plain.values():
        if "groups" in component and not intervals:
            component["groups"] = 0
    return build_methods({name: ComponentConfig.model_validate(plain[name]) for name in names})


def without_a_network() -> list[str]:
    """Names of the methods that need no run."""
    asks = (*_NETWORKS, "rollout")
    return [name for name in load_plain([], "attribute")["attribution"] if name not in asks]


def simulated_store(preset: str, customers: int, seed: int, folder: Path) -> SequenceStore:
    """A simulated log, encoded as `data=simulator` does."""
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
    first = (present.period.start - to_microseconds(source.start)) // MICROSECONDS_PER_DAY
    return present, past, source.truth(int(first))


def simulator(preset: str, customers: int, seed: int) -> JourneySimulator:
    given = {"preset": preset, "n_customers": customers, "seed": seed}
    return JourneySimulator.model_validate(given)


def trained(model: str, preset: str, customers: int, seed: int, folder: Path) -> TrainedModel:
    """A run on the same log."""
    overrides = [
        f"model={model}",
        "data=simulator",
        f"data.preset={preset}",
        f"data.n_customers={customers}",
        f"data.seed={seed}",
        f"paths.output_dir={folder / 'outputs'}",
        f"paths.cache_dir={folder}",
        "tracking=off",
        *(f"~model@baselines.{name}" for name in load_plain([], "config")["baselines"]),
    ]
    subprocess.run([sys.executable, "train.py", *overrides], check=True)
    newest = max((folder / "outputs").rglob("model.ckpt"), key=lambda path: path.stat().st_mtime)
    return load_trained(newest)


def measure(preset: str, seed: int, options: argparse.Namespace, folder: Path) -> pl.DataFrame:
    """One row per method: its scores, seconds, and the part of the channels that are covered."""
    present, past, truth = simulated(preset, options.customers, seed, folder)
    names = list(options.methods or without_a_network())
    run = None
    if options.model:
        run = trained(options.model, preset, options.customers, seed, folder)
        names += _NETWORKS
    found: dict[str, Attribution] = {}
    seconds = {}
    for name, method in methods(names, intervals=options.intervals).items():
        began = time.perf_counter()
        try:
            found[name] = method.attribute(Evidence(present, past, run))
        except SeqmarketError as error:
            print(f"{name}: {error.what}")
            continue
        seconds[name] = time.perf_counter() - began
    holds = covered(present, found, truth)
    table = (
        truth_table(present, found, truth)
        .with_columns(seconds=pl.col("method").replace_strict(seconds, return_dtype=pl.Float64))
        .join(holds.group_by("method").agg(pl.col("credit", "share").mean()), on="method")
        .rename({"credit": "covered_credit", "share": "covered_share"})
    )
    print(f"\n{preset}, seed {seed}: {len(present.conversion):,} conversions", flush=True)
    print(table, flush=True)
    return table


def covered(journeys: Journeys, found: dict[str, Attribution], truth: Truth) -> pl.DataFrame:
    """Whether the intervals of 90 % hold what is true of a channel, of its credit and its share."""
    true = truth.channels.select(
        "channel", "shapley", true_share=pl.col("shapley") / pl.col("shapley").sum()
    )
    return (
        channel_summary(journeys, found)
        .join(true, on="channel")
        .select(
            "method",
            "channel",
            credit=pl.col("shapley").is_between("credit_low", "credit_high"),
            share=pl.col("true_share").is_between("share_low", "share_high"),
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--presets", nargs="+", default=list(PRESETS), choices=list(PRESETS))
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=1, help="worlds of each preset")
    parser.add_argument("--methods", nargs="+", help="all that need no run, unless given")
    parser.add_argument("--model", help="train a run on each log, and ask it too: gru")
    parser.add_argument("--intervals", action="store_true", help="learn without each group, too")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    pl.Config(
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_width_chars=140,
        float_precision=3,
        tbl_hide_column_data_types=True,
    )
    for preset in options.presets:
        scores = []
        for seed in range(1, options.seeds + 1):
            with tempfile.TemporaryDirectory() as folder:
                scores.append(measure(preset, seed, options, Path(folder)))
        if options.seeds > 1:
            print(f"\n{preset}: means over {options.seeds} seeds; intervals of 90 %")
            print(pl.concat(scores).group_by("method").mean().sort("share_error"), flush=True)


if __name__ == "__main__":
    main()
