"""Credit beside a randomised hold-out: what really is lost where a channel is kept from customers.

A column of the log says which channel a customer was kept from by lot: a channel's name, ``all``,
or ``none``. The difference of purchases between those who were kept from nothing and those who were
kept from a channel is what it adds to the others. No method sees it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import norm

from seqmarket.attribution.attributor import Attribution, by_customer
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.errors import SeqmarketError
from seqmarket.schema import SPECIAL_TOKENS

HELD_OUT = "held_out"
"""The column that is looked at unless another one is named; `data=simulator` writes it."""

ALL, NONE = "all", "none"
"""What is said of customers who were kept from every channel, and from no channel."""


def holdout_table(
    journeys: Journeys,
    attributions: Mapping[str, Attribution],
    *,
    column: str = HELD_OUT,
    level: float = 0.9,
) -> pl.DataFrame:
    """One row per method and channel that some were kept from; `all` stands for all channels.

    Columns: `method`, `channel`, `customers` (who were kept from nothing), `held_out` (who were
    kept from the channel), `incremental` (conversions per customer that the former have more in the
    period) with `incremental_low` and `incremental_high` (normal), `credit` (conversions per
    customer that the method gives the channel, among those kept from nothing) and `agrees` (whether
    it is within the bounds).

    Args:
        journeys: Of the period.
        attributions: By method.
        column: A categorical feature of the customers.
        level: Of the intervals.

    Raises:
        SeqmarketError: There is no such feature, or there are no two groups to compare.
    """
    group = _groups(journeys, column)
    bought = np.bincount(journeys.converts, minlength=journeys.n_customers).astype(np.float64)
    free = group == NONE
    rows = []
    for channel in (*journeys.channels, ALL):
        kept = group == channel
        if free.sum() < 2 or kept.sum() < 2:
            continue
        more, low, high = _difference(bought[free], bought[kept], level)
        for method, found in attributions.items():
            each = by_customer(journeys, found.credit)[free].sum(axis=0) / free.sum()
            credit = each.sum() if channel == ALL else each[journeys.channels.index(channel)]
            rows.append(
                {
                    "method": method,
                    "channel": channel,
                    "customers": int(free.sum()),
                    "held_out": int(kept.sum()),
                    "incremental": more,
                    "incremental_low": low,
                    "incremental_high": high,
                    "credit": float(credit),
                    "agrees": bool(low <= credit <= high),
                }
            )
    if not rows:
        raise SeqmarketError(
            f"'{column}' does not name two customers who were kept from a channel, and two from "
            "none",
            where=f"holdout={column}",
            fix=f"its values are names of channels, '{ALL}' and '{NONE}'",
        )
    return pl.DataFrame(rows).sort("method", maintain_order=True)


def has_holdout(journeys: Journeys) -> bool:
    """Whether the log has the column that is looked at unless another one is named."""
    return HELD_OUT in _names(journeys)


def check_holdout(journeys: Journeys, column: str) -> None:
    """Makes sure that customers have such a feature.

    Raises:
        SeqmarketError: They have not.
    """
    names = _names(journeys)
    if column not in names:
        raise SeqmarketError(
            f"the customers have no categorical feature '{column}'",
            where=f"holdout={column}",
            fix=f"choose of: {', '.join(names)}" if names else "holdout=null",
        )


def _names(journeys: Journeys) -> list[str]:
    return [feature.name for feature in journeys.spec.static_categorical]


def _groups(journeys: Journeys, column: str) -> NDArray[np.str_]:
    """(C,) what each customer was kept from; empty for who takes no part, or is of no known group.

    Raises:
        SeqmarketError: There is no such feature.
    """
    check_holdout(journeys, column)
    place = _names(journeys).index(column)
    said = np.array([*[""] * SPECIAL_TOKENS, *journeys.spec.static_categorical[place].categories])
    group = said[journeys.events.static_categorical[:, place]]
    return np.where(journeys.members, group, "")


def _difference(free: Floats, kept: Floats, level: float) -> tuple[float, float, float]:
    """Of two means, with its bounds."""
    more = float(free.mean() - kept.mean())
    error = np.sqrt(free.var(ddof=1) / len(free) + kept.var(ddof=1) / len(kept))
    reach = float(norm.ppf((1 + level) / 2) * error)
    return more, more - reach, more + reach
