"""Regression: its counts, its Shapley values, and what it finds where the truth is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from seqmarket.attribution.attributor import Attribution, Evidence, by_customer
from seqmarket.attribution.grid import make_grid
from seqmarket.attribution.journeys import Journeys, JourneySettings, make_journeys
from seqmarket.attribution.regression import Regression, Series, faded
from seqmarket.data.event_log import EventLog
from seqmarket.data.settings import EncodingSettings, SplitSettings
from seqmarket.data.simulation.truth import Truth
from seqmarket.data.sources.simulator import JourneySimulator
from seqmarket.data.store import open_store, write_store
from seqmarket.schema import MICROSECONDS_PER_DAY

Make = Callable[..., Journeys]
Log = list[list[tuple[Any, ...]]]


def counts_are_as_by_hand(make: Make, log: Log, fade: Any = faded) -> None:
    journeys = make(log)
    grid = make_grid(journeys.events, journeys.period, timedelta(days=7))
    touch = journeys.every_touch
    series = Series(journeys.owner[touch], journeys.events.time[touch], journeys.channel_of(touch))
    lives = np.array([1.0, 5.0])
    found = fade(series, 5, lives, grid).reshape(len(grid.time), 5, 2)
    for row in range(len(grid.time)):
        expected = np.zeros((5, 2))
        for i in np.flatnonzero(series.customer == grid.customer[row]):
            age = (grid.time[row] - series.time[i]) / MICROSECONDS_PER_DAY
            if age >= 0:
                expected[series.kind[i]] += 0.5 ** (age / lives)
        assert found[row] == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_counts_fade_as_by_hand(make: Make, random_log: Callable[[int], Log]) -> None:
    counts_are_as_by_hand(make, random_log(3))


def test_counts_of_the_future_are_noticed(make: Make, random_log: Callable[[int], Log]) -> None:
    def early(series: Series, *others: Any) -> Any:
        return faded(series._replace(time=series.time - MICROSECONDS_PER_DAY), *others)

    with pytest.raises(AssertionError):
        counts_are_as_by_hand(make, random_log(3), early)


@pytest.mark.parametrize("exact_up_to", [10, 1])
def test_shapley_values_of_rates_are_those_of_all_orders(exact_up_to: int) -> None:
    random = np.random.default_rng(0)
    parts, background = random.normal(size=(6, 4)), random.normal(size=6)
    parts[:, 2] = 0
    method = Regression(exact_up_to=exact_up_to, samples=4_000)
    credit, organic = method._shapley(parts, background)
    assert organic == pytest.approx(np.exp(background))
    expected = np.zeros((6, 4))
    orders = list(permutations(range(4)))
    for order in orders:
        so_far = background.copy()
        for c in order:
            after = so_far + parts[:, c]
            expected[:, c] += (np.exp(after) - np.exp(so_far)) / len(orders)
            so_far = after
    tolerance = 1e-9 if exact_up_to == 10 else 0.05
    assert credit == pytest.approx(expected, rel=tolerance, abs=tolerance)
    total = credit.sum(axis=1) + organic
    assert total == pytest.approx(np.exp(background + parts.sum(axis=1)))


SOURCE = JourneySimulator(n_customers=3_000, days=120, seed=4)


@pytest.fixture(scope="module")
def known(
    read_log: Callable[..., EventLog], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Evidence, Truth]:
    """The last quarter of a simulated log without confounding, and the truth about it."""
    path = tmp_path_factory.mktemp("simulated") / "store"
    split = SplitSettings(train_fraction=0.6, validation_fraction=0.15)
    write_store(path, read_log(SOURCE), split, EncodingSettings())
    store = open_store(path)
    settings = JourneySettings.model_validate({"touches": {"event_type": ["touch"]}})
    periods = store.split.periods
    past, present = (
        make_journeys(store.events, store.spec, periods[fold], settings)
        for fold in ("train", "test")
    )
    day = MICROSECONDS_PER_DAY
    first = (periods["test"].start - periods["train"].start) // day
    return Evidence(present, past), SOURCE.truth(int(first))


@pytest.fixture(scope="module")
def attributed(known: tuple[Evidence, Truth]) -> Attribution:
    return Regression().attribute(known[0])


def finds_what_is_true(known: tuple[Evidence, Truth], found: Attribution) -> None:
    evidence, truth = known
    each = by_customer(evidence.journeys, found.credit).sum(axis=0)
    credit = dict(zip(evidence.journeys.channels, each, strict=True))
    true = dict(truth.channels.select("channel", "shapley").iter_rows())
    assert found.total == pytest.approx(truth.expected, rel=0.15)
    assert found.organic.sum() == pytest.approx(truth.organic, rel=0.25)
    assert credit["popup"] < 0
    assert abs(credit["retargeting"]) < 0.1 * truth.expected
    order = sorted(true, key=true.__getitem__)
    ranks = [sorted(true, key=lambda c: credit[c]).index(name) for name in order]
    assert np.corrcoef(ranks, range(len(order)))[0, 1] > 0.6


def test_it_finds_what_is_true(known: tuple[Evidence, Truth], attributed: Attribution) -> None:
    finds_what_is_true(known, attributed)
    assert attributed.basis == "expected"
    assert (attributed.credit < 0).any()


def test_purchases_are_not_held_against_the_touches_that_led_to_them(
    known: tuple[Evidence, Truth], attributed: Attribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told of them, it takes who met much and bought no more for unwilling."""
    evidence, _ = known
    events = evidence.journeys.events
    blind = replace(events, purchase=np.zeros_like(events.purchase))
    honest = Regression._columns

    def told(self: Regression, journeys: Journeys, grid: Any) -> Any:
        touched = journeys.is_touch
        journeys = replace(journeys, events=blind)
        object.__setattr__(journeys, "is_touch", touched)
        return honest(self, journeys, grid)

    monkeypatch.setattr(Regression, "_columns", told)
    biased = Regression().attribute(evidence)
    assert biased.credit.sum() < 0.85 * attributed.credit.sum()


def test_the_same_evidence_gives_the_same(
    known: tuple[Evidence, Truth], attributed: Attribution
) -> None:
    assert (Regression().attribute(known[0]).credit == attributed.credit).all()
