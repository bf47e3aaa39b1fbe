"""How far shares move with choices and luck that should not matter much.

A share that moves is not wrong, and one that stays is not right: a rule never moves far.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import polars as pl

from seqmarket.attribution.attributor import (
    Attribution,
    Attributor,
    Evidence,
    by_customer,
    shares_of,
)
from seqmarket.attribution.journeys import Floats, Journeys, JourneySettings, make_journeys
from seqmarket.attribution.paths import Ints
from seqmarket.attribution.summary import resample
from seqmarket.data.settings import Settings
from seqmarket.errors import SeqmarketError
from seqmarket.schema import EventArrays

_LOST = (0.1, 0.2)
"""Parts of the touches that are lost."""


def stability_table(
    evidence: Evidence,
    attributions: Mapping[str, Attribution],
    methods: Mapping[str, Attributor],
    *,
    n_resamples: int = 500,
    seed: int = 0,
    level: float = 0.9,
) -> pl.DataFrame:
    """One row per method.

    Columns: `method`; the mean absolute change of the channels' shares with half and twice the
    lookback (`lookback_half`, `lookback_double`) and where 10 and 20 % of the touches are lost by
    chance (`lost_10`, `lost_20`); and the mean width of the shares' intervals (`interval_width`).
    Null where a method cannot be used, or the credit of all touches is not above 0. Methods that
    learn do so anew each time; those that ask the run's model ask the same one.

    Args:
        evidence: What the methods looked at.
        attributions: What they said, by name.
        methods: The methods themselves.
        n_resamples: Of customers, behind each interval; 0: no intervals.
        seed: Of what is lost and of the resamples.
        level: Of the intervals.

    Raises:
        SeqmarketError: There is no touch whose share could move.
    """
    journeys = evidence.journeys
    touched = np.unique(journeys.channel)
    if not len(touched):
        raise SeqmarketError(
            "there is no touch whose share could move",
            where="stability",
            fix="stability=false, or name other touches (journeys.touches)",
        )
    others = dict(_others(evidence, seed))
    rows = []
    for name, found in attributions.items():
        before = _shares(journeys, found)
        row: dict[str, str | float | None] = {"method": name}
        for change, other in others.items():
            after = _shares_of(once(methods[name]), other)
            moved = None if after is None else np.abs(after - before)[touched].mean()
            row[change] = None if moved is None or np.isnan(moved) else float(moved)
        low, high = resample(journeys, found, n_resamples=n_resamples, seed=seed).share_interval(
            level
        )
        width = (high - low)[touched].mean()
        rows.append({**row, "interval_width": None if np.isnan(width) else float(width)})
    return pl.DataFrame(rows, infer_schema_length=None)


def once(method: Attributor) -> Attributor:
    """The method, without what only its own intervals need, which takes longest."""
    if isinstance(method, Settings) and "groups" in type(method).model_fields:
        return method.model_copy(update={"groups": 0})
    return method


def without_some(journeys: Journeys, part: float, seed: int) -> Journeys:
    """The same journeys, had some of the touches not been logged.

    Args:
        journeys: The journeys.
        part: Of all touches of the log but customers' first events, that is lost.
        seed: Of which; the same touches are lost from all journeys of a log.
    """
    lucky = np.random.default_rng(seed).random(journeys.events.n_events) >= part
    lucky[journeys.events.offsets[:-1]] = True  # what customers are known by
    kept = np.flatnonzero(lucky | ~journeys.is_touch)
    return _again(journeys, journeys.settings, _only(journeys.events, kept))


def _others(evidence: Evidence, seed: int) -> Iterator[tuple[str, Evidence]]:
    # What is learnt from and what is attributed are changed alike.
    both = evidence.journeys, evidence.history
    for name, times in (("half", 0.5), ("double", 2.0)):
        present, past = (_looking_back(journeys, times) for journeys in both)
        yield f"lookback_{name}", Evidence(present, past, evidence.trained)
    for part in _LOST:
        present, past = (without_some(journeys, part, seed) for journeys in both)
        yield f"lost_{round(100 * part)}", Evidence(present, past, evidence.trained)


def _looking_back(journeys: Journeys, times: float) -> Journeys:
    asked = journeys.settings
    longer = asked.model_copy(update={"lookback": asked.lookback * times})
    return _again(journeys, longer, journeys.events)


def _again(journeys: Journeys, settings: JourneySettings, events: EventArrays) -> Journeys:
    return make_journeys(events, journeys.spec, journeys.period, settings, journeys.members)


def _only(events: EventArrays, kept: Ints) -> EventArrays:
    return replace(
        events,
        offsets=np.searchsorted(kept, events.offsets),
        time=events.time[kept],
        channel=events.channel[kept],
        event_type=events.event_type[kept],
        purchase=events.purchase[kept],
        value=events.value[kept],
        categorical=events.categorical[kept],
        features=events.features[kept],
    )


def _shares_of(method: Attributor, evidence: Evidence) -> Floats | None:
    try:
        return _shares(evidence.journeys, method.attribute(evidence))
    except SeqmarketError:
        return None


def _shares(journeys: Journeys, found: Attribution) -> Floats:
    """(K,) of the channels."""
    return shares_of(by_customer(journeys, found.credit).sum(axis=0))
