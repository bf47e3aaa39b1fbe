"""A CSV file as a Polars query that holds one block of it at a time; everything in it is text.

Polars' own streaming reader keeps some 400 MB in flight whatever is asked of it. This one also
compares what Polars makes of each block with the number of records that are in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import polars as pl
from polars.io.plugins import register_io_source

from seqmarket.data.delimited import (
    UNPAIRED,
    UNPAIRED_FIX,
    Block,
    find_fault,
    first_record,
    read_blocks,
)
from seqmarket.errors import SeqmarketError


def scan_delimited(
    path: Path,
    *,
    separator: str,
    encoding: Literal["utf8", "utf8-lossy"],
    null_values: tuple[str, ...],
) -> pl.LazyFrame:
    """Opens a file lazily.

    Lines with too many or too few fields are no error here: `delimited.survey` finds them.

    Args:
        path: A file that is not empty.
        separator: Of fields.
        encoding: utf8-lossy replaces what is not UTF-8.
        null_values: Words that mean "missing"; an empty field always does.

    Raises:
        SeqmarketError: When it is read: a quotation mark joins or hides records.
    """
    header = first_record(next(read_blocks(path)).content)
    read = partial(
        pl.scan_csv,
        separator=separator,
        infer_schema=False,
        encoding=encoding,
        null_values=list(null_values),
        truncate_ragged_lines=True,
    )
    schema = read(header).collect_schema()
    rows = partial(_rows, path, header, read, partial(find_fault, path, separator, encoding))
    return register_io_source(rows, schema=schema, is_pure=True)


def _rows(
    path: Path,
    header: bytes,
    read: partial[pl.LazyFrame],
    fault: partial[SeqmarketError | None],
    with_columns: list[str] | None,
    predicate: pl.Expr | None,
    n_rows: int | None,
    batch_size: int | None,
) -> Iterator[pl.DataFrame]:
    """What Polars calls: the blocks as tables."""
    left = n_rows
    # The header leads every block: without one, Polars passes over blank lines at the start.
    for index, block in enumerate(read_blocks(path, lead=header)):
        query = read(block.content)
        frame = (query if with_columns is None else query.select(with_columns)).collect()
        if len(frame) != block.n_records - (index == 0):
            raise fault() or _miscounted(path, block)
        if left is not None:
            frame = frame.head(left)
            left -= len(frame)
        yield frame if predicate is None else frame.filter(predicate)
        if left == 0:
            return


def _miscounted(path: Path, block: Block) -> SeqmarketError:
    last = block.line + block.n_lines - 1
    return SeqmarketError(
        UNPAIRED, where=f"{path}, between the lines {block.line} and {last}", fix=UNPAIRED_FIX
    )
