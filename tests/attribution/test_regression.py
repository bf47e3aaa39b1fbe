"""Regression: its counts by hand, and what it finds where the truth is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from seqmarket.attribution import regression as module
from seqmarket.attribution.attributor import Attribution, Evidence
from seqmarket.attribution.journeys import Floats, Journeys, make_journeys
from seqmarket.attribution.moments import Pairs, earlier_touches
from seqmarket.attribution.paths import Ints
from seqmarket.attribution.regression import Regression
from seqmarket.data.simulation.truth import Truth
from seqmarket.data.sources.simulator import JourneySimulator
from seqmarket.errors import SeqmarketError
from seqmarket.schema import MICROSECONDS_PER_DAY

Make = Callable[..., Journeys]
Log = list[list[tuple[Any, ...]]]
Mutant = Callable[[pytest.MonkeyPatch], None]


def counts_are_as_by_hand(make: Make, log: Log) -> None:
    journeys = make(log)
    method = Regression(half_lives=(1.0, 5.0), saturation=1.5)
    customer, time = journeys.owner, np.asarray(journeys.events.time)
    pairs = earlier_touches(journeys, customer, time)
    k = len(journeys.channels)
    found = method._touched(journeys, pairs, len(time)).reshape(len(time), k, 2)
    touch = journeys.every_touch
    channel = journeys.channel_of(touch)
    lives = np.array([1.0, 5.0])
    for row in range(len(time)):
        counts = np.zeros((k, 2))
        for i in np.flatnonzero(journeys.owner[touch] == customer[row]):
            age = (time[row] - time[touch[i]]) / MICROSECONDS_PER_DAY
            if 0 < age <= 10:
                counts[channel[i]] += 0.5 ** (age / lives)
        expected = 1.5 * (1 - np.exp(-counts / 1.5))
        assert found[row] == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_counts_fade_as_by_hand(make: Make, random_log: Callable[[int], Log]) -> None:
    counts_are_as_by_hand(make, random_log(3))


def counts_the_future(patch: pytest.MonkeyPatch) -> None:
    honest = earlier_touches

    def late(journeys: Journeys, customer: Ints, time: Ints) -> Pairs:
        return honest(journeys, customer, time + MICROSECONDS_PER_DAY)

    patch.setitem(globals(), "earlier_touches", late)


def mixes_up_half_lives(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module.np, "stack", lambda parts, axis: np.concatenate(parts))


def never_saturates(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module.np, "expm1", lambda x: x)


@pytest.mark.parametrize("mutant", [counts_the_future, mixes_up_half_lives, never_saturates])
def test_wrong_counts_are_noticed(
    make: Make,
    random_log: Callable[[int], Log],
    mutant: Mutant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = random_log(3)
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        counts_are_as_by_hand(make, log)


@pytest.fixture(scope="module")
def known(simulate_world: Callable[..., Any]) -> tuple[Any, Truth]:
    """The last quarter of a simulated log without confounding, and the truth about it."""
    source = JourneySimulator(n_customers=3_000, days=120, seed=4)
    world = simulate_world(source, 0.6, 0.15)
    return world, source.truth(world.first_day)


def attribute(known: tuple[Any, Truth], **settings: Any) -> Attribution:
    return Regression(**{"groups": 0, **settings}).attribute(known[0].evidence)


@pytest.fixture(scope="module")
def attributed(known: tuple[Any, Truth]) -> Attribution:
    return attribute(known)


def finds_what_is_true(known: tuple[Any, Truth], found: Attribution) -> None:
    world, truth = known
    credit = world.by_channel(found.credit)
    true = dict(truth.channels.select("channel", "shapley").iter_rows())
    assert found.total == pytest.approx(len(world.evidence.journeys.conversion))
    assert found.total == pytest.approx(truth.expected, rel=0.1)
    assert found.organic.sum() == pytest.approx(truth.organic, rel=0.25)
    assert credit["popup"] < 0
    assert abs(credit["retargeting"]) < 0.05 * truth.expected
    for name, of_it in true.items():
        assert abs(credit[name] - of_it) < 0.08 * truth.expected, name
    order = sorted(true, key=true.__getitem__)
    ranks = [sorted(true, key=lambda c: credit[c]).index(name) for name in order]
    assert np.corrcoef(ranks, range(len(order)))[0, 1] > 0.6


def test_it_finds_what_is_true(known: tuple[Any, Truth], attributed: Attribution) -> None:
    finds_what_is_true(known, attributed)
    assert attributed.organic_is == "anyway"
    assert (attributed.credit < 0).any()
    assert attributed.replicates is None


def touches_by_chance(patch: pytest.MonkeyPatch) -> None:
    """Each moment has the touches of some other one."""
    honest = Regression._touched

    def shuffled(self: Regression, journeys: Journeys, pairs: Pairs, n: int) -> Floats:
        return np.random.default_rng(0).permutation(honest(self, journeys, pairs, n))

    patch.setattr(Regression, "_touched", shuffled)


def holds_small_effects_for_none(patch: pytest.MonkeyPatch) -> None:
    honest = module.PoissonRegressor
    patch.setattr(module, "PoissonRegressor", lambda **how: honest(**{**how, "alpha": 1.0}))


@pytest.mark.parametrize("mutant", [touches_by_chance, holds_small_effects_for_none])
def test_wrong_findings_are_noticed(
    known: tuple[Any, Truth], mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        finds_what_is_true(known, attribute(known))


def test_purchases_are_not_held_against_the_touches_that_led_to_them(
    known: tuple[Any, Truth], attributed: Attribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told of them, it takes who met much and bought no more for unwilling."""
    honest = Regression._design

    def told(self: Regression, journeys: Journeys, moments: Any) -> Any:
        design, n_touched = honest(self, journeys, moments)
        customer, time = moments.customer, moments.time
        bought = np.flatnonzero(journeys.events.purchase)
        pairs = module.earlier_events(journeys, bought, customer, time)
        one = np.zeros(journeys.events.n_events, dtype=np.int64)
        counts = self._faded(pairs, one, 1, len(time))
        return np.hstack([design, np.log1p(counts)]), n_touched

    monkeypatch.setattr(Regression, "_design", told)
    assert attribute(known).credit.sum() < 0.95 * attributed.credit.sum()


def repeats(known: tuple[Any, Truth], attributed: Attribution) -> None:
    again = attribute(known)
    assert (again.credit == attributed.credit).all()
    assert (again.organic == attributed.organic).all()
    assert (attribute(known, seed=2).credit != attributed.credit).any()


def test_the_same_evidence_gives_the_same(
    known: tuple[Any, Truth], attributed: Attribution
) -> None:
    repeats(known, attributed)


def test_a_forgotten_seed_is_noticed(
    known: tuple[Any, Truth], attributed: Attribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = module.moments_to_learn_from
    seeds = iter((8, 9))
    monkeypatch.setattr(
        module,
        "moments_to_learn_from",
        lambda past, **how: honest(past, **{**how, "seed": next(seeds)}),
    )
    with pytest.raises(AssertionError):
        repeats(known, attributed)


def test_groups_give_intervals_around_what_is_found(
    known: tuple[Any, Truth], attributed: Attribution
) -> None:
    found = attribute(known, groups=4)
    assert (found.credit == attributed.credit).all()
    world = known[0]
    assert found.replicates is not None
    assert found.replicates.shape == (4, len(world.evidence.journeys.channels) + 1)
    assert found.replicates.sum(axis=1) == pytest.approx(found.total, rel=0.1)
    each = np.array(list(world.by_channel(found.credit).values()))
    assert found.replicates[:, :-1].mean(axis=0) == pytest.approx(each, abs=0.03 * found.total)
    assert found.replicates[:, -1].std() > 0


def test_a_touch_goes_on_working_after_a_purchase(known: tuple[Any, Truth]) -> None:
    """Of the touches that are on no path, those a lookback before a conversion have credit."""
    evidence = known[0].evidence
    found, journeys = Regression(groups=0).attribute(evidence), evidence.journeys
    settings = journeys.settings.model_copy(update={"restart": False})
    longer = make_journeys(journeys.events, journeys.spec, journeys.period, settings)
    on_a_path, before = np.zeros((2, len(journeys.touch)), dtype=np.bool_)
    on_a_path[journeys.converting.rows()[1]] = True
    before[longer.converting.rows()[1]] = True
    assert np.abs(found.credit[before & ~on_a_path]).sum() > 1
    assert not found.credit[~before].any()


def what_customers_are_known_by_is_no_effect(make: Make) -> None:
    """Everybody is in the log since a purchase; mail comes by chance, and does nothing."""
    random = np.random.default_rng(1)
    log: list[list[tuple[Any, ...]]] = []
    for known_since in random.uniform(0, 40, 600):
        there = 100 - known_since
        journey = [(float(known_since), "buy")]
        for name, rate in (("buy", 0.03), ("mail", 0.05)):
            times = random.uniform(known_since, 100, random.poisson(rate * there))
            journey += [(float(time), name) for time in times]
        log.append(sorted(journey))
    touches = {"event_type": ["touch"]}
    history, journeys = (make(log, *days, touches=touches) for days in ((0, 60), (60, 100)))
    found = Regression(groups=0).attribute(Evidence(journeys, history))
    assert abs(found.credit.sum()) < 0.05 * found.total


def test_what_customers_are_known_by_is_no_effect(make: Make) -> None:
    what_customers_are_known_by_is_no_effect(make)


def test_an_effect_of_what_they_are_known_by_is_noticed(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def every(journeys: Journeys) -> Any:
        return np.flatnonzero(
            journeys.events.purchase & (journeys.events.time < journeys.period.end)
        )

    monkeypatch.setattr(Journeys, "purchases", property(every))
    with pytest.raises(AssertionError):
        what_customers_are_known_by_is_no_effect(make)


def test_without_conversions_there_is_nothing_to_divide(
    make: Make, known: tuple[Any, Truth]
) -> None:
    evidence = known[0].evidence
    events = evidence.history.events
    idle = replace(
        evidence.journeys,
        conversion=events.offsets[:0],
        converts=events.offsets[:0],
        paths=evidence.journeys.paths.take(evidence.journeys.paths.conversion < 0),
    )
    found = Regression(groups=0).attribute(evidence._replace(journeys=idle))
    assert found.total == 0


def test_without_purchases_there_is_nothing_to_learn(make: Make, known: tuple[Any, Truth]) -> None:
    evidence = known[0].evidence
    with pytest.raises(SeqmarketError, match="no purchase in the training period"):
        Regression().attribute(evidence._replace(history=make([[(1.0, "mail")]])))
    members = np.zeros(evidence.history.n_customers, dtype=np.bool_)
    with pytest.raises(SeqmarketError, match="no purchase in the training period"):
        Regression().attribute(
            evidence._replace(history=replace(evidence.history, members=members))
        )
