"""Stage 1, the rows of a chunk: through the gate, then to the shards of their customers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.data.chunk import MISSING, Chunk, Text
from seqmarket.data.engine.hashing import shard_of, stable_hash
from seqmarket.data.engine.spool import Run, RunShard, write_run
from seqmarket.data.gate.gate import Gate
from seqmarket.data.gate.reasons import ADMITTED, REASONS, TOO_OLD
from seqmarket.data.texts import to_bytes


@dataclass(frozen=True)
class Scattered:
    """What became of the rows of a chunk.

    Attributes:
        run: Where the admitted rows are; None if there are none.
        refused: Reason -> number of rows that the gate did not admit.
    """

    run: Run | None
    refused: Mapping[str, int] = field(default_factory=dict)


def scatter(chunk: Chunk, gate: Gate, n_shards: int, path: Path) -> Scattered:
    """Writes the rows that the gate admits as a run.

    Args:
        chunk: Rows that break no rule.
        gate: Who is admitted, and under which name.
        n_shards: Number of shards.
        path: The file of the run.
    """
    refused: Counter[str] = Counter()
    ids = chunk.texts["customer_id"]
    admission = gate.admit(ids.values)
    customers, customer = _by_hash(admission.customer_id)
    customer = customer[ids.code]
    keep = customer >= 0
    if admission.refused:
        counts = np.bincount(admission.reason[ids.code], minlength=len(REASONS))
        counts[ADMITTED] = 0
        refused.update(dict(zip(REASONS, counts.tolist(), strict=True)))
    recent = gate.keeps(chunk.time)
    if recent is not None:
        refused[REASONS[TOO_OLD]] += int(np.count_nonzero(keep & ~recent))
        keep &= recent
    refused = +refused  # only what is more than 0
    everything = bool(keep.all())
    if not keep.any():
        return Scattered(None, refused)

    shard_of_customer = shard_of(customers.hashes, n_shards).astype(np.uint16)
    shard = shard_of_customer[customer if everything else customer[keep]]
    rows = np.argsort(shard, kind="stable")  # a radix sort, as long as these are 16 bits
    shard = shard[rows]
    if not everything:
        rows = np.flatnonzero(keep)[rows]
    texts = {
        name: Text(text.code[rows], text.values)
        for name, text in chunk.texts.items()
        if name != "customer_id"
    }
    if not everything:
        texts = {name: _occurring(text) for name, text in texts.items()}
    columns = _Columns(
        customer[rows],
        chunk.time[rows],
        {name: text.code for name, text in texts.items()},
        {name: number[rows] for name, number in chunk.numbers.items()},
    )
    edges = np.arange(n_shards + 1)
    event = np.searchsorted(shard, edges)
    who = np.searchsorted(shard_of_customer, edges)
    shards = [
        _slice(columns, customers, slice(event[i], event[i + 1]), slice(who[i], who[i + 1]))
        for i in range(n_shards)
    ]
    values = {name: text.values for name, text in texts.items()}
    run = write_run(path, shards, values, tuple(chunk.numbers))
    return Scattered(run, refused)


@dataclass(frozen=True)
class _Customers:
    """Distinct customers, by their hash, and their identifiers as bytes."""

    hashes: NDArray[np.uint64]
    bounds: NDArray[np.int64]
    content: NDArray[np.uint8]


@dataclass(frozen=True)
class _Columns:
    customer: NDArray[np.int32]
    time: NDArray[np.int64]
    codes: Mapping[str, NDArray[np.int32]]
    numbers: Mapping[str, NDArray[np.float64]]


def _by_hash(ids: pl.Series) -> tuple[_Customers, NDArray[np.int32]]:
    """The distinct customers, and for each identifier the index of its customer, -1 for none.

    Args:
        ids: (n,) String: the customer that each identifier stands for, null where refused. Several
            may stand for one.
    """
    rows = np.flatnonzero(ids.is_not_null().to_numpy())
    hashes = stable_hash(ids.drop_nulls())
    order = np.argsort(hashes)
    hashes, rows = hashes[order], rows[order]
    sorted_ids = ids.gather(rows)
    first = np.ones(len(rows), dtype=np.bool_)
    # Of two identifiers with one hash both are kept, side by side: the next stage notices.
    again = np.flatnonzero(hashes[1:] == hashes[:-1]) + 1
    if len(again):
        first[again] = (sorted_ids.gather(again) != sorted_ids.gather(again - 1)).to_numpy()
    index = np.full(len(ids), -1, dtype=np.int32)
    index[rows] = np.cumsum(first) - 1
    return _Customers(hashes[first], *to_bytes(sorted_ids.filter(pl.Series(first)))), index


def _occurring(text: Text) -> Text:
    """Without the texts that only refused rows held: nothing of them goes on."""
    used, code = np.unique(text.code, return_inverse=True)
    missing = int(len(used) > 0 and used[0] == MISSING)
    return Text((code - missing).astype(np.int32), text.values.gather(used[missing:]))


def _slice(columns: _Columns, customers: _Customers, events: slice, who: slice) -> RunShard:
    bounds = customers.bounds[who.start : who.stop + 1]
    return RunShard(
        customers.hashes[who],
        np.diff(bounds),
        customers.content[bounds[0] : bounds[-1]],
        columns.customer[events] - np.int32(who.start),
        columns.time[events],
        {name: column[events] for name, column in columns.codes.items()},
        {name: column[events] for name, column in columns.numbers.items()},
    )
