"""The columns of some rows, converted, and the first rule that each row breaks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.data.chunk import MISSING, Text
from seqmarket.data.parsing import (
    TimeFormat,
    UnsupportedTypeError,
    code_text,
    parse_number,
    parse_time,
    plain_numbers,
)
from seqmarket.data.reading import RawPart
from seqmarket.errors import SeqmarketError, did_you_mean

Kind = Literal["required", "text", "amount", "number", "position", "time"]
"""What a column is: text that must be there, text, a number of at least 0, a number, a number that
must be there, a time."""

ABSENT = "is missing"
FUTURE = "is in the future"

_OPTIONAL = ("value", "cost")


def rule_of(column: str, problem: str) -> str:
    """The name of a rule; the column is empty if it is about the row as a whole."""
    return f"{problem}|{column}"


def split_rule(rule: str) -> tuple[str, str]:
    """The problem and the column of a rule."""
    problem, _, column = rule.partition("|")
    return problem, column


class Rows:
    """n rows of a part.

    Args:
        part: What they are of.
        first_row: Position of the first one in the part.
        raw: (n rows) The columns, of whatever type.
        flaws: As `RawPart.flaws` gives them, of the whole part.
        names: Column -> its name in the user's file, for messages.

    Attributes:
        time: (n,) int64 microseconds since 1970-01-01 UTC; anything where there is no good time.
        texts: The columns of text.
        numbers: The columns of numbers: (n,) float64, NaN for a null.
        zoned: (n,) whether the time carries an offset of its own; null where there is none.
    """

    def __init__(
        self,
        part: RawPart,
        first_row: int,
        raw: pl.DataFrame,
        flaws: Mapping[str, NDArray[np.int64]],
        names: Mapping[str, str],
    ) -> None:
        self.time: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.texts: dict[str, Text] = {}
        self.numbers: dict[str, NDArray[np.float64]] = {}
        self.zoned = pl.Series(dtype=pl.Boolean)
        self._part, self._first_row, self._raw, self._names = part, first_row, raw, names
        self._rules: list[str] = []
        self._first: NDArray[np.int16] | None = None  # (n,) index of the first rule, -1 for none
        for problem, rows in flaws.items():
            start, stop = np.searchsorted(rows, [first_row, first_row + len(raw)])
            self.mark(rule_of("", problem), rows[start:stop] - first_row)

    def add(self, name: str, kind: Kind) -> None:
        """Converts a column of text or of numbers.

        Raises:
            SeqmarketError: It is missing, or of a type that cannot be converted.
        """
        raw = self._column(name)
        try:
            if kind in ("required", "text"):
                text = self.texts[name] = code_text(raw)
                if kind == "required":
                    self.mark(rule_of(name, ABSENT), np.flatnonzero(text.code == MISSING))
                return
            if kind != "position":
                plain = plain_numbers(raw, allow_negative=kind != "amount")
                if plain is not None:
                    self.numbers[name] = plain + 0.0
                    return
            parsed = parse_number(raw, allow_negative=kind != "amount")
        except UnsupportedTypeError as error:
            raise self._unusable(name, error) from error
        for problem, mask in parsed.problems.items():
            self.mark(rule_of(name, problem), rows_where(mask))
        if kind == "position":
            self.mark(rule_of(name, ABSENT), rows_where(parsed.column.is_null()))
        # Of the two zeros only one: equal rows have equal bits.
        self.numbers[name] = parsed.column.fill_null(np.nan).to_numpy() + 0.0

    def add_time(self, name: str, times: TimeFormat, latest: datetime) -> None:
        """Converts the column of the times.

        Raises:
            SeqmarketError: As `add`.
        """
        try:
            parsed = parse_time(self._column(name), times)
        except UnsupportedTypeError as error:
            raise self._unusable(name, error) from error
        self.zoned = parsed.zoned
        for problem, mask in parsed.problems.items():
            self.mark(rule_of(name, problem), rows_where(mask))
        self.mark(rule_of(name, FUTURE), rows_where(parsed.column > latest))
        self.time = parsed.column.to_physical().fill_null(0).to_numpy()

    def mark(self, rule: str, rows: NDArray[np.int64]) -> None:
        """Notes that these rows of the chunk break a rule; only their first one counts."""
        if not len(rows):
            return
        if self._first is None:
            self._first = np.full(len(self._raw), -1, dtype=np.int16)
        self._first[rows[self._first[rows] < 0]] = len(self._rules)
        self._rules.append(rule)

    @property
    def good(self) -> NDArray[np.bool_] | None:
        """(n,) which rows break no rule; None: all."""
        return None if self._first is None else self._first < 0

    def broken(self) -> pl.DataFrame:
        """`row` (Int64, position in the part) and `rule` (String) of the rows that break one."""
        if self._first is None:
            return pl.DataFrame(schema={"row": pl.Int64, "rule": pl.String})
        rows = np.flatnonzero(self._first >= 0)
        rules = pl.Series("rule", self._rules, pl.String).gather(self._first[rows])
        return pl.DataFrame([pl.Series("row", rows + self._first_row), rules])

    def _column(self, name: str) -> pl.Series:
        if name in self._raw.columns:
            return self._raw[name]
        if name in _OPTIONAL:
            return pl.Series([None]).new_from_index(0, len(self._raw))
        shown = self._names.get(name, name)
        raise SeqmarketError(
            f"there is no column '{shown}'; {did_you_mean(shown, self._raw.columns)}",
            where=self._part.label,
        )

    def _unusable(self, name: str, error: UnsupportedTypeError) -> SeqmarketError:
        return SeqmarketError(
            f"the column '{self._names.get(name, name)}' cannot be used: {error}",
            where=self._part.label,
            fix=error.fix,
        )


def rows_where(mask: pl.Series) -> NDArray[np.int64]:
    """The rows in which a mask is true; a null is not."""
    if not mask.any():
        return np.empty(0, dtype=np.int64)
    return mask.arg_true().to_numpy().astype(np.int64)
