"""Stretches of time: they fill the period, and each is asked about from what was known."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from seqmarket.attribution import grid as module
from seqmarket.attribution.grid import make_grid
from seqmarket.attribution.journeys import Journeys
from seqmarket.schema import MICROSECONDS_PER_DAY

Make = Callable[..., Journeys]
Log = list[list[tuple[Any, ...]]]


def stretches_are_as_by_hand(make: Make, log: Log) -> None:
    journeys = make(log, first=10.0, until=40.0)
    grid = make_grid(journeys.events, journeys.period, timedelta(days=4))
    found: dict[int, list[tuple[float, float, int, int]]] = {}
    for row in range(len(grid.time)):
        found.setdefault(int(grid.customer[row]), []).append(
            (
                float(grid.time[row] / MICROSECONDS_PER_DAY),
                float(grid.days[row]),
                int(grid.event[row]),
                int(grid.purchases[row]),
            )
        )
    offset = 0
    for customer, journey in enumerate(log):
        moments = {day for day, *_ in journey if 10 <= day < 40}
        moments |= {float(day) for day in range(10, 40, 4) if day >= journey[0][0]}
        rows = sorted(moments)
        expected = []
        for i, begin in enumerate(rows):
            end = rows[i + 1] if i + 1 < len(rows) else 40.0
            newest = max(k for k, event in enumerate(journey) if event[0] <= begin)
            last = i + 1 == len(rows)
            bought = sum(
                event[1] == "buy" and (begin < event[0] < end or (event[0] == end and not last))
                for event in journey
            )
            expected.append((begin, pytest.approx(end - begin), offset + newest, bought))
        assert found.pop(customer, []) == expected
        offset += len(journey)
    assert not found


@pytest.mark.parametrize("seed", range(6))
def test_stretches_are_as_by_hand(make: Make, random_log: Callable[[int], Log], seed: int) -> None:
    stretches_are_as_by_hand(make, random_log(seed))


def test_a_stretch_that_knows_the_next_event_is_noticed(
    make: Make, random_log: Callable[[int], Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = module._newest
    monkeypatch.setattr(
        module, "_newest", lambda events, customer, time: honest(events, customer, time + 10**12)
    )
    with pytest.raises(AssertionError):
        stretches_are_as_by_hand(make, random_log(0))
