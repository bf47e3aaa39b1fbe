"""Files of a log, found and opened as raw pieces; nothing is converted here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from seqmarket.data.delimited import find_fault, find_records, read_header
from seqmarket.data.settings import Settings
from seqmarket.errors import SeqmarketError

FileFormat = Literal["csv", "parquet", "ipc"]

_FORMATS: dict[str, FileFormat] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "ipc",
    ".feather": "ipc",
    ".ipc": "ipc",
}
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


def _one_based(rows: Sequence[int]) -> list[int]:
    return [row + 1 for row in rows]


def _nothing_known() -> None:
    return None


def _no_flaws() -> dict[str, NDArray[np.bool_]]:
    return {}


def _as_separator(value: Any) -> Any:
    return "\t" if value in ("tab", r"\t") else value


@dataclass(frozen=True)
class RawPart:
    """A piece of a log as it was found, usually one file.

    Attributes:
        frame: Columns with the names of the log (see `validate_events`), of whatever type.
        label: How messages name the piece.
        unit: What a row is called: `line` in text files.
        place: From 0-based rows, ascending, to what a person sees in the file; default: 1-based.
        fault: Looks for what is wrong with a file that cannot be read.
        flaws: Looks for broken rows that cannot be told from `frame`: problem -> mask of the rows.
        header: Of a text file: the names in its first line, as written.
    """

    frame: pl.LazyFrame
    label: str
    unit: str = "row"
    place: Callable[[Sequence[int]], list[int]] = _one_based
    fault: Callable[[], SeqmarketError | None] = _nothing_known
    flaws: Callable[[], Mapping[str, NDArray[np.bool_]]] = _no_flaws
    header: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataFile:
    """A file, its format, and the columns that the ``key=value`` folders around it stand for."""

    path: Path
    format: FileFormat
    partitions: tuple[tuple[str, str | None], ...]


class CsvSettings(Settings):
    """How CSV files are written.

    Attributes:
        separator: Of fields, one character or `tab`; null: a comma, in .tsv files a tab.
        encoding: utf8-lossy replaces what is not UTF-8.
        null_values: Words that mean "missing"; an empty field always does.
    """

    separator: (
        Annotated[str, BeforeValidator(_as_separator), Field(min_length=1, max_length=1)] | None
    ) = None
    encoding: Literal["utf8", "utf8-lossy"] = "utf8"
    null_values: tuple[str, ...] = ()


def find_files(path: str, file_format: Literal["auto"] | FileFormat, *, key: str) -> list[DataFile]:
    """The file, the matches of the glob, or the data files in the folder, ordered by name.

    Args:
        path: A file, a glob or a folder. Files and folders in a folder whose names start with
            ``.`` or ``_`` are passed over, and with `auto` those of another suffix.
        file_format: Of all files, or `auto`: by suffix.
        key: The setting that the path is from, for messages.

    Raises:
        SeqmarketError: There is no such file, or its suffix tells no format.
    """
    given = Path(path)
    if given.is_file():
        found = [given]
    elif given.is_dir():
        found = [file for file in given.rglob("*") if _is_data(file, given, file_format)]
    else:
        anchor = Path(given.anchor or ".")
        pattern = str(given.relative_to(given.anchor)) if given.anchor else path
        found = [file for file in anchor.glob(pattern) if file.is_file()] if path else []
    if not found:
        raise SeqmarketError(
            f"no data files in the folder {path}"
            if given.is_dir() and path
            else f"no file at {path or 'an empty path'}",
            where=key,
            fix="give a file, a glob in quotes, or a folder with "
            + (f"{file_format} files" if file_format != "auto" else f"{', '.join(_FORMATS)} files"),
        )
    return [_data_file(file, file_format) for file in sorted(found)]


def scan(file: DataFile, settings: CsvSettings) -> RawPart:
    """Opens a file lazily; everything in a CSV file is text.

    Raises:
        SeqmarketError: The file is empty, damaged, or not what it is declared to be.
    """
    label = str(file.path)
    if file.format == "csv":
        tab = file.path.suffix.lower() == ".tsv"
        separator = settings.separator or ("\t" if tab else ",")
        frame = pl.scan_csv(
            file.path,
            separator=separator,
            infer_schema=False,
            encoding=settings.encoding,
            null_values=list(settings.null_values),
            truncate_ragged_lines=True,  # `flaws` finds them, whichever columns are read
            glob=False,
        )
        part = RawPart(
            frame,
            label,
            unit="line",
            place=lambda rows: find_records(file.path, separator).line[list(rows)].tolist(),
            fault=partial(find_fault, file.path, separator, settings.encoding),
            flaws=lambda: find_records(file.path, separator).flaws(),
        )
        with _readable(part):
            part = replace(part, header=read_header(file.path, separator, settings.encoding))
    elif file.format == "parquet":
        part = RawPart(pl.scan_parquet(file.path, hive_partitioning=False, glob=False), label)
    else:
        part = RawPart(pl.scan_ipc(file.path, hive_partitioning=False), label)
    columns = collect_schema(part).names()
    partitions = [
        pl.lit(value, pl.String).alias(name)
        for name, value in file.partitions
        if name not in columns
    ]
    return replace(part, frame=part.frame.with_columns(partitions))


def collect(part: RawPart, frame: pl.LazyFrame) -> pl.DataFrame:
    """Evaluates a query on a piece of a log.

    Raises:
        SeqmarketError: The file is damaged, or not what it is declared to be. What the library
            says of it may quote the data, and stays unsaid.
    """
    with _readable(part):
        return frame.collect()


def collect_schema(part: RawPart) -> pl.Schema:
    """Reads the column names and types of a piece.

    Raises:
        SeqmarketError: As `collect`.
    """
    with _readable(part):
        return part.frame.collect_schema()


@contextmanager
def _readable(part: RawPart) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        fault = part.fault() if isinstance(error, pl.exceptions.PolarsError) else None
        raise fault or SeqmarketError(
            f"the file is damaged or of another format ({type(error).__name__})",
            where=part.label,
            fix="check the file; how it is written is set with data.format and data.csv.*",
        ) from error


def _is_data(file: Path, folder: Path, file_format: str) -> bool:
    hidden = any(part.startswith((".", "_")) for part in file.relative_to(folder).parts)
    return (
        file.is_file() and not hidden and (file_format != "auto" or file.suffix.lower() in _FORMATS)
    )


def _data_file(path: Path, file_format: Literal["auto"] | FileFormat) -> DataFile:
    known = _FORMATS.get(path.suffix.lower()) if file_format == "auto" else file_format
    if known is None:
        raise SeqmarketError(
            f"the suffix of the file tells no format; known: {', '.join(_FORMATS)}",
            where=str(path),
            fix="data.format=csv, parquet or ipc",
        )
    pairs = [folder.split("=", 1) for folder in path.parts[:-1] if "=" in folder]
    partitions = tuple(
        (name, None if value == _NO_VALUE else unquote(value)) for name, value in pairs
    )
    return DataFile(path, known, partitions)
