"""The shape of a CSV file: its header, its records, and where they are; no value is converted.

Polars forgives a line with too few fields, and notices one with too many, or a stray quotation
mark, only if it happens to read the columns concerned. So the records are counted here, whichever
columns are used. A record goes on while its number of quotation marks is odd.
"""

from __future__ import annotations

import csv
import io
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from seqmarket.errors import SeqmarketError

_BLOCK = 1 << 23
_LONGEST = 1 << 26
_NEWLINE, _QUOTE = ord("\n"), ord('"')

MORE_FIELDS = "has more fields than the header"
UNPAIRED = "the quotation marks of the file are not in pairs around whole fields"
UNPAIRED_FIX = "put a field with a quotation mark in quotes, and write the mark inside it twice"


@dataclass(frozen=True)
class Records:
    """The R records of a CSV file, the header not counted.

    Attributes:
        header: Number of fields of the header.
        fields: (R,) number of fields.
        line: (R,) line on which the record starts, from 1, as an editor counts.
        torn: (R,) whether a quotation mark inside an unquoted field hides a separator, so that it
            cannot be told where the fields end.
    """

    header: int
    fields: NDArray[np.int64]
    line: NDArray[np.int64]
    torn: NDArray[np.bool_]

    def flaws(self) -> dict[str, NDArray[np.bool_]]:
        """Problem -> (R,) mask of the records that have it."""
        return {
            "has a quotation mark in the middle of a field": self.torn,
            MORE_FIELDS: self.fields > self.header,
            "has fewer fields than the header": self.fields < self.header,
        }


def read_header(path: Path, separator: str, encoding: str) -> tuple[str, ...]:
    """The names in the first line that is not blank.

    Raises:
        SeqmarketError: The file is empty, not text, or its encoding is another one.
    """
    with path.open("rb") as file:
        _skip_to_header(file)
        text = file.read(_BLOCK).decode("utf-8", "replace")
    try:
        names = tuple(next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), ()))
    except csv.Error as error:
        raise SeqmarketError(
            "the header cannot be read", where=str(path), fix=UNPAIRED_FIX
        ) from error
    if not names:
        raise SeqmarketError("the file is empty", where=str(path))
    if any("\0" in name for name in names):
        raise SeqmarketError(
            "the file is not UTF-8: it looks like UTF-16",
            where=str(path),
            fix="convert the file: iconv -f UTF-16 -t UTF-8 old.csv > new.csv",
        )
    if encoding == "utf8" and any("\N{REPLACEMENT CHARACTER}" in name for name in names):
        raise _not_utf8(f"{path}, the header")
    return names


def find_records(path: Path, separator: str) -> Records:
    """Counts the fields of every record; reads in blocks, at the speed of the disk or nearly so.

    Raises:
        SeqmarketError: A quotation mark is never closed, or one inside a field hides a line end:
            then it cannot be told how many records there are.
    """
    fields, lines, torn = [], [], []
    with path.open("rb") as file:
        line = 1 + _skip_to_header(file)
        rest = b""
        for block in _blocks(file):
            content = rest + block
            shape = _shape(content, separator)
            rest = content[shape.end :]
            if len(rest) > _LONGEST or (rest and not block):
                raise SeqmarketError(
                    "a quotation mark is opened and never closed",
                    where=f"{path}, after line {line + int(shape.newlines.sum()) - 1}",
                    fix=UNPAIRED_FIX,
                )
            starts = line + np.cumsum(shape.newlines) - shape.newlines
            joined = shape.torn & (shape.newlines > 1)
            if joined.any():
                raise _unpaired(path, starts[np.argmax(joined)])
            fields.append(shape.fields)
            lines.append(starts)
            torn.append(shape.torn)
            line += int(shape.newlines.sum())
    count = np.concatenate(fields)
    return Records(int(count[0]), count[1:], np.concatenate(lines)[1:], np.concatenate(torn)[1:])


def find_fault(path: Path, separator: str, encoding: str) -> SeqmarketError | None:
    """What is wrong with a file that cannot be read, as far as it can be told."""
    if encoding == "utf8":
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError:
                    return _not_utf8(f"{path}, line {number}")
    try:
        records = find_records(path, separator)
    except SeqmarketError as error:
        return error
    if records.torn.any():
        return _unpaired(path, records.line[np.argmax(records.torn)])
    return None


@dataclass(frozen=True)
class _Shape:
    """The whole records at the start of a piece of a file, and where they end."""

    end: int
    fields: NDArray[np.int64]
    newlines: NDArray[np.int64]
    torn: NDArray[np.bool_]


def _shape(content: bytes, separator: str) -> _Shape:
    data = np.frombuffer(content, dtype=np.uint8)
    breaks = (data == _NEWLINE) | (data == ord(separator))
    hidden = np.empty(0, dtype=np.int64)
    quoted = b'"' in content
    if quoted:
        quote = data == _QUOTE
        # Exclusive or, accumulated: whether the number of quotation marks so far is odd.
        inside = np.bitwise_xor.accumulate(quote.view(np.uint8)).view(np.bool_)
        hidden = np.flatnonzero(breaks & inside)
        breaks &= ~inside
    between = np.flatnonzero(breaks)
    ending = np.flatnonzero(data[between] == _NEWLINE)
    ends = between[ending]
    end = int(ends[-1]) + 1 if len(ends) else 0
    fields = np.diff(ending, prepend=-1)
    newlines = np.ones(len(ends), dtype=np.int64)
    torn = np.zeros(len(ends), dtype=np.bool_)
    if len(hidden):
        lines = hidden[(data[hidden] == _NEWLINE) & (hidden < end)]
        np.add.at(newlines, np.searchsorted(ends, lines), 1)
    if quoted:
        marks = np.flatnonzero(quote[:end])
        opening, closing = marks[0::2], marks[1::2]
        before = np.where(opening > 0, data[opening - 1], _NEWLINE)
        stray = np.flatnonzero(
            (before != ord(separator)) & (before != _NEWLINE) & (before != _QUOTE)
        )
        opening, closing = opening[stray], closing[stray]
        hides = np.searchsorted(hidden, closing) > np.searchsorted(hidden, opening)
        torn[np.searchsorted(ends, opening[hides])] = True
    return _Shape(end, fields, newlines, torn)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """The rest of a file, ending in a line end, and then an empty block."""
    last = b""
    while block := file.read(_BLOCK):
        yield block
        last = block
    if not last.endswith(b"\n"):
        yield b"\n"
    yield b""


def _skip_to_header(file: BinaryIO) -> int:
    """Moves to the first line that is not blank; returns the number of lines before it."""
    if file.read(len(BOM_UTF8)) != BOM_UTF8:
        file.seek(0)
    blank, start = 0, file.tell()
    while (line := file.readline()) and not line.strip(b"\r\n"):
        blank, start = blank + 1, file.tell()
    file.seek(start)
    return blank


def _unpaired(path: Path, line: int) -> SeqmarketError:
    return SeqmarketError(UNPAIRED, where=f"{path}, line {line}", fix=UNPAIRED_FIX)


def _not_utf8(where: str) -> SeqmarketError:
    return SeqmarketError(
        "the file holds bytes that are not UTF-8",
        where=where,
        fix="data.csv.encoding=utf8-lossy replaces them; or convert the file, such as by "
        "iconv -f ISO-8859-1 -t UTF-8 old.csv > new.csv",
    )
