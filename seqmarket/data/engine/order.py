"""The one order of a log: customer, time, the declared order, then content; and what repeats.

Rows of the same customer and time are ordered by what they hold, not by where they stood, so that
the order of the rows, files and chunks of a log does not matter. Ties are few in most logs: only
they are compared column by column.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.data.shard import ORDER, POSITION, Shard

Columns = Mapping[str, NDArray[Any]]


def by_customer_and_time(customer: NDArray[np.int64], time: NDArray[np.int64]) -> NDArray[np.int64]:
    """(e,) indices that put events in order; those of one customer and time in any."""
    if not len(time):
        return np.empty(0, dtype=np.int64)
    first = int(time.min())
    span = int(time.max()) - first + 1
    if int(customer.max() + 1) * span < 2**63:
        # One sort of a packed key is several times faster than one by two columns.
        return np.argsort(customer * span + (time - first))
    return np.lexsort((time, customer))


def order_content(
    customer: NDArray[np.int64],
    time: NDArray[np.int64],
    content: Columns,
    order: NDArray[np.float64] | None,
    *,
    beside: Columns | None = None,
    by_position: bool = False,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Orders events of the same customer and time, and finds those that repeat another.

    Args:
        customer: (e,) ordered.
        time: (e,) ordered within each customer.
        content: Every column that a row is compared by, the same ones in the same order always.
        order: (e,) the declared order of events of the same time, if there is one.
        beside: Columns that order rows of equal content, and are not compared.
        by_position: Whether that is the position in the log. Only then are rows that differ in it
            alone repetitions.

    Returns:
        (e,) indices that put the ties in order, and (e,) a mask, in that order, of the rows that
        repeat an earlier one in every column.
    """
    tie = (customer[1:] == customer[:-1]) & (time[1:] == time[:-1])
    place = np.arange(len(time))
    repeats = np.zeros(len(time), dtype=np.bool_)
    if not tie.any():
        return place, repeats
    tied = np.zeros(len(time), dtype=np.bool_)
    tied[1:] |= tie
    tied[:-1] |= tie
    rows = np.flatnonzero(tied)
    group = np.cumsum(np.concatenate([[True], ~tie]))[rows]
    keys = {"order": order[rows]} if order is not None else {}
    keys |= {f"content {name}": column[rows] for name, column in content.items()}
    last = {f"beside {name}": column[rows] for name, column in (beside or {}).items()}
    table = pl.DataFrame({"group": group, **keys, **last, "row": rows})
    table = table.sort("group", *keys, *last)
    place[rows] = table["row"].to_numpy()
    if by_position:
        alike = pl.struct("group", *(name for name in keys if name != "order"))
        same = ~alike.is_first_distinct()
    else:
        same = pl.all_horizontal(
            pl.col(name).eq_missing(pl.col(name).shift(1)) for name in ("group", *keys)
        )
    repeats[rows] = table.select(same).to_series().to_numpy()
    return place, repeats


def order_ties(shard: Shard) -> Shard:
    """Puts events of the same time in order again, after their content has changed."""
    order = shard.numbers.get(ORDER, shard.numbers.get(POSITION))
    place, _ = order_content(
        shard.customer, shard.time, content_of(shard.codes, shard.numbers), order
    )
    return Shard(
        shard.customer_id,
        shard.offsets,
        shard.time,
        {name: column[place] for name, column in shard.codes.items()},
        {name: column[place] for name, column in shard.numbers.items()},
        shard.static_codes,
        shard.static_numbers,
    )


def content_of(codes: Columns, numbers: Columns) -> Columns:
    """What a row is compared by: all it holds but who, when and the declared order."""
    return {
        **codes,
        **{name: column for name, column in numbers.items() if name not in (ORDER, POSITION)},
    }
