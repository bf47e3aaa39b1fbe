"""What ours says of a stored log, as `attribution_peers.py` asks: one method, in its own process.

    python -m benchmarks.attribution_ours STORE "markov 3" 5d

The answer is one line of JSON, as of `attribution_credit.py`: `read` are the seconds from the store
to journeys. No method and no library that is not asked for is imported, so that the memory is the
method's own.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

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


def peak_memory() -> float:
    """Peak resident memory in MiB; a child's getrusage would begin with the peak of its parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


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
    imports, began = peak_memory(), time.process_time()
    journeys = whole(open_store(options.store), options.lookback)
    read = time.process_time()
    found = method.attribute(Evidence(journeys, journeys))
    done = time.process_time()
    credit = by_channel(journeys, found.credit)
    answer = {
        "credit": dict(zip(journeys.channels, credit.tolist(), strict=True)),
        "read": read - began,
        "seconds": done - read,
        "MiB": peak_memory(),
        "imports": imports,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
