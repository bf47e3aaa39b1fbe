"""The gate's own tables, such as that of consents: read strictly, looked up by identifier."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.data.parsing import TimeFormat, UnsupportedTypeError, parse_text, parse_time
from seqmarket.data.reading import CsvSettings, RawPart, collect, find_files, scan
from seqmarket.errors import SeqmarketError, did_you_mean

_SLICE = 1 << 20


@dataclass(frozen=True)
class Column:
    """A column that a table must have.

    Attributes:
        name: In the user's files.
        kind: `required` text, `text`, or a `time`: ISO 8601 or a type of times; without a zone UTC.
    """

    name: str
    kind: Literal["required", "text", "time"]


@dataclass(frozen=True)
class Table:
    """A table in R rows that break no rule.

    Attributes:
        frame: The columns by our names: String, or Datetime("us", "UTC").
        parts: The files, in the order of their rows.
        ends: Number of rows up to the end of each file.
    """

    frame: pl.DataFrame
    parts: tuple[RawPart, ...]
    ends: tuple[int, ...]

    def place(self, row: int) -> str:
        """The file and the number of a row in it, as a person counts."""
        index = int(np.searchsorted(self.ends, row, side="right"))
        start = self.ends[index - 1] if index else 0
        return _place(self.parts[index], row - start)


def read_table(path: str, columns: Mapping[str, Column], *, key: str, csv: CsvSettings) -> Table:
    """Reads the declared columns of a table, and nothing else of it.

    Args:
        path: A file, a glob or a folder.
        columns: Our name of each column -> what it is.
        key: The settings that the table belongs to, for messages.
        csv: How CSV files are written.

    Raises:
        SeqmarketError: There is no such file or column, or a row breaks a rule; it is named by its
            number.
    """
    parts, frames = [], []
    for file in find_files(path, "auto", key=f"{key}.path"):
        part = scan(file, csv)
        there = part.frame.collect_schema().names()
        for name, column in columns.items():
            if column.name not in there or part.header.count(column.name) > 1:
                raise SeqmarketError(
                    f"there is no column '{column.name}'; {did_you_mean(column.name, there)}"
                    if column.name not in there
                    else f"the header names the column '{column.name}' more than once",
                    where=f"{part.label}, {key}.columns.{name}",
                    fix=f"name a column of the file in {key}.columns.{name}"
                    + ("" if column.kind == "required" else ", or null if there is none"),
                )
        named = (pl.col(column.name).alias(name) for name, column in columns.items())
        frames.append(_convert(part, collect(part, part.frame.select(named)), columns))
        parts.append(part)
    ends = np.cumsum([len(frame) for frame in frames])
    return Table(pl.concat(frames), tuple(parts), tuple(ends.tolist()))


def locate(known: pl.Series, wanted: pl.Series) -> NDArray[np.int64]:
    """Where texts are in a sorted series of distinct texts.

    Args:
        known: (n,) String, sorted.
        wanted: (m,) String.

    Returns:
        (m,) index into `known`, -1 where it is not there.
    """
    if known.is_empty():
        return np.full(len(wanted), -1, dtype=np.int64)
    at = np.minimum(known.search_sorted(wanted).to_numpy().astype(np.int64), len(known) - 1)
    there = (known.gather(at) == wanted).fill_null(value=False).to_numpy()
    return np.where(there, at, -1)


def digest_text(texts: pl.Series) -> str:
    """SHA-256 of a series of texts and nulls, whatever its chunks in memory."""
    digest = hashlib.sha256()
    for piece in texts.to_frame().iter_slices(_SLICE):
        column = piece.to_series()
        lengths = column.str.len_bytes().cast(pl.Int64).fill_null(-1)
        digest.update(lengths.to_numpy().tobytes())
        digest.update(column.str.join("").item().encode())
    return digest.hexdigest()


def _convert(part: RawPart, raw: pl.DataFrame, columns: Mapping[str, Column]) -> pl.DataFrame:
    broken = {f"a row {flaw}": int(rows[0]) for flaw, rows in part.flaws().items()}
    masks: dict[str, pl.Series] = {}
    converted = []
    for name, column in columns.items():
        is_time = column.kind == "time"
        try:
            parsed = parse_time(raw[name], TimeFormat()) if is_time else parse_text(raw[name])
        except UnsupportedTypeError as error:
            raise SeqmarketError(
                f"the column '{column.name}' cannot be used: its type is {raw[name].dtype}",
                where=part.label,
                fix="a time is ISO 8601 text or of a type of times; anything else is text or a "
                "whole number",
            ) from error
        problems = {what: mask for what, mask in parsed.problems.items() if what != "is missing"}
        if column.kind == "required":
            problems["is missing"] = parsed.column.is_null()
        masks |= {f"'{column.name}' {what}": mask for what, mask in problems.items()}
        converted.append(parsed.column.alias(name))
    broken |= {what: int(mask.arg_max() or 0) for what, mask in masks.items() if mask.any()}
    if broken:
        first = min(broken, key=broken.__getitem__)
        raise SeqmarketError(first, where=_place(part, broken[first]), fix="mend the row")
    return pl.DataFrame(converted)


def _place(part: RawPart, row: int) -> str:
    return f"{part.label}, {part.unit} {part.place([row])[0]}"
