"""Runs: the rows of one chunk, grouped by shard, in a file that is read one shard at a time.

A run holds fixed-width columns only, so that a shard of it is one stretch of bytes: customers
(hashes, identifiers as bytes), then events (customer, time, codes of texts, numbers). Everything
is written and read with plain reads, never mapped, so that no page of it counts as our memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.data.chunk import code_type
from seqmarket.data.files import read_raw

Kind = TypeVar("Kind", bound=np.generic)


@dataclass(frozen=True)
class RunSlice:
    """Where one shard of a run is, and what it holds: small, as there are many.

    Attributes:
        path: The run's file.
        start: Where in it the shard begins.
        customers: Number of customers.
        id_bytes: Bytes of their identifiers.
        events: Number of events.
    """

    path: Path
    start: int
    customers: int
    id_bytes: int
    events: int


@dataclass(frozen=True)
class Run:
    """Where the shards of a run's file are.

    Attributes:
        path: The file.
        start: (shards,) where each begins.
        customers: (shards,) number of customers.
        id_bytes: (shards,) bytes of their identifiers.
        events: (shards,) number of events.
        texts: Column -> its distinct texts; the codes of this run's events are indices into them.
        numbers: The numeric columns.
    """

    path: Path
    start: NDArray[np.int64]
    customers: NDArray[np.int64]
    id_bytes: NDArray[np.int64]
    events: NDArray[np.int64]
    texts: Mapping[str, pl.Series]
    numbers: tuple[str, ...]

    def shard(self, index: int) -> RunSlice:
        """Where one shard is."""
        start, customers, id_bytes, events = (
            int(column[index])
            for column in (self.start, self.customers, self.id_bytes, self.events)
        )
        return RunSlice(self.path, start, customers, id_bytes, events)


@dataclass(frozen=True)
class RunShard:
    """One shard of one run.

    Attributes:
        hashes: (c,) uint64, ascending.
        id_length: (c,) int64 bytes of each identifier.
        id_content: (b,) uint8 the identifiers in UTF-8, one after the other.
        customer: (e,) int32 index into the customers.
        time: (e,) int64 microseconds.
        codes: Column -> (e,) int32 codes into the run's texts, -1 for a null.
        numbers: Column -> (e,) float64, NaN for a null.
    """

    hashes: NDArray[np.uint64]
    id_length: NDArray[np.int64]
    id_content: NDArray[np.uint8]
    customer: NDArray[np.int32]
    time: NDArray[np.int64]
    codes: Mapping[str, NDArray[np.int32]]
    numbers: Mapping[str, NDArray[np.float64]]


def write_run(
    path: Path,
    shards: Sequence[RunShard],
    texts: Mapping[str, pl.Series],
    numbers: tuple[str, ...],
) -> Run:
    """Writes the shards of a chunk one after the other."""
    start = np.zeros(len(shards), dtype=np.int64)
    kind = {name: code_type(len(values)) for name, values in texts.items()}
    with path.open("wb") as file:
        for index, shard in enumerate(shards):
            start[index] = file.tell()
            codes = [code.astype(kind[name]) for name, code in shard.codes.items()]
            ids = (shard.hashes, shard.id_length, shard.id_content)
            for column in (*ids, shard.customer, shard.time, *codes, *shard.numbers.values()):
                file.write(np.ascontiguousarray(column).data)
    return Run(
        path,
        start,
        np.array([len(shard.hashes) for shard in shards], dtype=np.int64),
        np.array([len(shard.id_content) for shard in shards], dtype=np.int64),
        np.array([len(shard.time) for shard in shards], dtype=np.int64),
        texts,
        numbers,
    )


def read_run(part: RunSlice, texts: Mapping[str, int], numbers: Iterable[str]) -> RunShard:
    """Reads one shard of a run.

    Args:
        part: Where it is.
        texts: The columns of text, in the order of the run, and how many texts each has in it.
        numbers: The columns of numbers.
    """
    with part.path.open("rb") as file:
        file.seek(part.start)
        return RunShard(
            _column(file, np.uint64, part.customers),
            _column(file, np.int64, part.customers),
            _column(file, np.uint8, part.id_bytes),
            _column(file, np.int32, part.events),
            _column(file, np.int64, part.events),
            {
                name: _column(file, code_type(count), part.events).astype(np.int32)
                for name, count in texts.items()
            },
            {name: _column(file, np.float64, part.events) for name in numbers},
        )


def _column(file: BinaryIO, dtype: type[Kind], count: int) -> NDArray[Kind]:
    return read_raw(file, dtype, count)
