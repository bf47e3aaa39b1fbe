"""A CSV file, read by blocks, or as a Polars query that holds one of them; everything is text.

Polars' own streaming reader keeps some 400 MB in flight whatever is asked of it. This one also
compares what Polars makes of each block with the number of records that are in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

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


@dataclass(frozen=True)
class Delimited:
    """A CSV file that is not empty, and how it is read.

    Lines with too many or too few fields are no error here: `delimited.survey` finds them.

    Attributes:
        path: The file.
        separator: Of fields.
        encoding: utf8-lossy replaces what is not UTF-8.
        null_values: Words that mean "missing"; an empty field always does.
    """

    path: Path
    separator: str
    encoding: Literal["utf8", "utf8-lossy"]
    null_values: tuple[str, ...]

    @cached_property
    def header(self) -> bytes:
        """The first line, with its end."""
        return first_record(next(read_blocks(self.path)).content)

    def frame(self) -> pl.LazyFrame:
        """The whole file as a table, of which one block at a time is in memory."""
        schema = self._scan(self.header).collect_schema()
        return register_io_source(self._source, schema=schema, is_pure=True)

    def blocks(self) -> Iterator[Rows]:
        """The file in stretches of a few megabytes.

        Raises:
            SeqmarketError: A quotation mark is never closed.
        """
        # The header leads every block: without one, Polars passes over blank lines at the start.
        for index, block in enumerate(read_blocks(self.path, lead=self.header)):
            yield Rows(block, block.n_records - (index == 0))

    def collect(
        self, rows: Rows, query: Callable[[pl.LazyFrame], pl.LazyFrame] = lambda frame: frame
    ) -> pl.DataFrame:
        """Evaluates a query that keeps every row on a block.

        Raises:
            SeqmarketError: A quotation mark joins or hides records.
        """
        frame = query(self._scan(rows.block.content)).collect()
        if len(frame) != rows.number:
            raise find_fault(self.path, self.separator, self.encoding) or _miscounted(
                self.path, rows.block
            )
        return frame

    def _scan(self, content: bytes) -> pl.LazyFrame:
        return pl.scan_csv(
            content,
            separator=self.separator,
            infer_schema=False,
            encoding=self.encoding,
            null_values=list(self.null_values),
            truncate_ragged_lines=True,
        )

    def _source(
        self,
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        """What Polars calls: the blocks as tables."""
        left = n_rows
        for rows in self.blocks():
            frame = self.collect(
                rows, lambda table: table if with_columns is None else table.select(with_columns)
            )
            if left is not None:
                frame = frame.head(left)
                left -= len(frame)
            yield frame if predicate is None else frame.filter(predicate)
            if left == 0:
                return


class Rows(NamedTuple):
    """A stretch of a CSV file.

    Attributes:
        block: Its records.
        number: How many rows they are, the header not counted.
    """

    block: Block
    number: int


def _miscounted(path: Path, block: Block) -> SeqmarketError:
    last = block.line + block.n_lines - 1
    return SeqmarketError(
        UNPAIRED, where=f"{path}, between the lines {block.line} and {last}", fix=UNPAIRED_FIX
    )
