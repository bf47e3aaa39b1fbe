"""Stage 1, a part of a log: read in chunks, checked row by row, and scattered to runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from seqmarket.data.chunked import Load, plan_chunks
from seqmarket.data.engine.executor import in_order
from seqmarket.data.engine.progress import Advance
from seqmarket.data.engine.scatter import scatter
from seqmarket.data.engine.spool import Run
from seqmarket.data.files import writing_tables
from seqmarket.data.gate.gate import Gate
from seqmarket.data.quality.columns import ColumnStats, IdentifierPatterns
from seqmarket.data.reading import RawPart
from seqmarket.data.shard import ORDER, POSITION
from seqmarket.data.validation import Converter, quarantined_rows

_ROWS_OF_A_PART = 2**33
"""Positions in a log are whole numbers that a float64 holds: parts times this, plus the row."""


M = TypeVar("M", ColumnStats, IdentifierPatterns)


def merged(one: M | None, other: M | None) -> M | None:
    """Both together, where either may be absent."""
    if one is None or other is None:
        return one or other
    return one.merge(other)


@dataclass(frozen=True)
class PartTask:
    """What is to be done with a part.

    Attributes:
        part: The part.
        index: Its position among the parts.
        converter: Converts and checks.
        gate: Who is admitted.
        positions: Whether rows carry their position in the log.
        policy: What happens to rows that break a rule.
        chunk_rows: Rows per chunk.
        n_shards: Number of shards.
        folder: Where runs, and files of quarantined rows, go.
    """

    part: RawPart
    index: int
    converter: Converter
    gate: Gate
    positions: bool
    policy: Literal["error", "quarantine", "drop"]
    chunk_rows: int
    n_shards: int
    folder: Path


@dataclass(frozen=True)
class PartResult:
    """What was found in a part, or in a chunk of it; additive.

    Attributes:
        rows: Rows read.
        runs: Where the admitted rows are.
        broken: Rule -> number of rows that break it.
        first_broken: Part, row and rule of the first such row.
        refused: Reason -> number of rows that the gate did not admit.
        with_offset: Number of times that carry an offset of their own.
        without_offset: Number of times that do not.
        quarantine: Files of quarantined rows.
        columns: The columns of the good rows.
        identifiers: What their identifiers look like.
    """

    rows: int
    runs: tuple[Run, ...]
    broken: Mapping[str, int]
    first_broken: tuple[int, int, str] | None
    refused: Mapping[str, int]
    with_offset: int
    without_offset: int
    quarantine: tuple[Path, ...]
    columns: ColumnStats | None
    identifiers: IdentifierPatterns | None

    def merge(self, later: PartResult) -> PartResult:
        """Both together."""
        return PartResult(
            self.rows + later.rows,
            self.runs + later.runs,
            Counter(self.broken) + Counter(later.broken),
            self.first_broken or later.first_broken,
            Counter(self.refused) + Counter(later.refused),
            self.with_offset + later.with_offset,
            self.without_offset + later.without_offset,
            self.quarantine + later.quarantine,
            merged(self.columns, later.columns),
            merged(self.identifiers, later.identifiers),
        )


NOTHING = PartResult(0, (), {}, None, {}, 0, 0, (), None, None)


def read_part(task: PartTask, threads: int, advance: Advance) -> PartResult:
    """Reads a part; a pure function of its task but for the files it writes.

    Args:
        task: What is to be done.
        threads: Chunks that are worked on at once.
        advance: Told of the rows that are done.

    Raises:
        SeqmarketError: The part cannot be read, or a column is missing or of a wrong type.
    """
    flaws = task.part.flaws()
    total = NOTHING
    chunks = plan_chunks(task.part, task.chunk_rows)
    for result in in_order(lambda chunk: _read_chunk(task, *chunk, flaws), chunks, threads):
        advance(result.rows)
        total = total.merge(result)
    return total


def _read_chunk(
    task: PartTask, first_row: int, load: Load, flaws: Mapping[str, NDArray[np.int64]]
) -> PartResult:
    raw = load()
    converted = task.converter.convert(task.part, first_row, raw, flaws)
    chunk, broken = converted.chunk, converted.broken
    place = f"{task.index}-{first_row}"
    put_aside = []
    if len(broken) and task.policy == "quarantine":
        put_aside = [task.folder / f"{place}.parquet"]
        names = task.converter.names
        rows = quarantined_rows(task.part, first_row, raw, broken, names)
        rows = rows.filter(~task.gate.conceals(rows))
        with writing_tables():
            if task.gate.is_strict:
                rows = rows.select("reason", "file", "row")
            rows.write_parquet(put_aside[0])
    numbers = dict(chunk.numbers)
    if task.converter.schema.order:
        numbers[ORDER] = numbers.pop("order")
    if task.positions:
        numbers[POSITION] = (task.index * _ROWS_OF_A_PART + chunk.row).astype(np.float64)
    scattered = scatter(
        replace(chunk, numbers=numbers),
        task.gate,
        task.n_shards,
        task.folder / f"{place}.run",
    )
    return PartResult(
        rows=len(raw),
        runs=() if scattered.run is None else (scattered.run,),
        broken=dict(broken["rule"].value_counts().iter_rows()) if len(broken) else {},
        first_broken=(task.index, *broken.row(0)) if len(broken) else None,
        refused=scattered.refused,
        with_offset=converted.with_offset,
        without_offset=converted.without_offset,
        quarantine=tuple(put_aside),
        columns=ColumnStats.of(chunk),
        identifiers=IdentifierPatterns.of(chunk.texts["customer_id"]),
    )


def position_of(position: float) -> tuple[int, int]:
    """The part, and the row in it, that a position stands for."""
    return divmod(int(position), _ROWS_OF_A_PART)
