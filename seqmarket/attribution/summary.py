"""What the channels contributed, with intervals: one table for any set of methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import polars as pl

from seqmarket.attribution.attributor import Attribution, by_customer, shares_of
from seqmarket.attribution.jackknife import jackknife_interval
from seqmarket.attribution.journeys import Floats, Journeys

ORGANIC = "<organic>"
"""The row of what no touch is credited with."""


class Shares(NamedTuple):
    """Credit of the channels and what is organic, on all customers and on resamples of them.

    Attributes:
        credit: (K + 1,) conversions; the last is organic.
        draws: (R, K + 1) the same on each resample, or without each group of customers.
        jackknife: Whether the draws are without groups.
    """

    credit: Floats
    draws: Floats
    jackknife: bool

    def share(self) -> tuple[Floats, Floats]:
        """(K,) and (R, K) part of the credit of all touches, which may be negative or above 1.

        See `shares_of`.
        """
        return shares_of(self.credit[:-1]), shares_of(self.draws[:, :-1])

    def credit_interval(self, level: float) -> Floats:
        """(2, K + 1) bounds."""
        return self._interval(self.credit, self.draws, level)

    def share_interval(self, level: float) -> Floats:
        """(2, K) bounds."""
        return self._interval(*self.share(), level)

    def _interval(self, estimate: Floats, draws: Floats, level: float) -> Floats:
        known = ~np.isnan(draws).any(axis=1)
        if not known.any() or np.isnan(estimate).any() or (self.jackknife and not known.all()):
            return np.full((2, draws.shape[1]), np.nan)
        draws = draws[known]
        if self.jackknife:
            return jackknife_interval(estimate, draws, level)
        tail = (1 - level) / 2
        return np.asarray(np.quantile(draws, [tail, 1 - tail], axis=0))


def resample(
    journeys: Journeys, found: Attribution, *, n_resamples: int = 500, seed: int = 0
) -> Shares:
    """Draws customers with replacement; each keeps the credit that the method gave.

    A method that learns has done so without each group of customers, which are then the draws: the
    interval says what it would have learnt of other customers, too.
    """
    if found.replicates is not None:
        credit = by_customer(journeys, found.credit).sum(axis=0)
        return Shares(np.append(credit, found.organic.sum()), found.replicates, True)
    each = np.column_stack([by_customer(journeys, found.credit), found.organic])
    # A customer without any credit changes nothing, and is one of a number that can be drawn.
    some = each[np.abs(each).sum(axis=1) > 0]
    random = np.random.default_rng(seed)
    n = int(journeys.members.sum())
    draws = np.empty((n_resamples, each.shape[1]))
    for i in range(n_resamples):
        present = random.binomial(n, len(some) / n) if len(some) < n else n
        times = np.bincount(random.integers(max(len(some), 1), size=present), minlength=len(some))
        draws[i] = times[: len(some)] @ some
    return Shares(each.sum(axis=0), draws, False)


def channel_summary(
    journeys: Journeys,
    attributions: Mapping[str, Attribution],
    *,
    n_resamples: int = 500,
    seed: int = 0,
    level: float = 0.9,
) -> pl.DataFrame:
    """One row per method and channel, and one for what is organic.

    Columns: `method`, `organic_is`, `channel`, `touches` and `cost` (within the period), `credit`
    (conversions, signed) with `credit_low` and `credit_high`, `share` (of the credit of all
    touches) with its bounds, `value`, `cpa` (cost per conversion credited, where that is positive)
    and `roas` (value per cost, where conversions have values).

    Args:
        journeys: The journeys.
        attributions: By method.
        n_resamples: Of customers.
        seed: Of the resamples.
        level: Of the intervals.
    """
    inside = journeys.time >= journeys.period.start
    n = len(journeys.channels)
    touches = np.bincount(journeys.channel[inside], minlength=n)
    cost = np.zeros(n)
    np.add.at(cost, journeys.channel[inside], journeys.cost[inside])
    frames = []
    for method, found in attributions.items():
        drawn = resample(journeys, found, n_resamples=n_resamples, seed=seed)
        share, _ = drawn.share()
        low, high = drawn.credit_interval(level)
        share_low, share_high = drawn.share_interval(level)
        value = np.zeros(n)
        np.add.at(value, journeys.channel, found.value)
        frames.append(
            pl.DataFrame(
                {
                    "method": [method] * (n + 1),
                    "organic_is": [found.organic_is] * (n + 1),
                    "channel": [*journeys.channels, ORGANIC],
                    "touches": [*touches.tolist(), None],
                    "cost": [*cost.tolist(), None],
                    "credit": drawn.credit,
                    "credit_low": low,
                    "credit_high": high,
                    "share": [*share.tolist(), None],
                    "share_low": [*share_low.tolist(), None],
                    "share_high": [*share_high.tolist(), None],
                    "value": [*value.tolist(), float(found.organic_value.sum())],
                }
            )
        )
    table = pl.concat(frames)
    valued = bool(journeys.value.any())
    used = (pl.col("touches") > 0) | (pl.col("credit") != 0) | (pl.col("channel") == ORGANIC)
    return table.filter(used).with_columns(
        cpa=pl.when((pl.col("credit") > 0) & (pl.col("cost") > 0)).then(
            pl.col("cost") / pl.col("credit")
        ),
        roas=pl.when((pl.col("cost") > 0) & valued).then(pl.col("value") / pl.col("cost")),
    )
