"""Shapley values of paths against all orders in which channels may join."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from typing import Any, Literal

import numpy as np
import pytest

from seqmarket.attribution import shapley
from seqmarket.attribution.attributor import Attributor, Evidence
from seqmarket.attribution.journeys import Journeys
from seqmarket.attribution.linear import Linear
from seqmarket.attribution.markov import MarkovRemoval
from seqmarket.attribution.shapley import ShapleySets
from seqmarket.errors import SeqmarketError

Make = Callable[..., Journeys]
Log = list[list[tuple[Any, ...]]]
Game = Literal["conversions", "rate"]


def by_hand(journeys: Journeys, game: Game) -> np.ndarray:
    """(K,) values, one order after the other."""
    sets = [
        (frozenset(journeys.channel[first:stop].tolist()), conversion >= 0)
        for first, stop, conversion in zip(*journeys.paths, strict=True)
        if stop > first
    ]

    def worth(present: frozenset[int]) -> float:
        inside = [converted for channels, converted in sets if channels <= present]
        if game == "conversions":
            return float(sum(inside))
        return float(np.mean(inside)) if inside else 0.0

    values = np.zeros(len(journeys.channels))
    used = sorted(set(journeys.channel.tolist()))
    orders = list(permutations(used))
    for order in orders:
        for i, channel in enumerate(order):
            gain = worth(frozenset(order[: i + 1])) - worth(frozenset(order[:i]))
            values[channel] += gain / len(orders)
    return values


def channels_of(journeys: Journeys, method: ShapleySets) -> np.ndarray:
    credit = method.attribute(Evidence(journeys, journeys)).credit
    return np.bincount(journeys.channel, credit, minlength=len(journeys.channels))


def values_are_as_by_hand(make: Make, log: Log, game: Game) -> None:
    journeys = make(log)
    values = by_hand(journeys, game)
    touched = (journeys.converting.stop > journeys.converting.first).sum()
    wanted = values * touched / values.sum()
    assert channels_of(journeys, ShapleySets(game=game)) == pytest.approx(wanted)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("game", ["conversions", "rate"])
def test_values_are_as_by_hand(
    make: Make, random_log: Callable[[int], Log], seed: int, game: Game
) -> None:
    values_are_as_by_hand(make, random_log(seed), game)


def test_sets_that_weigh_all_alike_are_noticed(
    make: Make, random_log: Callable[[int], Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shapley, "shapley_weights", lambda n: np.full(n, 0.5 ** (n - 1)))
    with pytest.raises(AssertionError):
        values_are_as_by_hand(make, random_log(0), "rate")


def test_sharing_by_touches_is_noticed(
    make: Make, random_log: Callable[[int], Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_touches = staticmethod(lambda j: Linear().attribute(Evidence(j, j)))
    monkeypatch.setattr(ShapleySets, "_shared_alike", by_touches)
    with pytest.raises(AssertionError):
        values_are_as_by_hand(make, random_log(0), "conversions")


def test_forgotten_null_paths_are_noticed(
    make: Make, random_log: Callable[[int], Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = shapley._sets
    monkeypatch.setattr(
        shapley, "_sets", lambda j, paths, used: honest(j, paths.take(paths.conversion >= 0), used)
    )
    with pytest.raises(AssertionError):
        values_are_as_by_hand(make, random_log(0), "rate")


def test_channels_that_are_on_no_path_do_not_play(make: Make) -> None:
    """The channel of a touch whose conversion may come yet is in no set."""
    log: Log = [[(1.0, "mail"), (2.0, "buy")], [(1.0, "mail")], [(99.0, "search")]]
    journeys = make(log)
    played = ShapleySets(game="rate", exact_up_to=1, samples=1)
    assert channels_of(journeys, played).tolist() == [0, 1, 0, 0, 0]


def test_a_game_of_too_many_channels_is_refused(make: Make) -> None:
    seen = make([[(1.0, "mail"), (2.0, "buy")]] * 64)
    channels = tuple(f"channel {i}" for i in range(64))
    wide = replace(seen, channels=channels, channel=np.arange(64))
    method = ShapleySets(game="rate", samples=20)
    with pytest.raises(SeqmarketError, match="64 channels"):
        method.attribute(Evidence(wide, wide))
    narrow = replace(seen, channels=channels, channel=np.minimum(np.arange(64), 62))
    assert method.attribute(Evidence(narrow, narrow)).total == pytest.approx(64)


def test_within_a_path_touches_of_one_channel_share(make: Make) -> None:
    log: Log = [[(1.0, "mail"), (2.0, "mail"), (3.0, "search"), (4.0, "buy", 8.0)]]
    journeys = make(log)
    found = ShapleySets().attribute(Evidence(journeys, journeys))
    assert found.credit.tolist() == [0.25, 0.25, 0.5]
    assert found.value.tolist() == [2, 2, 4]


def test_drawn_orders_come_near_the_exact_values(
    make: Make, random_log: Callable[[int], Log]
) -> None:
    journeys = make(random_log(2))
    exact = channels_of(journeys, ShapleySets(game="rate"))
    drawn = ShapleySets(game="rate", exact_up_to=1, samples=3_000)
    first, again = channels_of(journeys, drawn), channels_of(journeys, drawn)
    assert (first == again).all()
    assert first == pytest.approx(exact, abs=0.05 * np.abs(exact).sum())
    other = channels_of(journeys, drawn.model_copy(update={"seed": 2}))
    assert (first != other).any()


def drawn_orders_are_fair(journeys: Journeys, samples: int = 3_000) -> None:
    """Values of drawn orders are off by no more than four of their standard errors."""
    sets = [
        (frozenset(journeys.channel[first:stop].tolist()), conversion >= 0)
        for first, stop, conversion in zip(*journeys.paths, strict=True)
        if stop > first
    ]

    def rate(present: frozenset[int]) -> float:
        inside = [converted for channels, converted in sets if channels <= present]
        return float(np.mean(inside)) if inside else 0.0

    used = sorted(frozenset().union(*(channels for channels, _ in sets)))
    orders = list(permutations(used))
    gains = np.zeros((len(orders), len(journeys.channels)))
    for row, order in zip(gains, orders, strict=True):
        for i, channel in enumerate(order):
            row[channel] = rate(frozenset(order[: i + 1])) - rate(frozenset(order[:i]))
    drawn = channels_of(journeys, ShapleySets(game="rate", exact_up_to=1, samples=samples))
    # The gains of an order add up to the rate of all, so credits are gains in another unit.
    touched = (journeys.converting.stop > journeys.converting.first).sum()
    off = np.abs(drawn * rate(frozenset(used)) / touched - gains.mean(axis=0))
    assert (off <= 4 * gains.std(axis=0) / np.sqrt(samples) + 1e-12).all()


@pytest.mark.parametrize("seed", range(4))
def test_drawn_orders_are_fair(make: Make, random_log: Callable[[int], Log], seed: int) -> None:
    drawn_orders_are_fair(make(random_log(seed)))


def test_orders_that_are_not_drawn_are_noticed(
    make: Make, random_log: Callable[[int], Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stubborn:
        def __init__(self, seed: int) -> None:
            """Draws the same order always."""

        def permutation(self, n: int) -> np.ndarray:
            return np.arange(n)

    journeys = make(random_log(0))
    monkeypatch.setattr(shapley.np.random, "default_rng", Stubborn)
    with pytest.raises(AssertionError):
        drawn_orders_are_fair(journeys)


def test_harm_by_hand(make: Make) -> None:
    """Mail alone converts 5 of 10, with search 1 of 10, search alone none of 10."""
    both = [(1.0, "mail"), (2.0, "search")]
    log: Log = [[(1.0, "mail"), (3.0, "buy")]] * 5 + [[(1.0, "mail")]] * 5
    log += [[*both, (3.0, "buy")]] + [both] * 9 + [[(2.0, "search")]] * 10
    journeys = make(log)
    # Mail gains .5 first and .2 second; search gains 0 first and .2 - .5 second.
    wanted = 6 / 0.2 * np.array([0, 0.35, -0.15, 0, 0])
    assert channels_of(journeys, ShapleySets(game="rate")) == pytest.approx(wanted)


def test_the_game_of_rates_shows_harm(make: Make) -> None:
    buys: Log = [[(1.0, "mail"), (2.0, "buy")]] * 8 + [[(1.0, "mail")]] * 2
    spoilt: Log = [[(1.0, "mail"), (2.0, "search"), (3.0, "buy")]] + [
        [(1.0, "mail"), (2.0, "search")]
    ] * 9
    journeys = make(buys + spoilt)
    harm = journeys.channels.index("search")
    assert channels_of(journeys, ShapleySets(game="rate"))[harm] < 0
    assert channels_of(journeys, ShapleySets(game="conversions"))[harm] > 0


@pytest.mark.parametrize("method", [ShapleySets(game="rate"), MarkovRemoval()])
def test_without_a_path_whose_end_is_known_there_are_no_rates(
    make: Make, method: Attributor
) -> None:
    journeys = make([[(1.0, "mail"), (3.0, "buy")], [(1.0, "search")]], until=8.0)
    with pytest.raises(SeqmarketError, match="no path began early enough"):
        method.attribute(Evidence(journeys, journeys))
