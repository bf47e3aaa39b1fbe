"""Identifiers as they are looked for: as whole values, and where they are long enough, anywhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

ID_COLUMN = "customer_id"
"""The column of the identifiers in our own tables."""

_SHORT, _SHORT_DIGITS, _UNMISTAKABLE = 6, 9, 16
_FEW, _ONE_BY_ONE = 10, 1 << 22
_IN_BINARY = {"digit": b"[0-9]"}
_IN_TEXT = {**_IN_BINARY, "letter": b"[A-Za-z]"}
_WIDTHS = {"utf-8": (0, 0), "utf-16-le": (0, 1), "utf-16-be": (1, 0), "utf-32-le": (0, 3)}
"""Encoding -> bytes of value 0 before and after an ASCII character."""


@dataclass(frozen=True)
class _Pattern:
    """One spelling of an identifier in bytes."""

    text: str
    literal: bytes
    zeros: tuple[int, int]

    def is_in(self, content: bytes, kinds: Mapping[str, bytes]) -> bool:
        """Whether it occurs without going on with a character of the kind that it ends in."""
        if self.literal not in content:
            return False
        before = after = b""
        if len(self.text) < _UNMISTAKABLE:
            low, high = self.zeros
            before, after = (
                b"\0" * low + kinds[kind] + b"\0" * high if kind in kinds else b""
                for kind in (_kind(self.text[0]), _kind(self.text[-1]))
            )
        bounded = (
            (b"(?<!" + before + b")" if before else b"")
            + re.escape(self.literal)
            + (b"(?!" + after + b")" if after else b"")
        )
        return re.search(bounded, content) is not None


class Needles:
    """Identifiers to be looked for.

    An identifier of six characters and more, of nine if all are digits, is looked for anywhere, in
    UTF-8, UTF-16 and UTF-32 and as JSON escapes it. Where it has fewer than sixteen characters and
    ends in a digit, no digit may follow, and the same for its beginning: `c-0001` is not found in
    `c-00012`; in text, which holds no zero byte, the same for letters. Shorter ones, such as `7`,
    occur in any file by chance: they are looked for as whole values of columns that hold
    identifiers.

    Args:
        ids: The identifiers.
        columns: Names of columns that hold identifiers, besides `ID_COLUMN`.

    Attributes:
        ids: (n,) String, sorted.
        columns: Names of columns that hold identifiers.
    """

    def __init__(self, ids: Iterable[str], columns: Iterable[str] = ()) -> None:
        self.ids = pl.Series("id", sorted(set(ids)), pl.String)
        self.columns = frozenset({ID_COLUMN, *columns})
        self._long = [text for text in self.ids.to_list() if is_long(text)]
        self._patterns = [pattern for text in self._long for pattern in _patterns(text)]
        # One character per byte, so that all are looked for in one pass (Aho and Corasick, 1975).
        self._bytes = sorted({pattern.literal.decode("latin-1") for pattern in self._patterns})
        keys = "|".join(re.escape(json.dumps(name)) for name in sorted(self.columns))
        self._in_json = re.compile(rf'(?:{keys})\s*:\s*("(?:[^"\\]|\\.)*")'.encode())

    @property
    def overlap(self) -> int:
        """By how many bytes consecutive pieces of a file must overlap."""
        return max((len(pattern.literal) + 8 for pattern in self._patterns), default=0)

    @property
    def n_short(self) -> int:
        """Number of identifiers that are looked for as whole values only."""
        return len(self.ids) - len(self._long)

    def hidden(self, path: str) -> str:
        """A path without the identifiers that names of files and folders hold."""
        for text in self._long:
            path = path.replace(text, "…")
        return path

    def are(self, column: pl.Series) -> pl.Series:
        """(n,) of any type -> (n,) Boolean: the values that are identifiers."""
        return _as_text(column).is_in(self.ids.implode()).fill_null(value=False)

    def occur_in(self, column: pl.Series, *, holds_ids: bool) -> pl.Series:
        """(n,) -> (n,) Boolean: the values that are, or hold, one.

        Args:
            column: Of any type.
            holds_ids: Whether the column holds identifiers, so that short ones count too.
        """
        text = _as_text(column)
        found = self.are(text) if holds_ids else pl.repeat(False, len(text), eager=True)
        if not self._long:
            return found
        suspects = text.str.contains_any(self._long).fill_null(value=False)
        rows = suspects.arg_true()
        sure = [self.in_bytes(value.encode()) for value in text.gather(rows)]
        return found | pl.int_range(len(text), eager=True).is_in(
            rows.filter(pl.Series(sure, dtype=pl.Boolean)).cast(pl.Int64).implode()
        )

    def in_bytes(self, content: bytes) -> bool:
        """Whether a long identifier is in these bytes, in any spelling."""
        if len(self._patterns) > _FEW and len(content) * len(self._patterns) > _ONE_BY_ONE:
            text = pl.Series([content.decode("latin-1")])
            if not text.str.contains_any(self._bytes).item():
                return False
        kinds = _IN_BINARY if b"\0" in content else _IN_TEXT
        return any(pattern.is_in(content, kinds) for pattern in self._patterns)

    def in_json(self, content: bytes) -> bool:
        """Whether JSON names one as the value of a key that holds identifiers."""
        values = {json.loads(match[1]) for match in self._in_json.finditer(content)}
        return not values.isdisjoint(self.ids)


def is_long(text: str) -> bool:
    """Whether a text is looked for anywhere; others only as whole values."""
    return len(text) >= (_SHORT_DIGITS if text.isdigit() else _SHORT)


def _patterns(text: str) -> list[_Pattern]:
    spellings = {text.encode(encoding): zeros for encoding, zeros in _WIDTHS.items()}
    spellings.setdefault(json.dumps(text)[1:-1].encode(), _WIDTHS["utf-8"])
    return [_Pattern(text, literal, zeros) for literal, zeros in spellings.items()]


def _kind(character: str) -> str:
    if "0" <= character <= "9":
        return "digit"
    return "letter" if character.isascii() and character.isalpha() else "other"


def _as_text(column: pl.Series) -> pl.Series:
    return column if column.dtype == pl.String else column.cast(pl.String, strict=False)
