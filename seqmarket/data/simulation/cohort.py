"""Customers of a simulated world: who they are, what they meet and when they buy.

All random numbers are drawn before anything is made of them, and none is drawn or left out because
of another. So worlds that differ in one effect have the same customers with the same luck.

    C  channels     D  steps, of which a day has several     N  customers
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqmarket.data.simulation.response import Response
from seqmarket.data.simulation.world import STEPS, World

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

SIZE = 500
"""Customers that are simulated at once: few enough to stay in a processor's cache."""

_MOST_LIKELY = 0.95  # a touch of one channel in one step
_ARRIVING = 0.2  # share of the observation within which customers arrive


@dataclass(frozen=True)
class Cohort:
    """Some customers, step by step.

    Attributes:
        arrival: (N,) step of the registration.
        held_out: (N,) channel that a customer is kept from; C: from all; -1: from none.
        score: (N,) what is known of the lasting intent.
        basket: (N,) mean value of a purchase.
        touched: (C, D, N) whether a channel met the customer.
        visited: (D, N) whether the customer came without being called.
        bought: (D, N) whether the customer bought.
        background: (D, N) logarithm of the rate of purchases without touches; -inf before arrival.
        churning: (D, N) the same of churn.
        moment: (C + 2, D, N) time within the step of touches, visits and purchases, in steps.
        value: (D, N) of a purchase in that step.
    """

    arrival: NDArray[np.int64]
    held_out: NDArray[np.int64]
    score: Floats
    basket: Floats
    touched: Flags
    visited: Flags
    bought: Flags
    background: Floats
    churning: Floats
    moment: NDArray[np.float32]
    value: Floats


def simulate(
    world: World, days: int, seed: int, number: int, size: int = SIZE, holdout: float = 0.0
) -> Cohort:
    """Simulates a cohort; a pure function of its arguments.

    Args:
        world: The structural model.
        days: Of the observation.
        seed: Of the random numbers.
        number: Of the cohort; each has numbers of its own.
        size: N; fewer are the first ones of more.
        holdout: Share of the customers that are kept from one channel, or from all, by lot.
    """
    n_channels, n, steps = len(world.channels), SIZE, days * STEPS
    random = np.random.default_rng((seed, number))
    arrival = random.integers(max(round(steps * _ARRIVING), 1), size=n)
    lasting, noise, taste = random.standard_normal((3, n))
    lot, group = random.random(n), random.integers(n_channels + 1, size=n)
    shocks = random.standard_normal((steps, n))
    chance = random.random((n_channels + 3, steps, n), dtype=np.float32)
    moment = random.random((n_channels + 2, steps, n), dtype=np.float32)
    spread = random.standard_normal((steps, n))

    here = np.arange(steps)[:, None] >= arrival
    intent = _intent(world, lasting, shocks)
    season = _season(world, steps)
    exposure = season[:, None] - np.log(STEPS) + np.where(here, 0.0, -np.inf)
    held_out = np.where(lot < holdout, group, -1)
    touched = np.empty((n_channels, steps, n), dtype=np.bool_)
    for i, channel in enumerate(world.channels):
        pull = world.confounding * channel.targeting
        rate = channel.rate * np.exp(pull * intent - pull**2 / 2 + exposure)
        touched[i] = chance[i] < np.minimum(rate, _MOST_LIKELY)
        touched[i] &= (held_out != i) & (held_out != n_channels)
    visited = chance[-3] < np.minimum(world.visits * np.exp(intent - 0.5 + exposure), _MOST_LIKELY)
    background = np.log(world.purchase_rate) + world.intent * intent + exposure
    churning = np.log(max(world.churn_rate, 1e-12)) - 0.3 * intent + exposure - season[:, None]

    buys, leaves = Response(world).rates(touched, background, churning)
    left = np.cumsum(chance[-1] < leaves, axis=0) > 0
    bought = (chance[-2] < buys) & ~np.concatenate([np.zeros((1, n), np.bool_), left[:-1]])
    basket = np.exp(3.0 + 0.5 * taste)
    known = world.intent_proxy
    score = known * lasting + np.sqrt(1 - known**2) * noise
    value = np.maximum(np.round(basket * np.exp(0.4 * spread - 0.08), 2), 0.01)
    some = slice(size)
    return Cohort(
        arrival[some],
        held_out[some],
        score[some],
        basket[some],
        touched[..., some],
        (visited & ~np.concatenate([np.zeros((1, n), np.bool_), left[:-1]]))[:, some],
        bought[:, some],
        background[:, some],
        churning[:, some],
        moment[..., some],
        value[:, some],
    )


def _intent(world: World, lasting: Floats, shocks: Floats) -> Floats:
    """(D, N) of unit variance: a part that stays, and one that wanders (Ornstein-Uhlenbeck)."""
    kept = np.exp(-1 / (STEPS * world.wandering_days))
    wandering = np.empty_like(shocks)
    wandering[0] = shocks[0]
    for step in range(1, len(shocks)):
        wandering[step] = kept * wandering[step - 1] + np.sqrt(1 - kept**2) * shocks[step]
    stays = world.persistence
    return np.asarray(np.sqrt(stays) * lasting + np.sqrt(1 - stays) * wandering)


def _season(world: World, steps: int) -> Floats:
    day = np.arange(steps) / STEPS
    week, year = np.sin(2 * np.pi * day / 7), np.sin(2 * np.pi * day / 365.25)
    return np.asarray(world.weekly * week + world.yearly * year)
