"""Stage 2, a shard: gathered from all runs, put in order, freed of repetitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.data.engine.order import by_customer_and_time, content_of, order_content
from seqmarket.data.engine.spool import RunShard
from seqmarket.data.shard import ORDER, POSITION, Shard
from seqmarket.data.texts import from_bytes
from seqmarket.errors import SeqmarketError

Recoding = Mapping[str, NDArray[np.int32]]
"""Column -> (codes,) int32: from the codes of a run to those of the lexicon."""


@dataclass(frozen=True)
class Statics:
    """Features of customers.

    Attributes:
        codes: The categorical ones; of a table of customers, codes of the lexicon by customer.
        numbers: The numeric ones.
    """

    codes: tuple[str, ...]
    numbers: tuple[str, ...]


@dataclass(frozen=True)
class Arranged:
    """A shard in order.

    Attributes:
        shard: The shard.
        repeats: Number of rows that repeat an earlier one.
        first_repeat: Position in the log of the first of them, where rows carry theirs.
        changed: Feature of customers -> number of customers whose events disagree about it.
    """

    shard: Shard
    repeats: int
    first_repeat: float | None
    changed: Mapping[str, int]


def arrange(
    pieces: Sequence[RunShard],
    recodings: Sequence[Recoding],
    static: Statics,
    *,
    drop_repeats: bool,
    by_position: bool,
) -> Arranged:
    """Gathers a shard from its pieces.

    A customer's static features, where they are columns of the events, are those of the first
    event: no later event can change what was known earlier.

    Args:
        pieces: Of each run, and of an older log; at least one.
        recodings: Of the texts of each piece.
        static: Columns of the events that are features of the customer.
        drop_repeats: Whether a row that repeats an earlier one in every column is dropped.
        by_position: Whether events of the same time are ordered by `POSITION`.

    Raises:
        SeqmarketError: Two identifiers have the same hash.
    """
    ids, customers = _common_customers(pieces)
    customer = np.concatenate(
        [rank[piece.customer] for rank, piece in zip(customers, pieces, strict=True)]
    )
    time = np.concatenate([piece.time for piece in pieces])
    place = by_customer_and_time(customer, time)
    customer, time = customer[place], time[place]
    codes = {
        name: np.concatenate(
            [
                _recode(piece.codes[name], to[name])
                for piece, to in zip(pieces, recodings, strict=True)
            ]
        )[place]
        for name in pieces[0].codes
    }
    numbers = {
        name: np.concatenate([piece.numbers[name] for piece in pieces])[place]
        for name in pieces[0].numbers
    }
    del place
    own = (*static.codes, *static.numbers)
    content = content_of(codes, numbers)
    beside = {name: content[name] for name in own}
    position = numbers.get(POSITION)
    if position is not None:  # of equal rows the later ones are the repetitions
        beside = {POSITION: position, **beside}
    tied, repeats = order_content(
        customer,
        time,
        {name: column for name, column in content.items() if name not in own},
        numbers.get(POSITION if by_position else ORDER),
        beside=beside,
        by_position=by_position,
    )
    n_repeats = int(np.count_nonzero(repeats))
    first_repeat = None
    if n_repeats and position is not None:
        first_repeat = float(position[tied[repeats]].min())
    if not by_position:
        numbers.pop(POSITION, None)
    if n_repeats and drop_repeats:
        tied, customer, time = tied[~repeats], customer[~repeats], time[~repeats]
    if n_repeats or (tied[1:] < tied[:-1]).any():
        codes = {name: column[tied] for name, column in codes.items()}
        numbers = {name: column[tied] for name, column in numbers.items()}
    starts = np.ones(len(customer), dtype=np.bool_)
    np.not_equal(customer[1:], customer[:-1], out=starts[1:])
    first = np.flatnonzero(starts)
    present = customer[first]
    offsets = np.append(first, len(customer))
    length = np.diff(offsets)
    changed = {
        name: _changing(column, first, length)
        for name, column in {**codes, **numbers}.items()
        if name in own
    }
    shard = Shard(
        ids if len(present) == len(ids) else ids.gather(present),
        offsets,
        time,
        {name: column for name, column in codes.items() if name not in static.codes},
        {name: column for name, column in numbers.items() if name not in static.numbers},
        {name: codes[name][first] for name in static.codes},
        {name: numbers[name][first] for name in static.numbers},
    )
    return Arranged(shard, n_repeats, first_repeat, changed)


def _changing(column: NDArray[Any], first: NDArray[np.int64], length: NDArray[np.int64]) -> int:
    """Number of customers whose events do not all hold the value of the first one."""
    if not len(first):
        return 0
    at_first = np.repeat(column[first], length)
    differs = (column != at_first) & ~(np.isnan(column) & np.isnan(at_first))
    return int(np.count_nonzero(np.add.reduceat(differs, first)))


def _recode(codes: NDArray[np.int32], to: NDArray[np.int32]) -> NDArray[np.int32]:
    # The last entry of `to` is that of -1, a null.
    return to[codes]


def _common_customers(
    pieces: Sequence[RunShard],
) -> tuple[pl.Series, list[NDArray[np.int64]]]:
    """The customers of all runs in the order of their hash, and each run's places among them."""
    hashes = np.concatenate([piece.hashes for piece in pieces])
    length = np.concatenate([piece.id_length for piece in pieces])
    content = np.concatenate([piece.id_content for piece in pieces])
    ids = from_bytes(np.concatenate([[0], np.cumsum(length)]).astype(np.int64), content)
    order = np.argsort(hashes)  # any of equal ones first: their identifiers must be equal, too
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = hashes[order[1:]] != hashes[order[:-1]]
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.cumsum(first) - 1
    customers = ids.gather(order[first])
    if not (customers.gather(rank) == ids).all():
        raise SeqmarketError(
            "two customers have identifiers with the same 64-bit hash, and would be taken for one",
            where="the log's customer identifiers",
            fix="add a letter to every identifier, or turn on data.privacy.pseudonyms: either "
            "changes all hashes",
        )
    bounds = np.cumsum([len(piece.hashes) for piece in pieces])[:-1]
    return customers, np.split(rank, bounds)
