"""Shapley values of paths against all orders in which channels may join."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any, Literal

import numpy as np
import pytest

from seqmarket.attribution import shapley
from seqmarket.attribution.attributor import Evidence
from seqmarket.attribution.journeys import Journeys
from seqmarket.attribution.shapley import ShapleySets

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


def test_the_game_of_rates_shows_harm(make: Make) -> None:
    buys: Log = [[(1.0, "mail"), (2.0, "buy")]] * 8 + [[(1.0, "mail")]] * 2
    spoilt: Log = [[(1.0, "mail"), (2.0, "search"), (3.0, "buy")]] + [
        [(1.0, "mail"), (2.0, "search")]
    ] * 9
    journeys = make(buys + spoilt)
    harm = journeys.channels.index("search")
    assert channels_of(journeys, ShapleySets(game="rate"))[harm] < 0
    assert channels_of(journeys, ShapleySets(game="conversions"))[harm] > 0
