"""What touches do to purchases and churn: the causal part of a simulated world.

C  channels     D  days     N  customers     K  causal channels
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqmarket.data.simulation.world import STEPS, World

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Terms(NamedTuple):
    """What the touches of some channels add to the logarithms of both rates.

    Attributes:
        channels: Without any of them, there is no such term.
        buying: (D, N) to the logarithm of the rate of purchases.
        leaving: (D, N) to that of churn, or None.
    """

    channels: frozenset[int]
    buying: Floats
    leaving: Floats | None


class Response:
    """The structural equations of a world.

    Args:
        world: Its effects.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        half_life = STEPS * np.array([channel.half_life for channel in world.channels])
        self._kept = 0.5 ** (1 / half_life)
        self._most = np.array([channel.saturation for channel in world.channels])

    def terms(self, touched: Flags) -> list[Terms]:
        """The terms of all causal channels and pairs, of (C, D, N) touches."""
        world = self._world
        place = {name: i for i, name in enumerate(world.names)}
        level = {i: self._level(touched[i], i) for i in world.causal}
        found = [
            Terms(
                frozenset({i}),
                world.channels[i].effect * level[i],
                world.channels[i].churn * level[i] if world.channels[i].churn else None,
            )
            for i in world.causal
        ]
        for first, second, effect in world.interactions:
            a, b = place[first], place[second]
            found.append(Terms(frozenset({a, b}), effect * level[a] * level[b], None))
        for first, second, effect in world.sequences:
            a, b = place[first], place[second]
            # A touch of the second counts by what was left of the first when it came.
            later = self._level(touched[b] * level[a], b)
            found.append(Terms(frozenset({a, b}), effect * later, None))
        return found

    def _level(self, dose: NDArray[np.generic], channel: int) -> Floats:
        """(D, N) what is felt of earlier (D, N) doses: they fade, add up and saturate."""
        state = np.zeros(dose.shape)
        for step in range(1, len(state)):
            state[step] = self._kept[channel] * state[step - 1] + dose[step - 1]
        most = self._most[channel]
        return np.asarray(most * -np.expm1(-state / most))

    def rates(self, touched: Flags, background: Floats, churning: Floats) -> tuple[Floats, Floats]:
        """(D, N) probabilities of a purchase and of churn in each step, as long as the customer is.

        Args:
            touched: (C, D, N).
            background: (D, N) logarithm of the rate of purchases without touches.
            churning: (D, N) of churn.
        """
        buying, leaving = background.copy(), churning.copy()
        for term in self.terms(touched):
            buying += term.buying
            if term.leaving is not None:
                leaving += term.leaving
        return _chance(buying), _chance(leaving)

    def expected(
        self, touched: Flags, background: Floats, churning: Floats, steps: slice
    ) -> Floats:
        """(N,) expected number of purchases in some steps, of customers with these touches."""
        return _expected(*self.rates(touched, background, churning), steps)

    def coalitions(
        self, touched: Flags, background: Floats, churning: Floats, steps: slice
    ) -> Iterator[tuple[frozenset[int], Floats]]:
        """Each set of causal channels, with the (N,) expected purchases if only its touches were.

        In an order in which neighbours differ by one channel (Gray, 1953), so that a step costs
        what that channel adds.
        """
        causal, terms = self._world.causal, self.terms(touched)
        buying, leaving = background.copy(), churning.copy()
        present: set[int] = set()
        for step in range(2 ** len(causal)):
            if step:
                turned = causal[(step & -step).bit_length() - 1]
                joins = turned not in present
                everyone = present | {turned}
                for term in terms:
                    if turned in term.channels and term.channels <= everyone:
                        _add(term, buying, leaving, 1 if joins else -1)
                present = everyone if joins else present - {turned}
            yield frozenset(present), _expected(_chance(buying), _chance(leaving), steps)


def shapley_weights(n: int) -> Floats:
    """(n,) weight of a set by its size in the Shapley value of one of n players who joins it.

    Source: Shapley, "A value for n-person games", 1953.
    """
    weights = [1.0 / n]
    for size in range(1, n):
        weights.append(weights[-1] * size / (n - size))
    return np.array(weights)


def _add(term: Terms, buying: Floats, leaving: Floats, sign: int) -> None:
    buying += sign * term.buying
    if term.leaving is not None:
        leaving += sign * term.leaving


def _chance(log_rate: Floats) -> Floats:
    return np.asarray(-np.expm1(-np.exp(log_rate)))


def _expected(buys: Floats, leaves: Floats, steps: slice) -> Floats:
    """A customer can buy in the step in which they leave, and not after."""
    there = np.cumprod(1 - leaves[:-1], axis=0)
    buys = buys.copy()
    buys[1:] *= there
    return np.asarray(buys[steps].sum(axis=0))
