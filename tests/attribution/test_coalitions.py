"""Shapley values of channels at conversions, against all orders, and their way to the touches."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from seqmarket.attribution import coalitions as module
from seqmarket.attribution.attributor import Attribution
from seqmarket.attribution.coalitions import shapley_values
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.moments import earlier_touches
from seqmarket.errors import SeqmarketError

Make = Callable[..., Journeys]
RandomLog = Callable[[int], list[list[tuple[Any, ...]]]]
Mutant = Callable[[pytest.MonkeyPatch], None]
K = 5


def effect(levels: Floats) -> Floats:
    """Channels that help and harm, and some that do more or less together."""
    alone = levels @ np.array([0.5, -0.8, 0.0, 1.2, 0.3])
    return np.asarray(alone + levels[:, 0] * levels[:, 3] - 0.4 * levels[:, 1] * levels[:, 4])


def some_levels() -> Floats:
    """(40, K), of which some are 0; one has nothing and one has everything."""
    random = np.random.default_rng(3)
    levels = random.random((40, K)) * (random.random((40, K)) < 0.6)
    levels[0], levels[1] = 0, 0.5
    return levels


LEVELS = some_levels()


def of_all_orders(levels: Floats) -> Floats:
    """(V, K) of each channel what it adds when it comes, on average."""
    values = np.zeros(levels.shape)
    orders = list(permutations(range(K)))
    whole = effect(levels)
    for order in orders:
        inside = np.zeros_like(levels)
        before = np.exp(effect(inside) - whole)
        for channel in order:
            inside[:, channel] = levels[:, channel]
            after = np.exp(effect(inside) - whole)
            values[:, channel] += (after - before) / len(orders)
            before = after
    return values


def values_hold(exact_up_to: int, tolerance: float) -> None:
    levels = LEVELS
    values, organic = module.shapley_values(
        levels, effect, exact_up_to=exact_up_to, samples=3_000, seed=1
    )
    assert values == pytest.approx(of_all_orders(levels), abs=tolerance)
    assert (values[levels == 0] == 0).all()
    assert organic == pytest.approx(np.exp(-effect(levels)))
    assert values.sum(axis=1) + organic == pytest.approx(np.ones(len(levels)))


@pytest.mark.parametrize(("exact_up_to", "tolerance"), [(K, 1e-12), (2, 0.03), (1, 0.03)])
def test_values_are_those_of_all_orders(exact_up_to: int, tolerance: float) -> None:
    values_hold(exact_up_to, tolerance)


def weighs_all_sets_alike(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module, "shapley_weights", lambda n: np.full(n, 0.5 ** (n - 1)))


def keeps_one_order(patch: pytest.MonkeyPatch) -> None:
    class Stubborn:
        def permutation(self, n: int) -> Any:
            return np.arange(n)

    patch.setattr(module.np.random, "default_rng", lambda seed: Stubborn())


def moves_the_players(patch: pytest.MonkeyPatch) -> None:
    """Channels that are not there are taken for some that are."""
    honest = np.argsort
    patch.setattr(module.np, "argsort", lambda felt, **how: honest(~felt, **how))


def asks_for_differences(patch: pytest.MonkeyPatch) -> None:
    """Not of what is expected, but of its logarithm."""
    patch.setattr(module.np, "exp", lambda x: 1 + x)


@pytest.mark.parametrize(
    ("mutant", "exact_up_to", "tolerance"),
    [
        (weighs_all_sets_alike, K, 1e-12),
        (keeps_one_order, 1, 0.03),
        (moves_the_players, K, 1e-12),
        (asks_for_differences, K, 1e-12),
    ],
)
def test_wrong_values_are_noticed(
    mutant: Mutant, exact_up_to: int, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = of_all_orders(LEVELS)
    monkeypatch.setitem(globals(), "of_all_orders", lambda levels: honest)
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        values_hold(exact_up_to, tolerance)


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = LEVELS
    how = {"exact_up_to": K, "samples": 1, "seed": 1}
    whole = shapley_values(levels, effect, **how)
    monkeypatch.setattr(module, "_BLOCK", 3)
    parts = shapley_values(levels, effect, **how)
    assert all((a == b).all() for a, b in zip(whole, parts, strict=True))


def test_drawn_orders_repeat() -> None:
    levels = LEVELS
    one, same, other = (
        shapley_values(levels, effect, exact_up_to=1, samples=5, seed=seed)[0] for seed in (1, 1, 2)
    )
    assert (one == same).all()
    assert (one != other).any()


def test_conversions_without_touches_are_organic() -> None:
    values, organic = shapley_values(np.zeros((3, K)), effect, exact_up_to=2, samples=1, seed=0)
    assert (values == 0).all()
    assert (organic == 1).all()
    none = shapley_values(np.zeros((0, K)), effect, exact_up_to=2, samples=1, seed=0)
    assert [part.shape for part in none] == [(0, K), (0,)]


def credited(journeys: Journeys) -> tuple[Attribution, Any, Floats, Floats]:
    """With what each touch at each conversion would have by the values alone."""
    time = journeys.events.time[journeys.conversion]
    pairs = earlier_touches(journeys, journeys.converts, time)
    felt = 0.5 ** (pairs.age.astype(np.float64) / 3)
    k = len(journeys.channels)
    levels = np.zeros((len(time), k))
    np.add.at(levels, (pairs.moment, journeys.channel_of(pairs.event)), felt)
    values, organic = shapley_values(levels[:, :K], effect, exact_up_to=K, samples=1, seed=1)
    found = module.credit_touches("mine", journeys, pairs, values, organic, felt)
    return found, pairs, values, felt


def credit_holds(journeys: Journeys) -> None:
    found, pairs, values, felt = credited(journeys)
    n = len(journeys.conversion)
    worth = journeys.events.value[journeys.conversion].astype(np.float64)
    credit, value = np.zeros((2, len(journeys.touch)))
    channel = journeys.channel_of(pairs.event)
    place = {event: i for i, event in enumerate(journeys.touch.tolist())}
    for p, (v, event) in enumerate(zip(pairs.moment, pairs.event.tolist(), strict=True)):
        same = (pairs.moment == v) & (channel == channel[p])
        part = values[v, channel[p]] * felt[p] / felt[same].sum()
        credit[place[event]] += part
        value[place[event]] += part * worth[v]
    assert found.credit == pytest.approx(credit)
    assert found.value == pytest.approx(value)
    assert found.total == pytest.approx(n)
    assert found.value.sum() + found.organic_value.sum() == pytest.approx(worth.sum())
    assert (found.method, found.organic_is) == ("mine", "anyway")
    alone = np.bincount(pairs.moment, minlength=n) == 0
    untouched = np.bincount(journeys.converts[alone], minlength=journeys.n_customers)
    only = ~np.isin(np.arange(journeys.n_customers), journeys.converts[~alone])
    assert found.organic[only] == pytest.approx(untouched[only])
    assert (alone.sum() > 0, only.sum() > 0, (credit < 0).any()) == (True, True, True)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("conversions", ["every", "first"])
def test_credit_is_as_by_hand(
    make: Make, random_log: RandomLog, seed: int, conversions: str
) -> None:
    """Touches of the lookback before the period have credit, too."""
    credit_holds(make(random_log(seed), first=10.0, until=45.0, conversions=conversions))


def credits_alike(patch: pytest.MonkeyPatch) -> None:
    honest = module.credit_touches
    patch.setattr(
        module, "credit_touches", lambda *about: honest(*about[:-1], np.ones_like(about[-1]))
    )


def forgets_values(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Journeys, "value", property(lambda self: np.ones(len(self.conversion))))


def credits_the_next(patch: pytest.MonkeyPatch) -> None:
    honest = module.credit_touches

    def later(method: str, journeys: Journeys, pairs: Any, *others: Any) -> Attribution:
        following = np.searchsorted(journeys.touch, pairs.event) + 1
        event = journeys.touch[np.minimum(following, len(journeys.touch) - 1)]
        return honest(method, journeys, pairs._replace(event=event), *others)

    patch.setattr(module, "credit_touches", later)


def loses_what_is_organic(patch: pytest.MonkeyPatch) -> None:
    honest = module.credit_touches

    def without(*about: Any) -> Attribution:
        method, journeys, pairs, values, organic, felt = about
        return honest(method, journeys, pairs, values, organic * (organic < 1), felt)

    patch.setattr(module, "credit_touches", without)


@pytest.mark.parametrize(
    "mutant", [credits_alike, forgets_values, credits_the_next, loses_what_is_organic]
)
def test_wrong_credit_is_noticed(
    make: Make, random_log: RandomLog, mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    journeys = make(random_log(0), first=10.0, until=45.0)
    assert len(journeys.touch)
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        credit_holds(journeys)


def test_touches_of_which_nothing_is_felt_share_alike(make: Make) -> None:
    journeys = make([[(14.0, "mail"), (17.0, "mail"), (20.0, "buy", 30.0)]])
    pairs = earlier_touches(journeys, journeys.converts, journeys.events.time[journeys.conversion])
    values = np.array([[0.0, 0.6, 0.0, 0.0, 0.0]])
    found = module.credit_touches("mine", journeys, pairs, values, np.array([0.4]), np.zeros(2))
    assert found.credit == pytest.approx([0.3, 0.3])


def test_what_is_organic_of_conversions_that_were_not_expected_is_refused(make: Make) -> None:
    log = [[(1.0, "mail"), (2.0, "buy")]] * 10
    journeys = make(log)
    pairs = earlier_touches(journeys, journeys.converts, journeys.events.time[journeys.conversion])

    def found(organic: Floats) -> Attribution:
        values = (1 - organic)[:, None] * np.eye(5)[1]
        return module.credit_touches("mine", journeys, pairs, values, organic, np.ones(10))

    assert found(np.linspace(0.5, 1.5, 10)).organic.sum() == pytest.approx(10)
    with pytest.raises(
        SeqmarketError, match=r"organic would be 104\d% .* error of 94\d%"
    ) as refused:
        found(np.append(np.full(9, 0.5), 100.0))
    assert "journeys.margin" in str(refused.value)


def test_one_channel_shares_by_what_is_felt(make: Make) -> None:
    """One touch is a half-life older than the other, and a third lies beyond the lookback."""
    journeys = make([[(0.0, "mail"), (14.0, "mail"), (17.0, "mail"), (20.0, "buy", 30.0)]])
    pairs = earlier_touches(journeys, journeys.converts, journeys.events.time[journeys.conversion])
    values = np.array([[0.0, 0.6, 0.0, 0.0, 0.0]])
    found = module.credit_touches(
        "mine", journeys, pairs, values, np.array([0.4]), np.array([1.0, 2.0])
    )
    assert found.credit == pytest.approx([0, 0.2, 0.4])
    assert found.value == pytest.approx([0, 6, 12])
    assert found.organic == pytest.approx([0.4])
    assert found.organic_value == pytest.approx([12])
