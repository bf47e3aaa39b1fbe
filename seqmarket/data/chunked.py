"""A raw piece of a log in stretches of rows, read one by one or by several threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import polars as pl

from seqmarket.data.delimited_frame import Delimited, Rows
from seqmarket.data.reading import RawPart, collect, collect_schema, readable

Load = Callable[[], pl.DataFrame]
"""Reads the rows of a stretch."""


def read_chunks(part: RawPart, rows: int) -> Iterator[tuple[int, pl.DataFrame]]:
    """As `plan_chunks`, with the rows instead of what reads them."""
    for first, load in plan_chunks(part, rows):
        yield first, load()


def plan_chunks(part: RawPart, rows: int) -> Iterator[tuple[int, Load]]:
    """Divides a piece into stretches of at most so many rows, in order.

    Where rows can be read on their own, that is left to who takes the stretch; other pieces are
    read here, one stretch after the other. Parquet is decoded by row group and IPC by record
    batch, so that a file with a huge one costs more.

    Args:
        part: The piece.
        rows: Most rows of a stretch; of a text file, one block of it may have more.

    Yields:
        The 0-based index of the first row, and what reads the rows; at least once, so that the
        columns of an empty piece are seen, too.

    Raises:
        SeqmarketError: As `collect`, also after some stretches have been read.
    """
    if part.delimited is not None:
        yield from _blocks(part, part.delimited, rows)
        return
    if not part.seekable:
        yield from _batches(part, rows)
        return
    total = int(collect(part, part.frame.select(pl.len())).item())
    n = max(math.ceil(total / rows), 1)
    for i in range(n):
        first, stop = total * i // n, total * (i + 1) // n
        yield first, partial(collect, part, part.frame.slice(first, stop - first))


def _blocks(part: RawPart, table: Delimited, rows: int) -> Iterator[tuple[int, Load]]:
    first, number, together = 0, 0, list[Rows]()
    with readable(part):
        for block in table.blocks():
            if number and number + block.number > rows:
                yield first, partial(_parse, part, table, together)
                first, number, together = first + number, 0, []
            number += block.number
            together.append(block)
    yield first, partial(_parse, part, table, together)


def _parse(part: RawPart, table: Delimited, blocks: list[Rows]) -> pl.DataFrame:
    with readable(part):
        return pl.concat([table.collect(block, part.query) for block in blocks])


def _batches(part: RawPart, rows: int) -> Iterator[tuple[int, Load]]:
    with readable(part):
        batches = part.frame.collect_batches(chunk_size=rows, maintain_order=True, lazy=True)
    first = 0
    while True:
        with readable(part):
            batch = next(batches, None)
        if batch is None:
            break
        if len(batch):
            yield first, partial(_same, batch)
        first += len(batch)
    if not first:
        yield 0, partial(_same, pl.DataFrame(schema=collect_schema(part)))


def _same(rows: pl.DataFrame) -> pl.DataFrame:
    return rows
