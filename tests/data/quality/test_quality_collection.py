"""Days are judged by the same weekdays around them."""

from __future__ import annotations

from datetime import date

import numpy as np

from seqmarket.data.quality.collection import UnusualDays, unusual_days

MONDAY = 19_723  # 2024-01-01
N = 140


def usual(weekend: int = 30, growth: float = 0.0) -> np.ndarray:
    days = np.arange(N)
    level = np.where(days % 7 >= 5, weekend, 100) * (1 + growth * days)
    return np.random.default_rng(5).poisson(level)


def judged(events: np.ndarray) -> tuple[tuple[UnusualDays, ...], tuple[UnusualDays, ...]]:
    present = np.flatnonzero(events)
    return unusual_days(MONDAY + present, events[present])


def test_a_steady_log_a_growing_one_and_closed_weekends_are_usual() -> None:
    for events in (usual(), usual(growth=0.05), usual(weekend=0), usual(weekend=2)):
        assert judged(events) == ((), ())


def test_days_without_events() -> None:
    events = usual()
    events[50:60] = 0
    quiet, bursts = judged(events)
    assert [(gap.start, gap.end, gap.events) for gap in quiet] == [
        (date(2024, 2, 20), date(2024, 2, 29), 0)
    ]
    assert 700 < quiet[0].usual < 900
    assert bursts == ()


def test_a_gap_longer_than_what_it_is_compared_with() -> None:
    events = usual()
    events[40:105] = 0
    assert [gap.days for gap in judged(events)[0]] == [65]


def test_days_with_few_and_with_many_events() -> None:
    events = usual()
    events[70] = 5  # a Monday
    events[75] = 260  # a Saturday: as much as five Saturdays, not as much as three Mondays
    quiet, bursts = judged(events)
    assert [(day.start, day.events) for day in quiet] == [(date(2024, 3, 11), 5)]
    assert [(day.start, day.events) for day in bursts] == [(date(2024, 3, 16), 260)]


def test_a_slow_start_is_no_gap() -> None:
    events = usual()
    events[:40] = 0
    events[[0, 15, 29]] = 300  # three mailings before the shop opens
    assert judged(events) == ((), ())


def test_the_first_and_the_last_day_may_be_incomplete() -> None:
    events = usual()
    events[[0, -1]] = 1
    assert judged(events) == ((), ())


def test_short_and_sparse_logs() -> None:
    assert unusual_days(np.array([5]), np.array([3])) == ((), ())
    assert unusual_days(np.array([5, 6, 9]), np.array([3, 1, 1])) == ((), ())
    assert unusual_days(np.array([0, 3, 106_000_000]), np.array([3, 1, 1])) == ((), ())
