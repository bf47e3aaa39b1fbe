"""A stretch of rows of a raw log, converted: what every row of every log passes through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

MISSING = -1
"""The code of a null."""


def code_type(largest: int) -> type[np.int8 | np.int16 | np.int32]:
    """The smallest type that holds codes up to the largest: in files most columns need a byte."""
    for kind in (np.int8, np.int16):
        if largest <= np.iinfo(kind).max:
            return kind
    return np.int32


@dataclass(frozen=True)
class Text:
    """A column of text as codes: a log repeats few texts often.

    Attributes:
        code: (R,) int32 index into `values`, `MISSING` for a null.
        values: The distinct texts, String without nulls, in no particular order; all occur.
    """

    code: NDArray[np.int32]
    values: pl.Series

    def keep(self, rows: NDArray[np.bool_]) -> Text:
        """The column in these rows only.

        Args:
            rows: (R,) which rows stay.
        """
        code = self.code[rows]
        occurs = np.zeros(len(self.values) + 1, dtype=np.bool_)
        occurs[code] = True  # a null marks the last place, which is nobody's
        occurs = occurs[:-1]
        if occurs.all():
            return Text(code, self.values)
        renumbered = np.append(np.cumsum(occurs, dtype=np.int32) - 1, MISSING).astype(np.int32)
        return Text(renumbered[code], self.values.filter(pl.Series(occurs)))

    def to_series(self) -> pl.Series:
        """(R,) String."""
        code = pl.Series(self.code)
        return self.values.gather(code.set(code == MISSING, None))


@dataclass(frozen=True)
class Chunk:
    """R rows of a log that break no rule.

    Attributes:
        row: (R,) int64 position of each row in its part, from 0, ascending.
        time: (R,) int64 microseconds since 1970-01-01 UTC.
        texts: customer_id, channel, event_type and the declared text features; the first three
            hold no null.
        numbers: value, cost and the declared numeric features: (R,) float64, NaN for a null,
            otherwise finite, and never -0.0. `order`, where declared, is among them.
    """

    row: NDArray[np.int64]
    time: NDArray[np.int64]
    texts: Mapping[str, Text]
    numbers: Mapping[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.row)

    def keep(self, rows: NDArray[np.bool_]) -> Chunk:
        """These rows only.

        Args:
            rows: (R,) which rows stay.
        """
        return Chunk(
            self.row[rows],
            self.time[rows],
            {name: text.keep(rows) for name, text in self.texts.items()},
            {name: number[rows] for name, number in self.numbers.items()},
        )
