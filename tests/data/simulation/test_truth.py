"""The truth of a simulated world: by running every customer's days one by one, in plain Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from math import exp, log

import numpy as np
import polars as pl
import pytest

from seqmarket.data.simulation import response, truth
from seqmarket.data.simulation.cohort import Cohort, simulate
from seqmarket.data.simulation.response import Response, shapley_weights
from seqmarket.data.simulation.truth import Truth, truth_of
from seqmarket.data.simulation.world import PRESETS, STEPS, Channel, Pair, World

DAYS = 30
SMALL = World(
    channels=(
        Channel("mail", 0.2, 0.8, 3.0, targeting=0.5),
        Channel("search", 0.1, 1.5, 1.0, saturation=1.5, targeting=0.5, cost=0.5),
        Channel("placebo", 0.2, 0.0, 3.0, targeting=1.5),
        Channel("harm", 0.2, -0.7, 4.0, churn=0.9),
    ),
    interactions=(Pair("mail", "search", 0.4),),
    sequences=(Pair("search", "mail", 0.9),),
    purchase_rate=0.03,
    churn_rate=0.02,
    confounding=0.8,
)
PERIOD = slice(40, 100)


def by_hand(world: World, cohort: Cohort, i: int, touched: np.ndarray, steps: slice) -> float:
    """Expected purchases of one customer who met what (C, D) says."""
    names = list(world.names)
    state = [0.0] * len(names)
    level = [0.0] * len(names)
    later = [0.0] * len(world.sequences)
    there, total = 1.0, 0.0
    for step in range(steps.stop):
        for c, channel in enumerate(world.channels):
            level[c] = channel.saturation * (1 - exp(-state[c] / channel.saturation))
            kept = 0.5 ** (1 / (STEPS * channel.half_life))
            state[c] = state[c] * kept + float(touched[c, step])
        buying, leaving = float(cohort.background[step, i]), float(cohort.churning[step, i])
        for c, channel in enumerate(world.channels):
            buying += channel.effect * level[c]
            leaving += channel.churn * level[c]
        for first, second, effect in world.interactions:
            buying += effect * level[names.index(first)] * level[names.index(second)]
        for s, (first, second, effect) in enumerate(world.sequences):
            a, b = names.index(first), names.index(second)
            fades, most = world.channels[b].half_life, world.channels[b].saturation
            buying += effect * most * (1 - exp(-later[s] / most))
            kept = 0.5 ** (1 / (STEPS * fades))
            later[s] = later[s] * kept + float(touched[b, step]) * level[a]
        if step >= steps.start:
            total += there * (1 - exp(-exp(buying)))
        there *= exp(-exp(leaving))
    return total


def without(touched: np.ndarray, *channels: int) -> np.ndarray:
    kept = touched.copy()
    kept[list(channels)] = False
    return kept


def small(size: int = 12) -> Cohort:
    return simulate(SMALL, DAYS, seed=3, number=0, size=size)


def measured(world: World = SMALL, size: int = 12) -> Truth:
    return truth_of(world, [small(size)], PERIOD, touches=True)


def totals_are_as_by_hand() -> None:
    cohort, found = small(), measured()
    for i in range(12):
        touched = cohort.touched[:, :, i]
        row = found.customers.row(i, named=True)
        assert row["expected"] == pytest.approx(by_hand(SMALL, cohort, i, touched, PERIOD))
        nothing = np.zeros_like(touched)
        assert row["organic"] == pytest.approx(by_hand(SMALL, cohort, i, nothing, PERIOD))
    assert found.expected == pytest.approx(found.customers["expected"].sum())
    assert found.purchases == cohort.bought[PERIOD].sum()


def channels_are_as_by_hand() -> None:
    cohort, found = small(), measured()

    def value(channels: frozenset[int]) -> float:
        others = set(range(4)) - channels
        return sum(
            by_hand(SMALL, cohort, i, without(cohort.touched[:, :, i], *others), PERIOD)
            for i in range(12)
        )

    orders = list(permutations(range(4)))
    worth = {
        frozenset(order[:k]): value(frozenset(order[:k])) for order in orders for k in range(5)
    }
    for c in range(4):
        joins = [(frozenset(o[: o.index(c)]), frozenset(o[: o.index(c) + 1])) for o in orders]
        shapley = float(np.mean([worth[after] - worth[before] for before, after in joins]))
        row = found.channels.row(c, named=True)
        assert row["shapley"] == pytest.approx(shapley, abs=1e-12)
        everyone = frozenset(range(4))
        assert row["removal"] == pytest.approx(worth[everyone] - worth[everyone - {c}], abs=1e-12)
    credited = found.channels["shapley"].sum()
    assert found.organic + credited == pytest.approx(found.expected)


def touches_are_as_by_hand() -> None:
    cohort, found = small(), measured()
    assert found.touches is not None
    for (i,), rows in found.touches.group_by("customer", maintain_order=True):
        assert isinstance(i, int)
        assert rows["day"].is_sorted()
        touched = cohort.touched[:, :, i]
        full = by_hand(SMALL, cohort, i, touched, PERIOD)
        so_far = np.zeros_like(touched)
        before = by_hand(SMALL, cohort, i, so_far, PERIOD)
        for row in rows.iter_rows(named=True):
            c, step = SMALL.names.index(row["channel"]), int(row["day"] * STEPS)
            assert touched[c, step]
            missing = touched.copy()
            missing[c, step] = False
            lost = full - by_hand(SMALL, cohort, i, missing, PERIOD)
            assert row["removal"] == pytest.approx(lost, abs=1e-12)
            so_far[c, step] = True
            now = by_hand(SMALL, cohort, i, so_far, PERIOD)
            assert row["in_order"] == pytest.approx(now - before, abs=1e-12)
            before = now
    assert len(found.touches) == cohort.touched[:, : PERIOD.stop].sum()
    credited = found.touches["in_order"].sum()
    assert found.organic + credited == pytest.approx(found.expected)


CHECKS = [totals_are_as_by_hand, channels_are_as_by_hand, touches_are_as_by_hand]


@pytest.mark.parametrize("check", CHECKS)
def test_the_truth_is_as_by_hand(check: Callable[[], None]) -> None:
    check()


def forgets_churn(patch: pytest.MonkeyPatch) -> None:
    honest = response._expected
    patch.setattr(
        response,
        "_expected",
        lambda buys, leaves, steps: honest(buys, np.zeros_like(leaves), steps),
    )


def never_fades(patch: pytest.MonkeyPatch) -> None:
    honest = Response.__init__

    def init(self: Response, world: World) -> None:
        honest(self, world)
        self._kept = np.ones_like(self._kept)

    patch.setattr(Response, "__init__", init)


def weighs_all_sets_alike(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(truth, "shapley_weights", lambda n: np.full(n, 0.5 ** (n - 1)))


def looks_at_every_day(patch: pytest.MonkeyPatch) -> None:
    honest = response._expected
    patch.setattr(
        response,
        "_expected",
        lambda buys, leaves, steps: honest(buys, leaves, slice(0, steps.stop)),
    )


def takes_touches_in_any_order(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(truth.np, "lexsort", lambda keys: np.argsort(keys[1], kind="stable"))


@pytest.mark.parametrize(
    ("mutant", "check"),
    [
        (forgets_churn, totals_are_as_by_hand),
        (never_fades, totals_are_as_by_hand),
        (looks_at_every_day, totals_are_as_by_hand),
        (weighs_all_sets_alike, channels_are_as_by_hand),
        (takes_touches_in_any_order, touches_are_as_by_hand),
    ],
)
def test_a_wrong_truth_is_noticed(
    mutant: Callable[[pytest.MonkeyPatch], None],
    check: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        check()


def test_weights_of_the_shapley_value() -> None:
    assert shapley_weights(1) == pytest.approx([1])
    assert shapley_weights(4) == pytest.approx([1 / 4, 1 / 12, 1 / 12, 1 / 4])


def test_what_happens_is_what_was_expected() -> None:
    """Purchases of many customers lie within their sampling error of the expectation."""
    cohorts = [simulate(SMALL, DAYS, seed=5, number=i) for i in range(16)]
    found = truth_of(SMALL, cohorts, slice(0, DAYS * STEPS), touches=False)
    each = found.customers.select(gap=pl.col("purchases") - pl.col("expected"))["gap"].to_numpy()
    error = each.std(ddof=1) / np.sqrt(len(each))
    assert len(each) == 8_000
    assert abs(each.mean()) < 4 * error
    assert error < 0.03 * found.expected / len(each)
    assert found.touches is None


def test_a_placebo_does_nothing_and_harm_does_harm() -> None:
    for name, world in PRESETS.items():
        cohort = simulate(world, 60, seed=1, number=0, size=300)
        found = truth_of(world, [cohort], slice(0, 240), touches=False).channels
        credit = dict(found.select("channel", "shapley").iter_rows())
        assert credit.pop("retargeting") == 0, name
        assert credit.pop("popup") < 0, name
        assert min(credit.values()) > 0, name
        assert found["touches"].min() > 0, name  # type: ignore[operator]


def test_a_touch_after_the_period_does_not_count() -> None:
    cohort = small()
    early = slice(0, 40)
    touched = cohort.touched.copy()
    touched[:, 40:] = False
    cut = replace(cohort, touched=touched)
    first, second = (truth_of(SMALL, [c], early, touches=True) for c in (cohort, cut))
    assert first.channels.equals(second.channels)
    assert first.expected == pytest.approx(second.expected)
    assert first.touches is not None
    assert first.touches.equals(second.touches)


def test_log_rates_of_nobody() -> None:
    """Before they arrive, customers neither meet anything nor buy nor leave."""
    cohort = simulate(SMALL, DAYS, seed=3, number=1, size=200)
    before = np.arange(DAYS * STEPS)[:, None] < cohort.arrival
    assert before.any()
    assert not cohort.touched[:, before].any()
    assert not cohort.bought[before].any()
    assert not cohort.visited[before].any()
    buys, leaves = Response(SMALL).rates(cohort.touched, cohort.background, cohort.churning)
    assert (buys[before] == 0).all()
    assert (leaves[before] == 0).all()
    assert log(SMALL.purchase_rate / STEPS) == pytest.approx(
        np.median(cohort.background[~before]), abs=0.3
    )
