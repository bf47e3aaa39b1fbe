"""What a smaller budget would have bought, had it been spent by a method's credit.

The touches of a period are paid for anew: a method funds channels in the order of their credit per
cost, and of a channel that the money does not cover touches are kept by lot. In a simulated world
the purchases that follow are known. In a log they are not: what can be counted are the conversions
whose paths stay whole, as in Ren et al., "Learning Multi-touch Conversion Attribution with
Dual-attention Mechanisms for Online Advertising", 2018. That takes each of them for caused by all
of its touches, and favours channels that are merely there.

K  channels
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from seqmarket.attribution.attributor import Attribution, by_customer
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.errors import SeqmarketError

UNIFORM, PROPORTIONAL = "uniform", "proportional"
"""The baselines: every channel gets as much money, or keeps the same part of its own."""

TRUTH, EVERYTHING = "truth", "everything"
"""The credit that is true; and all touches, as they were."""


class Known(NamedTuple):
    """A world whose truth is known.

    Attributes:
        worth: True credit by channel.
        outcome: Gives the expected purchases of the period if its channels keep these parts of
            their touches, for each of several plans.
    """

    worth: Mapping[str, float]
    outcome: Callable[[Sequence[Mapping[str, float]]], Sequence[float]]


class Plan(NamedTuple):
    """How a budget is spent.

    Attributes:
        method: By whose credit, or which baseline.
        budget: Part of what all touches of the period cost.
        kept: (K,) part of each channel's touches that is paid for.
    """

    method: str
    budget: float
    kept: Floats


def replay_table(
    journeys: Journeys,
    attributions: Mapping[str, Attribution],
    budgets: Sequence[float],
    *,
    seed: int = 0,
    known: Known | None = None,
) -> pl.DataFrame:
    """One row per method or baseline and budget, and one for everything.

    Columns: `method`, `budget` and `spent` (parts of what the touches of the period cost; less is
    spent where no further channel has positive credit), `incremental` (expected purchases, over
    those without any touch in the period; null where the world is not simulated) and `whole`
    (conversions all of whose touches are paid for; those without a touch are).

    Where the log has no costs, every touch counts as 1.

    Args:
        journeys: Of the period.
        attributions: By method.
        budgets: Parts of what the touches cost, between 0 and 1.
        seed: Of the lot.
        known: The world, where it is simulated. Its credit is one more method, `truth`.

    Raises:
        SeqmarketError: No touch of the period costs anything to save.
    """
    inside = journeys.time >= journeys.period.start
    k = len(journeys.channels)
    price = journeys.cost if journeys.cost[inside].any() else np.ones(len(journeys.touch))
    cost = np.bincount(journeys.channel[inside], price[inside], minlength=k).astype(np.float64)
    if cost.sum() <= 0 or (cost < 0).any():
        raise SeqmarketError(
            "no touch of the period costs anything, or some cost less than nothing",
            where="replay",
            fix="replay=[]",
        )
    credit = {
        method: by_customer(journeys, np.where(inside, found.credit, 0.0)).sum(axis=0)
        for method, found in attributions.items()
    }
    if known is not None:
        credit[TRUTH] = np.array([known.worth.get(name, 0.0) for name in journeys.channels])
    plans = list(_plans(credit, cost, budgets))
    lot = np.random.default_rng(seed).random(len(journeys.touch))
    return pl.DataFrame(
        {
            "method": [plan.method for plan in plans],
            "budget": [plan.budget for plan in plans],
            "spent": [float(plan.kept @ cost / cost.sum()) for plan in plans],
            "incremental": _incremental(journeys, plans, known),
            "whole": [
                _whole(journeys, (lot < plan.kept[journeys.channel]) | ~inside) for plan in plans
            ],
        },
        schema_overrides={"incremental": pl.Float64},
    )


def by_credit(credit: Floats, cost: Floats, budget: float) -> Floats:
    """(K,) parts that are paid for: the most credit per cost first, and none of a harmful channel.

    Args:
        credit: (K,) conversions.
        cost: (K,) of all touches.
        budget: In the same money.
    """
    kept = np.where((cost == 0) & (credit >= 0), 1.0, 0.0)
    paid = np.flatnonzero((cost > 0) & (credit > 0))
    for channel in paid[np.argsort(-credit[paid] / cost[paid], kind="stable")]:
        kept[channel] = min(budget / cost[channel], 1.0)
        budget = max(budget - kept[channel] * cost[channel], 0.0)
    return kept


def uniform(cost: Floats, budget: float) -> Floats:
    """(K,) parts that are paid for if every channel gets as much, and at most what it costs."""
    kept = np.ones(len(cost))
    for place, channel in enumerate(order := np.argsort(cost, kind="stable")):
        given = min(budget / (len(order) - place), cost[channel])
        kept[channel] = given / cost[channel] if cost[channel] else 1.0
        budget -= given
    return kept


def _plans(credit: Mapping[str, Floats], cost: Floats, budgets: Sequence[float]) -> Iterator[Plan]:
    yield Plan(EVERYTHING, 1.0, np.ones(len(cost)))
    for budget in budgets:
        money = budget * cost.sum()
        for method, each in credit.items():
            yield Plan(method, budget, by_credit(each, cost, money))
        yield Plan(UNIFORM, budget, uniform(cost, money))
        yield Plan(PROPORTIONAL, budget, np.where(cost > 0, budget, 1.0))


def _incremental(
    journeys: Journeys, plans: Sequence[Plan], known: Known | None
) -> list[float | None]:
    if known is None:
        return [None] * len(plans)
    # Many methods fund the same channels in the same order.
    different = {plan.kept.tobytes(): plan.kept for plan in plans}
    nothing = np.zeros(len(journeys.channels))
    named = [
        dict(zip(journeys.channels, kept, strict=True)) for kept in (nothing, *different.values())
    ]
    without, *followed = known.outcome(named)
    found = dict(zip(different, followed, strict=True))
    return [found[plan.kept.tobytes()] - without for plan in plans]


def _whole(journeys: Journeys, paid: np.ndarray) -> int:
    paths = journeys.converting
    path, touch = paths.rows()
    broken = np.zeros(len(paths.first), dtype=np.bool_)
    broken[path[~paid[touch]]] = True
    return int((~broken).sum())
