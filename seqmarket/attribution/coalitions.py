"""Shapley values of channels at each conversion, and from them the credit of each touch.

A conversion that happened at a rate would have happened anyway with the probability that the rate
without the touches has of it: the rate is thinned (Lewis and Shedler, "Simulation of
nonhomogeneous Poisson processes by thinning", 1979). So ratios of rates at the conversions that
were observed are all that is needed, and what drives the rate besides touches cancels.

    V  conversions     K  channels     P  pairs of a conversion and an earlier touch
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from seqmarket.attribution.attributor import Attribution
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.moments import Pairs
from seqmarket.attribution.paths import Ints
from seqmarket.attribution.sharing import check_telling
from seqmarket.data.simulation.response import shapley_weights

_BLOCK = 1 << 17


def shapley_values(
    levels: Floats,
    effect: Callable[[Floats], Floats],
    *,
    exact_up_to: int,
    samples: int,
    seed: int,
) -> tuple[Floats, Floats]:
    """What each channel has of each conversion; with what is organic it sums to 1.

    Args:
        levels: (V, K) what is felt of each channel; 0 where there is nothing.
        effect: Of (N, K) levels, the (N,) logarithm of the factor on the rate of purchases.
        exact_up_to: Channels at one conversion up to which all sets are tried; beyond, orders are
            drawn.
        samples: Number of orders.
        seed: Of the orders.

    Returns:
        (V, K) signed values, and (V,) what would have come of no touch at all.
    """
    values = np.zeros(levels.shape)
    organic = np.ones(len(levels))
    felt = levels != 0
    number = felt.sum(axis=1)
    random = np.random.default_rng(seed)
    for size in np.unique(number[number > 0]).tolist():
        every = np.flatnonzero(number == size)
        for start in range(0, len(every), _BLOCK):
            rows = every[start : start + _BLOCK]
            # The channels that are there, side by side.
            players = np.argsort(~felt[rows], axis=1, kind="stable")[:, :size]
            game = _Game(levels[rows], players, effect)
            found = game.exact() if size <= exact_up_to else game.sampled(samples, random)
            values[rows[:, None], players] = found
            organic[rows] = game.worth(np.zeros(size, dtype=np.bool_))
    return values, organic


class _Game:
    """Some conversions with as many channels each; what a set of them is worth, of 1."""

    def __init__(self, levels: Floats, players: Ints, effect: Callable[[Floats], Floats]) -> None:
        self._levels, self._players, self._effect = levels, players, effect
        self._all = effect(levels)
        self._row = np.arange(len(levels))[:, None]

    def worth(self, inside: np.typing.NDArray[np.bool_]) -> Floats:
        """(N,) of those players who are inside, (size,) or (N, size)."""
        kept = np.zeros_like(self._levels)
        kept[self._row, self._players] = self._levels[self._row, self._players] * inside
        return np.asarray(np.exp(self._effect(kept) - self._all))

    def exact(self) -> Floats:
        """(N, size) by all sets."""
        size = self._players.shape[1]
        weight = shapley_weights(size)
        values = np.zeros(self._players.shape)
        for mask in range(2**size):
            inside = np.array([mask >> i & 1 for i in range(size)], dtype=np.bool_)
            worth, n = self.worth(inside)[:, None], int(inside.sum())
            if n:
                values[:, inside] += weight[n - 1] * worth
            if n < size:
                values[:, ~inside] -= weight[n] * worth
        return values

    def sampled(self, samples: int, random: np.random.Generator) -> Floats:
        """(N, size) by orders in which the players join."""
        n, size = self._players.shape
        values = np.zeros((n, size))
        nothing = self.worth(np.zeros(size, dtype=np.bool_))
        for _ in range(samples):
            inside, before = np.zeros(size, dtype=np.bool_), nothing
            for player in random.permutation(size):
                inside[player] = True
                after = self.worth(inside)
                values[:, player] += (after - before) / samples
                before = after
        return values


def credit_touches(
    method: str, journeys: Journeys, pairs: Pairs, values: Floats, organic: Floats, felt: Floats
) -> Attribution:
    """Divides what channels have of conversions among their touches, by what is felt of each.

    Args:
        method: Name.
        journeys: Of the conversions.
        pairs: Each conversion with the touches before it.
        values: (V, K) of the channels.
        organic: (V,).
        felt: (P,) of each touch at the conversion; where nothing is felt any more of any touch of
            a channel, they share alike.

    Raises:
        SeqmarketError: There is no telling what is organic.
    """
    check_telling(method, organic)
    k = values.shape[1]
    cell = pairs.moment * k + journeys.channel_of(pairs.event)
    total = np.bincount(cell, felt, values.size)
    felt = np.where(total[cell] > 0, felt, 1.0)
    total = np.bincount(cell, felt, values.size)
    each = values.ravel()[cell] * felt / total[cell]
    # All are within a lookback of the period, and so among the touches of the journeys.
    touch = np.searchsorted(journeys.touch, pairs.event)
    worth = journeys.value
    size, people = len(journeys.touch), journeys.n_customers

    def summed(where: Ints, what: Floats, n: int) -> Floats:
        return np.bincount(where, what, n).astype(np.float64)

    return Attribution(
        method,
        "anyway",
        summed(touch, each, size),
        summed(journeys.converts, organic, people),
        summed(touch, each * worth[pairs.moment], size),
        summed(journeys.converts, organic * worth, people),
    )
