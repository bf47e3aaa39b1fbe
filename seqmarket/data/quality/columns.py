"""What the columns of a log hold as it is read, before the gate: stage 1, chunk by chunk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from seqmarket.data.chunk import MISSING, Chunk, Text
from seqmarket.data.quality.merging import merge_by_key
from seqmarket.data.texts import to_bytes

_EMAIL = r"^[^@\s]+@[^@\s]+\.[^@\s.]+$"
# Digits alone are how most systems number their customers, so a telephone number is only one if it
# is written as such: with the + of a country, or in groups after a 0 or an area code.
_PHONE = (
    r"^(?:\+[0-9][0-9 ()./-]{7,18}"
    r"|\(?0[1-9][0-9]{1,3}\)?[ /-][0-9][0-9 /-]{4,12}"
    r"|(?:1[ .-])?\(?[2-9][0-9]{2}\)?[ .-][2-9][0-9]{2}[ .-][0-9]{4})$"
)

_WORDS = ("null", "none", "nan", "na", "n/a", "nil", "undefined", "unknown", "(null)", "\\N")
_PLACEHOLDERS = [form(word) for word in _WORDS for form in (str, str.upper, str.title)]


@dataclass(frozen=True)
class ColumnRead:
    """A column as it was read.

    Attributes:
        rows: Number of rows.
        nulls: Number of nulls among them.
        low: The smallest number; None for a column of text, or of nulls only.
        high: The largest number.
    """

    rows: int
    nulls: int
    low: float | None = None
    high: float | None = None

    def merge(self, other: ColumnRead) -> ColumnRead:
        """The column of both parts."""
        lows = [low for low in (self.low, other.low) if low is not None]
        highs = [high for high in (self.high, other.high) if high is not None]
        return ColumnRead(
            self.rows + other.rows,
            self.nulls + other.nulls,
            min(lows, default=None),
            max(highs, default=None),
        )


@dataclass(frozen=True)
class ColumnStats:
    """The columns of the rows that break no rule, before the gate; the same for any chunks.

    Attributes:
        columns: Name -> what was read.
    """

    columns: Mapping[str, ColumnRead]

    @classmethod
    def of(cls, chunk: Chunk) -> ColumnStats:
        """The columns of a chunk."""
        rows = len(chunk)
        columns = {
            name: ColumnRead(rows, int(np.count_nonzero(text.code == MISSING)))
            for name, text in chunk.texts.items()
        }
        for name, number in chunk.numbers.items():
            nulls = int(np.count_nonzero(np.isnan(number)))
            if nulls == rows:
                columns[name] = ColumnRead(rows, nulls)
            else:
                low, high = float(np.fmin.reduce(number)), float(np.fmax.reduce(number))
                columns[name] = ColumnRead(rows, nulls, low, high)
        return cls(columns)

    def merge(self, other: ColumnStats) -> ColumnStats:
        """The columns of both parts."""
        return ColumnStats(merge_by_key(self.columns, other.columns))


@dataclass(frozen=True)
class IdentifierPatterns:
    """How many rows carry an identifier that says who a person is; the same for any chunks.

    Rows, not distinct identifiers, since one identifier may occur in any number of chunks.

    Attributes:
        rows: Number of rows.
        emails: Rows whose identifier looks like an e-mail address.
        phones: Rows whose identifier looks like a telephone number.
        placeholders: Rows whose identifier is a word for a missing value.
    """

    rows: int
    emails: int
    phones: int
    placeholders: int = 0

    @classmethod
    def of(cls, identifiers: Text) -> IdentifierPatterns:
        """Counts the rows of a chunk, by its column customer_id."""
        distinct = identifiers.values
        rows = np.bincount(identifiers.code, minlength=len(distinct))
        # Most identifiers have no character that only these patterns need: one look at all bytes.
        _, content = to_bytes(distinct)
        held = set(np.flatnonzero(np.bincount(content, minlength=256)).tolist())

        def like(pattern: str, needed: bytes) -> int:
            if held.isdisjoint(needed):
                return 0
            return int(rows[distinct.str.contains(pattern).to_numpy()].sum())

        return cls(
            len(identifiers.code),
            like(_EMAIL, b"@"),
            like(_PHONE, b"+ ./-"),
            int(rows[distinct.is_in(_PLACEHOLDERS).to_numpy()].sum()),
        )

    def merge(self, other: IdentifierPatterns) -> IdentifierPatterns:
        """The counts of both parts."""
        return IdentifierPatterns(
            self.rows + other.rows,
            self.emails + other.emails,
            self.phones + other.phones,
            self.placeholders + other.placeholders,
        )
