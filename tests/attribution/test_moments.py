"""Moments to learn from, and the events before them, against plain loops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from seqmarket.attribution import moments as module
from seqmarket.attribution.journeys import Journeys
from seqmarket.attribution.moments import Moments, Pairs
from seqmarket.attribution.paths import Ints
from seqmarket.schema import MICROSECONDS_PER_DAY

Make = Callable[..., Journeys]
RandomLog = Callable[[int], list[list[tuple[Any, ...]]]]
Mutant = Callable[[pytest.MonkeyPatch], None]
DAY = MICROSECONDS_PER_DAY


def asked(journeys: Journeys, seed: int) -> tuple[Ints, Ints]:
    """Every event's own moment, and some that are drawn."""
    random = np.random.default_rng(seed)
    drawn = random.integers(journeys.n_customers, size=200)
    moments = random.integers(0, 60, size=200) * DAY
    return (
        np.concatenate([journeys.owner, drawn]),
        np.concatenate([journeys.events.time, moments]),
    )


def earlier_events_hold(
    make: Make, log: list[list[tuple[Any, ...]]], seed: int, margin: int = 0
) -> None:
    journeys = make(log, margin=f"{margin}d")
    time, owner = journeys.events.time, journeys.owner
    lookback = 10 * DAY
    customer, at = asked(journeys, seed)
    bought = np.flatnonzero(journeys.events.purchase)
    for among, found in (
        (journeys.every_touch, module.earlier_touches(journeys, customer, at)),
        (bought, module.earlier_events(journeys, bought, customer, at)),
    ):
        expected = [
            (q, e)
            for q in range(len(customer))
            for e in among.tolist()
            if owner[e] == customer[q] and at[q] - lookback <= time[e] < at[q] - margin * DAY
        ]
        assert list(zip(found.moment.tolist(), found.event.tolist(), strict=True)) == expected
        days = (at[found.moment] - time[found.event]) / DAY
        assert found.age == pytest.approx(days, rel=1e-6)
        assert found.age.dtype == np.float32


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("margin", [0, 2])
def test_earlier_events_are_those_of_a_loop(
    make: Make, random_log: RandomLog, seed: int, margin: int
) -> None:
    earlier_events_hold(make, random_log(seed), seed, margin)


def with_the_moment_itself(patch: pytest.MonkeyPatch) -> None:
    honest, calls = module.first_since, [0]

    def since(time: Ints, customer: Ints, who: Ints, t: Ints) -> Ints:
        calls[0] += 1
        return honest(time, customer, who, t + (calls[0] % 2 == 0))

    patch.setattr(module, "first_since", since)


def without_the_edge(patch: pytest.MonkeyPatch) -> None:
    honest, calls = module.first_since, [0]

    def since(time: Ints, customer: Ints, who: Ints, t: Ints) -> Ints:
        calls[0] += 1
        return honest(time, customer, who, t + (calls[0] % 2))

    patch.setattr(module, "first_since", since)


def of_the_next_customer(patch: pytest.MonkeyPatch) -> None:
    honest = module.first_since
    patch.setattr(
        module, "first_since", lambda time, customer, who, t: honest(time, customer, who + 1, t)
    )


def among_all(patch: pytest.MonkeyPatch) -> None:
    honest = module.earlier_events

    def every(journeys: Journeys, among: Ints, customer: Ints, time: Ints) -> Pairs:
        return honest(journeys, np.arange(journeys.events.n_events), customer, time)

    patch.setattr(module, "earlier_events", every)


@pytest.mark.parametrize(
    "mutant", [with_the_moment_itself, without_the_edge, of_the_next_customer, among_all]
)
def test_wrong_events_are_noticed(
    make: Make, random_log: RandomLog, mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        earlier_events_hold(make, random_log(0), 0)


def learnt_from(journeys: Journeys, seed: int = 1, longest: float = 7, per: float = 5) -> Moments:
    return module.moments_to_learn_from(
        journeys, per_purchase=per, most=10**9, longest=timedelta(days=longest), seed=seed
    )


def moments_hold(journeys: Journeys, longest: float) -> None:
    """They are of who was there, and stand for all of the time that they were there."""
    found = learnt_from(journeys, longest=longest)
    period, offsets = journeys.period, journeys.events.offsets
    begins = np.maximum(journeys.events.time[offsets[:-1]], period.start)
    observed = np.maximum(period.end - begins, 0) / DAY * journeys.members
    days = np.bincount(found.customer, found.days, journeys.n_customers)
    assert days == pytest.approx(observed)
    assert (found.days[found.purchase == 0] <= longest + 1e-9).all()
    assert (found.days[found.purchase == 0] > 0).all()
    times = journeys.events.time
    unit = next(size for size in (DAY, DAY // 24) if not (times % size).any())
    assert (found.time >= (begins - begins % unit)[found.customer]).all()
    assert (found.time < period.end).all()
    bought = found.purchase == 1
    assert (found.days[bought] == 0).all()
    time, owner = journeys.events.time, journeys.owner
    expected = [
        (owner[e], time[e])
        for e in range(len(time))
        if journeys.events.purchase[e]
        and e not in offsets  # what a customer is known by shows no rate
        and period.start <= time[e] < period.end
        and journeys.members[owner[e]]
    ]
    assert list(zip(found.customer[bought], found.time[bought], strict=True)) == expected


@pytest.mark.parametrize("longest", [0.3, 7.0, 1_000.0])
@pytest.mark.parametrize("conversions", ["every", "first"])
def test_moments_stand_for_all_the_time_of_the_period(
    make: Make, random_log: RandomLog, longest: float, conversions: str
) -> None:
    journeys = make(random_log(2), first=12.0, until=41.0, conversions=conversions)
    moments_hold(journeys, longest)
    members = np.arange(journeys.n_customers) % 3 > 0
    moments_hold(replace(journeys, members=members), longest)


def test_moments_lie_in_a_period_that_begins_within_a_day(make: Make) -> None:
    """The log knows days alone, and so do they, whose first is the day on which it begins."""
    log = [[(0.0, "mail"), (day, "buy")] for day in (3.0, 4.0, 5.0)] * 30
    moments_hold(make(log, first=2.4, until=9.7), 0.5)


def from_the_start(patch: pytest.MonkeyPatch) -> None:
    """As if all customers had been there when the log began."""
    honest = module.moments_to_learn_from

    def early(journeys: Journeys, **settings: Any) -> Moments:
        time = journeys.events.time.copy()
        time[journeys.events.offsets[:-1]] = 0
        return honest(replace(journeys, events=replace(journeys.events, time=time)), **settings)

    patch.setattr(module, "moments_to_learn_from", early)


def twice_as_long(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module, "MICROSECONDS_PER_DAY", DAY / 2)


def conversions_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Journeys, "purchases", property(lambda self: self.conversion))


def days_too_coarse(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module, "resolution", lambda events: 7 * DAY)


@pytest.mark.parametrize(
    "mutant", [from_the_start, twice_as_long, conversions_alone, days_too_coarse]
)
def test_wrong_moments_are_noticed(
    make: Make, random_log: RandomLog, mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    journeys = make(random_log(2), first=12.0, until=41.0, conversions="first")
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        moments_hold(journeys, 7.0)


@pytest.mark.parametrize(
    ("unit", "size"), [(1.0, DAY), (1 / 24, DAY // 24), (1 / 1440, DAY // 1440)]
)
def test_moments_are_as_fine_as_the_log(make: Make, unit: float, size: int) -> None:
    """Drawn more finely than the log, they would have touches before them that purchases cannot."""
    as_fine_as_the_log(make, unit, size)


def as_fine_as_the_log(make: Make, unit: float, size: int) -> None:
    log = [[(7 * unit, "mail"), (day * unit, "buy")] for day in (11, 13, 17, 19)]
    journeys = make(log, first=0.0, until=40 * unit)
    assert module.resolution(journeys.events) == size
    found = learnt_from(journeys, longest=unit)
    assert len(found.time) > 20
    assert (found.time % size == 0).all()


def test_moments_that_are_too_fine_are_noticed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = module.moments_to_learn_from

    def finer(*args: Any, **settings: Any) -> Moments:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "resolution", lambda events: 1)
            return honest(*args, **settings)

    monkeypatch.setattr(module, "moments_to_learn_from", finer)
    with pytest.raises(AssertionError):
        as_fine_as_the_log(make, 1.0, DAY)


def test_about_as_many_as_asked_for_each_purchase(make: Make, random_log: RandomLog) -> None:
    journeys = make(random_log(5), until=50.0)
    for per in (3.0, 12.0):
        found = learnt_from(journeys, longest=1_000, per=per)
        others = (found.purchase == 0).sum()
        assert others == pytest.approx(per * len(journeys.purchases), rel=0.25)


def draws_repeat(journeys: Journeys) -> None:
    one, same, other = (learnt_from(journeys, seed) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    assert (one.time != other.time).any()


def test_the_same_seed_gives_the_same_moments(make: Make, random_log: RandomLog) -> None:
    draws_repeat(make(random_log(1)))


def test_a_forgotten_seed_is_noticed(
    make: Make, random_log: RandomLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = np.random.default_rng
    monkeypatch.setattr(module.np.random, "default_rng", lambda seed: honest())
    with pytest.raises(AssertionError):
        draws_repeat(make(random_log(1)))


def test_no_more_are_drawn_than_asked_for(make: Make) -> None:
    journeys = make([[(float(day), "buy", 1.0) for day in range(60)] for _ in range(20)])
    every = timedelta(days=30)
    drawn = module.moments_to_learn_from(journeys, per_purchase=50, most=200, longest=every, seed=1)
    assert 150 <= (drawn.days > 0).sum() <= 260
