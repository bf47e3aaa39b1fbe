"""The proof of an erasure: every byte below some folders, with all that is packed unpacked."""

from __future__ import annotations

import gzip
import io
import shutil
import sqlite3
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from seqmarket.data.erasure.needles import Needles
from seqmarket.data.texts import from_bytes

_PIECE = 16 << 20
_IN_MEMORY = 64 << 20
_DEEPEST = 5
_ROWS = 10_000
_TABLES = (".csv", ".tsv", ".txt")
_OUR_IDS = "customer_id_bytes.npy", "customer_id_offsets.npy"

_Where = Iterator[tuple[str, str]]
"""What a file is packed in, and what was found of it."""


@dataclass(frozen=True, order=True)
class Finding:
    """A place where something is left, without what it is.

    Attributes:
        file: The file; its folder where the name itself is to blame.
        inside: The member of an archive; empty: the file itself.
        what: What was found there.
    """

    file: Path
    inside: str
    what: str


def scan_for(ids: Iterable[str] | Needles, roots: Sequence[Path]) -> list[Finding]:
    """Looks for identifiers in every file below some folders, and in the names of the files.

    Each file is looked at byte by byte, as it is and unpacked: zip archives (checkpoints, .npz),
    gzip, the tables of SQLite and of Parquet, Arrow and CSV files, and the identifiers of our own
    logs and stores. What counts as an occurrence is said in `Needles`.

    Args:
        ids: What is looked for.
        roots: Files and folders; one that does not exist holds nothing.

    Returns:
        The places, sorted. A file that cannot be read, or not be unpacked, is one of them.
    """
    needles = ids if isinstance(ids, Needles) else Needles(ids)
    found = set()
    for root in roots:
        for path in (root, *root.rglob("*")) if root.is_dir() else (root,):
            if needles.in_bytes(path.name.encode()):
                found.add(Finding(path.parent, "", "the name of a file or folder"))
            if path.is_file():
                try:
                    with path.open("rb") as file:
                        places = set(_look(file, path.name, needles, path))
                except OSError as error:
                    places = {("", f"cannot be read: {error.strerror}")}
                found |= {Finding(path, inside, what) for inside, what in places}
    return sorted(found)


def _look(
    file: IO[bytes], name: str, needles: Needles, path: Path | None = None, depth: int = 0
) -> _Where:
    head = file.read(16)
    file.seek(0)
    try:
        yield from _bytes(file, name, needles)
        file.seek(0)
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            yield from _zip(file, needles, depth)
        elif head.startswith(b"\x1f\x8b"):
            with gzip.open(file) as packed:
                yield from _unpacked(packed, str(PurePosixPath(name).stem), needles, depth)
        elif head.startswith(b"SQLite format 3\0"):
            yield from _sqlite(file, needles, path)
        elif head.startswith(b"PAR1"):
            yield from _parquet(file, needles)
        elif head.startswith(b"ARROW1"):
            yield from _frame(pl.read_ipc(file.read()), needles)
        elif needles.n_short and PurePosixPath(name).suffix.lower() in _TABLES:
            yield from _delimited(file, needles)
        elif name.endswith(".shard"):
            yield from _ids(from_bytes(_array(file), _array(file)), needles)
        elif name == _OUR_IDS[0] and path is not None and path.with_name(_OUR_IDS[1]).is_file():
            with path.with_name(_OUR_IDS[1]).open("rb") as offsets:
                yield from _ids(from_bytes(_array(offsets), _array(file)), needles)
        elif head.startswith(b"\x93NUMPY"):
            yield from _numpy(file, needles)
    except (
        zipfile.BadZipFile,
        zlib.error,
        RuntimeError,
        NotImplementedError,
        EOFError,
        ValueError,
        sqlite3.Error,
        pa.ArrowException,
        pl.exceptions.PolarsError,
    ) as error:
        yield "", f"cannot be unpacked ({type(error).__name__})"


def _bytes(file: IO[bytes], name: str, needles: Needles) -> _Where:
    tail = b""
    is_json = name.endswith((".json", ".jsonl"))
    while piece := file.read(_PIECE):
        content = tail + piece
        if needles.in_bytes(content) or (is_json and needles.in_json(content)):
            yield "", "the bytes of the file"
            return
        tail = content[-max(needles.overlap, 1_024) :]


def _zip(file: IO[bytes], needles: Needles, depth: int) -> _Where:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if needles.in_bytes(member.filename.encode()):
                yield "", "the name of a member"
            with archive.open(member) as packed:
                yield from _unpacked(packed, member.filename, needles, depth)


def _unpacked(packed: IO[bytes] | gzip.GzipFile, name: str, needles: Needles, depth: int) -> _Where:
    if depth == _DEEPEST:
        yield name, "is packed too deeply to be looked into"
        return
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
        shutil.copyfileobj(packed, file)
        file.seek(0)
        for inside, what in _look(file, PurePosixPath(name).name, needles, None, depth + 1):
            label = name if not needles.in_bytes(name.encode()) else "a member"
            yield f"{label} > {inside}" if inside else label, what


def _sqlite(file: IO[bytes], needles: Needles, path: Path | None) -> _Where:
    """Every cell, as a long one lies in pieces in the file; free pages were looked at as bytes."""
    with tempfile.TemporaryDirectory(prefix="seqmarket-") as folder:
        # A copy, with the pages that are still in the write-ahead log, so that no lock is taken.
        copy = Path(folder) / "copy.db"
        with copy.open("wb") as target:
            shutil.copyfileobj(file, target)
        wal = None if path is None else path.with_name(f"{path.name}-wal")
        if wal is not None and wal.is_file():
            shutil.copyfile(wal, copy.with_name("copy.db-wal"))
        database = sqlite3.connect(copy)
        try:
            database.text_factory = bytes
            names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            for table in [name.decode() for (name,) in names]:
                yield from _sqlite_table(database, table, needles)
        finally:
            database.close()


def _sqlite_table(database: sqlite3.Connection, table: str, needles: Needles) -> _Where:
    quoted = '"' + table.replace('"', '""') + '"'
    rows = database.execute(f"SELECT * FROM {quoted}")
    names = [column[0] for column in rows.description]
    ids = set(needles.ids)
    while batch := rows.fetchmany(_ROWS):
        for name, values in zip(names, zip(*batch, strict=True), strict=True):
            cells = [value for value in values if isinstance(value, bytes)]
            whole = name in needles.columns and any(_cell(value) in ids for value in values)
            if whole or needles.in_bytes(b"\0".join(cells)):
                yield "", f"the table {table}, column {name}"


def _cell(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _parquet(file: IO[bytes], needles: Needles) -> _Where:
    """Every column; of texts the dictionary too, which may hold more than the rows do."""
    schema = pq.read_schema(file)
    file.seek(0)
    texts = [
        field.name
        for field in schema
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
    ]
    table = pq.ParquetFile(file, read_dictionary=texts)
    for group in range(table.num_row_groups):
        for name in schema.names:
            (column,) = table.read_row_group(group, [name]).columns
            for piece in column.chunks:
                is_text = pa.types.is_dictionary(piece.type)
                values = pl.from_arrow(piece.dictionary if is_text else piece)
                yield from _column(pl.Series(name, values), needles)


def _delimited(file: IO[bytes], needles: Needles) -> _Where:
    header = file.readline(_PIECE)
    if not any(name.encode() in header for name in needles.columns):
        return
    separator = max(",;\t|", key=lambda mark: header.count(mark.encode()))
    file.seek(0)
    frame = pl.read_csv(
        file,
        separator=separator,
        infer_schema=False,
        truncate_ragged_lines=True,
        encoding="utf8-lossy",
    )
    yield from _frame(
        frame.select(name for name in frame.columns if name in needles.columns), needles
    )


def _frame(frame: pl.DataFrame, needles: Needles) -> _Where:
    for column in frame:
        yield from _column(column, needles)


def _column(column: pl.Series, needles: Needles) -> _Where:
    if column.dtype.is_nested():
        content = io.BytesIO()
        column.to_frame().write_ndjson(content)
        found = needles.in_bytes(content.getvalue()) or needles.in_json(content.getvalue())
    elif column.dtype == pl.Binary:
        found = needles.in_bytes(b"\0".join(column.drop_nulls()))
    elif column.dtype in (pl.String, pl.Categorical, pl.Enum) or column.name in needles.columns:
        found = needles.occur_in(column, holds_ids=column.name in needles.columns).any()
    else:
        return
    if found:
        yield "", f"the column {column.name}"


def _numpy(file: IO[bytes], needles: Needles) -> _Where:
    """Texts of fixed width, which stand side by side in the file."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else None
    _, _, dtype = (read or np.lib.format.read_array_header_2_0)(file)
    if dtype.kind in "US":
        file.seek(0)
        values = np.unique(_array(file)).astype(str)
        if needles.occur_in(pl.Series(values.tolist(), dtype=pl.String), holds_ids=False).any():
            yield "", "an array of texts"


def _ids(ids: pl.Series, needles: Needles) -> _Where:
    if needles.are(ids).any():
        yield "", "the customers"


def _array(file: IO[bytes]) -> Any:
    return np.load(file, allow_pickle=False)
