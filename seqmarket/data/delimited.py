"""The shape of a CSV file: its header, its records, and where they are; no value is converted.

Polars forgives a line with too few fields, and notices one with too many, or a stray quotation
mark, only if it happens to read the columns concerned. So the records are counted here, whichever
columns are used. A record goes on while its number of quotation marks is odd.

Files are read in blocks of whole records. What is kept of a file is where its blocks begin and
which records are flawed, never something about every record.
"""

from __future__ import annotations

import csv
import io
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from seqmarket.errors import SeqmarketError

_BLOCK = 1 << 22
_LONGEST = 1 << 26
_SAMPLE = 1 << 20
_NEWLINE, _QUOTE = ord("\n"), ord('"')

TORN = "has a quotation mark in the middle of a field"
MORE_FIELDS = "has more fields than the header"
FEWER_FIELDS = "has fewer fields than the header"
UNPAIRED = "the quotation marks of the file are not in pairs around whole fields"
UNPAIRED_FIX = "put a field with a quotation mark in quotes, and write the mark inside it twice"


@dataclass(frozen=True)
class Block:
    """Whole records that follow each other in a file.

    Attributes:
        content: Their bytes; the last one ends with a line end, even at the end of the file.
        offset: Where they begin in the file.
        line: The line on which they begin, from 1, as an editor counts.
        length: Number of bytes.
        n_lines: Number of line ends.
        n_records: Number of records.
    """

    content: bytes
    offset: int
    line: int
    length: int
    n_lines: int
    n_records: int


@dataclass(frozen=True)
class Survey:
    """What is known of a CSV file with R records, the header not counted, in b blocks.

    Attributes:
        n_records: R.
        flaws: Problem -> sorted int64 rows that have it, from 0.
        first: (b,) row of the first record of each block; the header is row -1.
        line: (b,) line on which each block begins.
        offset: (b + 1,) where each block begins in the file, and where the last one ends.
    """

    n_records: int
    flaws: Mapping[str, NDArray[np.int64]]
    first: NDArray[np.int64]
    line: NDArray[np.int64]
    offset: NDArray[np.int64]


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
        raise SeqmarketError(
            "the file is empty", where=str(path), fix="write it again, or take it away"
        )
    first = text.partition("\n")[0].rstrip("\r")
    if "\r" in first and '"' not in first:
        raise SeqmarketError(
            "the lines of the file end with a carriage return alone",
            where=str(path),
            fix=r"convert the file: tr '\r' '\n' < old.csv > new.csv",
        )
    if any("\0" in name for name in names):
        raise SeqmarketError(
            "the file is not UTF-8: it looks like UTF-16",
            where=str(path),
            fix="convert the file: iconv -f UTF-16 -t UTF-8 old.csv > new.csv",
        )
    if encoding == "utf8" and any("\N{REPLACEMENT CHARACTER}" in name for name in names):
        raise _not_utf8(f"{path}, the header")
    return names


def read_blocks(path: Path, lead: bytes = b"") -> Iterator[Block]:
    """Reads a file block by block, the header at the start of the first one.

    Args:
        path: The file.
        lead: What the content of every block but the first one is to begin with.

    Raises:
        SeqmarketError: A quotation mark is never closed.
    """
    with path.open("rb") as file:
        line = 1 + _skip_to_header(file)
        offset = start = file.tell()
        while block := file.read(_BLOCK):
            pieces, length, odd = [block], len(block), block.count(b'"') % 2
            quoted = bool(odd) or b'"' in block
            while odd or not pieces[-1].endswith(b"\n"):
                rest = file.readline()
                if odd and (not rest or length > _LONGEST):
                    raise _unclosed(path, b"".join(pieces), line)
                pieces.append(rest or b"\n")
                length += len(pieces[-1])
                marks = rest.count(b'"')
                odd, quoted = (odd + marks) % 2, quoted or marks > 0
            content = b"".join(pieces if offset == start else (lead, *pieces))
            lines = content.count(b"\n", len(content) - length)
            records = _count_records(content[-length:]) if quoted else lines
            yield Block(content, offset, line, length, lines, records)
            offset, line = offset + length, line + lines


def first_record(content: bytes) -> bytes:
    """The first record with its line end."""
    end = content.index(b"\n") + 1
    while content.count(b'"', 0, end) % 2:
        end = content.index(b"\n", end) + 1
    return content[:end]


def survey(path: Path, separator: str) -> Survey:
    """Counts the fields of every record, at the speed of the disk or nearly so.

    A file that has not changed since is not read a second time.

    Raises:
        SeqmarketError: A quotation mark is never closed, or one inside a field hides a line end:
            then it cannot be told how many records there are.
    """
    status = path.stat()
    return _survey(path, separator, status.st_size, status.st_mtime_ns)


def find_flaws(path: Path, separator: str) -> Mapping[str, NDArray[np.int64]]:
    """Problem -> sorted rows that have it.

    Raises:
        SeqmarketError: As `survey`.
    """
    return survey(path, separator).flaws


def find_lines(path: Path, separator: str, rows: Sequence[int]) -> list[int]:
    """The lines on which records start; only the blocks that hold them are read again.

    Args:
        path: The file.
        separator: Of its fields.
        rows: Records, from 0, ascending.

    Raises:
        SeqmarketError: As `survey`.
    """
    known = survey(path, separator)
    wanted = np.asarray(rows, dtype=np.int64)
    home = np.searchsorted(known.first, wanted, side="right") - 1
    lines: list[int] = []
    with path.open("rb") as file:
        for block in np.unique(home):
            file.seek(known.offset[block])
            content = file.read(known.offset[block + 1] - known.offset[block])
            shape = _shape(content if content.endswith(b"\n") else content + b"\n", separator)
            starts = known.line[block] + shape.line_of_record
            lines += starts[wanted[home == block] - known.first[block]].tolist()
    return lines


def estimate_records(path: Path) -> int:
    """How many records a file has if the others are as long as the first ones."""
    size = path.stat().st_size
    with path.open("rb") as file:
        sample = file.read(_SAMPLE)
    return round(max(sample.count(b"\n"), 1) * size / max(len(sample), 1))


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
        torn = survey(path, separator).flaws.get(TORN)
    except SeqmarketError as error:
        return error
    if torn is None:
        return None
    return _unpaired(path, find_lines(path, separator, [int(torn[0])])[0])


@lru_cache(maxsize=16)
def _survey(path: Path, separator: str, size: int, changed: int) -> Survey:
    flaws: dict[str, list[NDArray[np.int64]]] = {}
    first, line, offset = [], [], [0]
    row, header = -1, 0
    for block in read_blocks(path):
        shape = _shape(block.content, separator)
        joined = shape.torn & (shape.newlines > 1)
        if joined.any():
            raise _unpaired(path, block.line + int(shape.line_of_record[np.argmax(joined)]))
        if row < 0:
            header = int(shape.fields[0])
        masks = {
            TORN: shape.torn,
            MORE_FIELDS: shape.fields > header,
            FEWER_FIELDS: shape.fields < header,
        }
        for problem, mask in masks.items():
            rows = row + np.flatnonzero(mask)
            rows = rows[rows >= 0]
            if len(rows):
                flaws.setdefault(problem, []).append(rows)
        first.append(row)
        line.append(block.line)
        offset[-1:] = [block.offset, block.offset + block.length]
        row += len(shape.fields)
    return Survey(
        n_records=row,
        flaws={
            name: np.concatenate(flaws[name])
            for name in (TORN, MORE_FIELDS, FEWER_FIELDS)
            if name in flaws
        },
        first=np.array(first, dtype=np.int64),
        line=np.array(line, dtype=np.int64),
        offset=np.array(offset, dtype=np.int64),
    )


@dataclass(frozen=True)
class _Shape:
    """The n records of a block.

    Attributes:
        fields: (n,) number of fields.
        newlines: (n,) number of line ends.
        torn: (n,) whether a quotation mark inside an unquoted field hides a separator, so that it
            cannot be told where the fields end.
    """

    fields: NDArray[np.int64]
    newlines: NDArray[np.int64]
    torn: NDArray[np.bool_]

    @property
    def line_of_record(self) -> NDArray[np.int64]:
        """(n,) lines between the start of the block and that of the record."""
        return np.cumsum(self.newlines) - self.newlines


def _shape(content: bytes, separator: str) -> _Shape:
    data = np.frombuffer(content, dtype=np.uint8)
    breaks = (data == _NEWLINE) | (data == ord(separator))
    hidden = np.empty(0, dtype=np.int64)
    quoted = b'"' in content
    if quoted:
        quote = data == _QUOTE
        inside = _inside(quote)
        hidden = np.flatnonzero(breaks & inside)
        breaks &= ~inside
    between = np.flatnonzero(breaks)
    ending = np.flatnonzero(data[between] == _NEWLINE)
    ends = between[ending]
    fields = np.diff(ending, prepend=-1)
    newlines = np.ones(len(ends), dtype=np.int64)
    torn = np.zeros(len(ends), dtype=np.bool_)
    if len(hidden):
        lines = hidden[data[hidden] == _NEWLINE]
        np.add.at(newlines, np.searchsorted(ends, lines), 1)
    if quoted:
        marks = np.flatnonzero(quote)
        opening, closing = marks[0::2], marks[1::2]
        before = np.where(opening > 0, data[opening - 1], _NEWLINE)
        stray = np.flatnonzero(
            (before != ord(separator)) & (before != _NEWLINE) & (before != _QUOTE)
        )
        opening, closing = opening[stray], closing[stray]
        hides = np.searchsorted(hidden, closing) > np.searchsorted(hidden, opening)
        torn[np.searchsorted(ends, opening[hides])] = True
    return _Shape(fields, newlines, torn)


def _inside(quote: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Exclusive or, accumulated: whether the number of quotation marks so far is odd."""
    return np.bitwise_xor.accumulate(quote.view(np.uint8)).view(np.bool_)


def _count_records(content: bytes) -> int:
    data = np.frombuffer(content, dtype=np.uint8)
    return int(np.count_nonzero((data == _NEWLINE) & ~_inside(data == _QUOTE)))


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


def _unclosed(path: Path, content: bytes, line: int) -> SeqmarketError:
    """The last line end that no open quotation mark hides is where it can have been opened."""
    end, odd = len(content), content.count(b'"') % 2
    while odd and end:
        before = content.rfind(b"\n", 0, end - 1) + 1
        odd ^= content.count(b'"', before, end) % 2
        end = before
    line += content.count(b"\n", 0, end) - 1
    return SeqmarketError(
        "a quotation mark is opened and never closed",
        where=f"{path}, after line {line}" if line else f"{path}, the header",
        fix=UNPAIRED_FIX,
    )


def _not_utf8(where: str) -> SeqmarketError:
    return SeqmarketError(
        "the file holds bytes that are not UTF-8",
        where=where,
        fix="data.csv.encoding=utf8-lossy replaces them; or convert the file, such as by "
        "iconv -f ISO-8859-1 -t UTF-8 old.csv > new.csv",
    )
