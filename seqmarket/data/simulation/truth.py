"""What touches really brought about, by running the world again without them.

Touches are taken away as an analyst would take them out of a journey: the others stay where they
are, and the customer keeps their intent. The luck of single steps is averaged out exactly: the
expected purchases of a customer with given touches have a closed form.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.data.simulation.cohort import Cohort
from seqmarket.data.simulation.response import Floats, Response, shapley_weights
from seqmarket.data.simulation.world import STEPS, World


@dataclass(frozen=True)
class Truth:
    """The true contributions of a simulated log, in expected purchases within a period.

    Attributes:
        expected: Purchases with all touches.
        organic: Purchases without any.
        purchases: Those that happened.
        channels: `channel`, `touches` and `cost` up to the end of the period, `removal` (what would
            be lost without the channel) and `shapley`. Shapley values and `organic` sum to
            `expected`.
        customers: `customer` (its number), `expected`, `organic`, `purchases`.
        touches: `customer`, `day` (since the start of the log, with its fraction), `channel`,
            `removal` (what would be lost without this touch alone) and `in_order` (what it added to
            the touches before it), which sums to `expected` less `organic`; None: not asked for.
    """

    expected: float
    organic: float
    purchases: int
    channels: pl.DataFrame
    customers: pl.DataFrame
    touches: pl.DataFrame | None


def truth_of(world: World, cohorts: Iterable[Cohort], steps: slice, *, touches: bool) -> Truth:
    """Measures the true contributions.

    Args:
        world: In which the cohorts were simulated.
        cohorts: The customers.
        steps: The period: its first step, and the one after its last.
        touches: Whether each touch is measured by itself, which takes most of the time.
    """
    measured = [_Measured.of(world, cohort, steps, touches) for cohort in cohorts]
    removal, shapley = (sum(getattr(m, what) for m in measured) for what in ("removal", "shapley"))
    customers = pl.concat([m.customers for m in measured]).with_row_index("customer")
    first = np.cumsum([0, *(len(m.customers) for m in measured)])
    number = sum(m.touched for m in measured)
    return Truth(
        expected=float(customers["expected"].sum()),
        organic=float(customers["organic"].sum()),
        purchases=int(customers["purchases"].sum()),
        channels=pl.DataFrame(
            {
                "channel": world.names,
                "touches": number,
                "cost": number * np.array([channel.cost for channel in world.channels]),
                "removal": removal,
                "shapley": shapley,
            }
        ),
        customers=customers,
        touches=pl.concat(
            m.touches.with_columns(customer=pl.col("customer") + int(start))
            for m, start in zip(measured, first, strict=False)
            if m.touches is not None
        )
        if touches
        else None,
    )


@dataclass(frozen=True)
class _Measured:
    removal: Floats
    shapley: Floats
    touched: NDArray[np.int64]
    customers: pl.DataFrame
    touches: pl.DataFrame | None

    @staticmethod
    def of(world: World, cohort: Cohort, steps: slice, touches: bool) -> _Measured:
        until = slice(steps.stop)
        touched = cohort.touched[:, until]
        background, churning = cohort.background[until], cohort.churning[until]
        response, causal = Response(world), world.causal
        weight = shapley_weights(max(len(causal), 1))
        removal, shapley = np.zeros((2, len(world.channels)))
        everybody = frozenset(causal)
        total: dict[frozenset[int], float] = {}
        each: dict[frozenset[int], Floats] = {}
        for present, expected in response.coalitions(touched, background, churning, steps):
            total[present] = float(expected.sum())
            if present in (everybody, frozenset()):
                each[present] = expected
        for channel in causal:
            removal[channel] = total[everybody] - total[everybody - {channel}]
            for present, value in total.items():
                if channel not in present:
                    gain = total[present | {channel}] - value
                    shapley[channel] += weight[len(present)] * gain
        return _Measured(
            removal,
            shapley,
            touched.sum(axis=(1, 2)),
            pl.DataFrame(
                {
                    "expected": each[everybody],
                    "organic": each[frozenset()],
                    "purchases": cohort.bought[steps].sum(axis=0),
                }
            ),
            _of_touches(world, cohort, steps, each) if touches else None,
        )


def _of_touches(
    world: World, cohort: Cohort, steps: slice, each: dict[frozenset[int], Floats]
) -> pl.DataFrame:
    """The k-th touches of all customers who have so many are measured together."""
    until = slice(steps.stop)
    touched, response = cohort.touched[:, until], Response(world)
    channel, step, customer = np.nonzero(touched)
    moment = step + cohort.moment[channel, step, customer].astype(np.float64)
    order = np.lexsort((moment, customer))
    channel, step, customer, moment = (x[order] for x in (channel, step, customer, moment))
    removal, in_order = np.zeros((2, len(order)))
    # Others add nothing, in whatever order.
    felt = np.flatnonzero(np.isin(channel, world.causal))
    starts = np.searchsorted(customer[felt], customer[felt])
    place = np.arange(len(felt)) - starts
    full, before = each[frozenset(world.causal)], each[frozenset()].copy()
    so_far = np.zeros_like(touched)
    for k in range(int(place.max(initial=-1)) + 1):
        rows = felt[place == k]
        who = customer[rows]
        known = cohort.background[until, who], cohort.churning[until, who], steps
        without = touched[:, :, who].copy()
        without[channel[rows], step[rows], np.arange(len(who))] = False
        removal[rows] = full[who] - response.expected(without, *known)
        so_far[channel[rows], step[rows], who] = True
        with_it = response.expected(so_far[:, :, who], *known)
        in_order[rows] = with_it - before[who]
        before[who] = with_it
    return pl.DataFrame(
        {
            "customer": customer,
            "day": moment / STEPS,
            "channel": np.array(world.names)[channel],
            "removal": removal,
            "in_order": in_order,
        }
    )
