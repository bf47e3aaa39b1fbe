"""What ours says of a stored log, as `attribution_peers.py` asks: one method, in its own process.

    python -m benchmarks.attribution_ours STORE "markov 3" 5d

The answer is that of `attribution_measure.py`; what is read is the store, up to journeys. No method
and no library that is not asked for is imported, so that the memory is the method's own.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.attribution_measure import measure
from seqmarket.attribution.attributor import Evidence
from seqmarket.attribution.journeys import Floats, Journeys, JourneySettings, make_journeys
from seqmarket.attribution.paths import slices
from seqmarket.data.splits import Period
from seqmarket.data.store import SequenceStore, open_store

OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "first": ("first.FirstTouch", {}),
    "last": ("last.LastTouch", {}),
    "linear": ("linear.Linear", {}),
    "position_based": ("position_based.PositionBased", {}),
    "time_decay": ("time_decay.TimeDecay", {}),
    "markov 1": ("markov.MarkovRemoval", {"order": 1}),
    "markov 2": ("markov.MarkovRemoval", {"order": 2}),
    "markov 3": ("markov.MarkovRemoval", {"order": 3}),
    "markov auto": ("markov.MarkovRemoval", {}),
    "shapley": ("shapley.ShapleySets", {}),
    "shapley, rate": ("shapley.ShapleySets", {"game": "rate"}),
}


def method_of(name: str) -> Any:
    """One of ours; imports no other."""
    path, options = OURS[name]
    module, kind = path.split(".")
    return getattr(import_module(f"seqmarket.attribution.{module}"), kind)(**options)


def whole(store: SequenceStore, lookback: str) -> Journeys:
    """The journeys of all of a simulated log."""
    known = store.spec.channel.categories
    touches = {"channel": [name for name in known if name not in ("direct", "shop", "site")]}
    settings = JourneySettings.model_validate({"touches": touches, "lookback": lookback})
    periods = store.split.periods
    return make_journeys(
        store.events, store.spec, Period(periods["train"].start, periods["test"].end), settings
    )


def by_channel(journeys: Journeys, credit: Floats) -> Floats:
    """(K,) credit of each channel."""
    k, channel = len(journeys.channels), journeys.channel
    found = [np.bincount(channel[some], credit[some], k) for some in slices(len(credit))]
    return np.asarray(np.sum(found, axis=0))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store", type=Path)
    parser.add_argument("method", choices=OURS)
    parser.add_argument("lookback")
    options = parser.parse_args()
    method = method_of(options.method)

    def credit(journeys: Journeys) -> dict[str, float]:
        found = by_channel(journeys, method.attribute(Evidence(journeys, journeys)).credit)
        return dict(zip(journeys.channels, found.tolist(), strict=True))

    measure(lambda: whole(open_store(options.store), options.lookback), credit)


if __name__ == "__main__":
    main()
