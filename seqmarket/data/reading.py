"""Files of a log, found, opened as raw pieces and read in chunks; nothing is converted here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial, reduce
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BeforeValidator

from seqmarket.data.delimited import (
    estimate_records,
    find_fault,
    find_flaws,
    find_lines,
    read_header,
)
from seqmarket.data.delimited_frame import Delimited
from seqmarket.data.formats import FORMATS, FileFormat, check_start, format_of, is_packed
from seqmarket.data.remote import is_uri, scan_uri, suffix_of, without_secrets
from seqmarket.data.settings import Settings
from seqmarket.errors import SeqmarketError

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


def _one_based(rows: Sequence[int]) -> list[int]:
    return [row + 1 for row in rows]


def _nothing_known() -> None:
    return None


def _no_flaws() -> dict[str, NDArray[np.int64]]:
    return {}


def _as_separator(value: Any) -> Any:
    if value in ("tab", r"\t"):
        return "\t"
    one = isinstance(value, str) and len(value) == 1 and value.isascii()
    if value is not None and (not one or value in '"\r\n'):
        raise ValueError("a separator is one ASCII character, such as ; or |, or the word tab")
    return value


Step = tuple[Literal["select", "with_columns"], list[pl.Expr]]


def _taken(step: Step, frame: pl.LazyFrame) -> pl.LazyFrame:
    method, columns = step
    return frame.select(columns) if method == "select" else frame.with_columns(columns)


@dataclass(frozen=True)
class RawPart:
    """A piece of a log as it was found, usually one file. Can be pickled if `frame` can.

    Attributes:
        frame: Columns with the names of the log (see `validation.Converter`), of whatever type.
        label: How messages name the piece.
        unit: What a row is called: `line` in text files.
        place: From 0-based rows, ascending, to what a person sees in the file; default: 1-based.
        fault: Looks for what is wrong with a piece that cannot be read.
        flaws: Looks for broken rows that cannot be told from `frame`: problem -> their 0-based
            rows, sorted. Costs a pass over the file the first time.
        header: Of a text file: the names in its first line, as written.
        seekable: Whether a slice of `frame` costs little more than its own rows, wherever it is.
        estimate: Guesses the number of rows; None: counting them costs little.
        delimited: Of a text file on this machine: what reads it by blocks.
        steps: What makes the columns of `frame` of those of the file; see `then`.
        remote: Whether it lies in an object store.
        digest: Of its content; empty: not known.
    """

    frame: pl.LazyFrame
    label: str
    unit: str = "row"
    place: Callable[[Sequence[int]], list[int]] = _one_based
    fault: Callable[[], SeqmarketError | None] = _nothing_known
    flaws: Callable[[], Mapping[str, NDArray[np.int64]]] = _no_flaws
    header: tuple[str, ...] = ()
    seekable: bool = False
    estimate: Callable[[], int | None] | None = None
    delimited: Delimited | None = None
    steps: tuple[Step, ...] = ()
    remote: bool = False
    digest: str = ""

    def then(self, method: Literal["select", "with_columns"], columns: list[pl.Expr]) -> RawPart:
        """The piece with other columns, and the same rows."""
        step = (method, columns)
        return replace(self, frame=_taken(step, self.frame), steps=(*self.steps, step))

    def query(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """The columns of `frame`, for some rows as the file holds them."""
        return reduce(lambda frame, step: _taken(step, frame), self.steps, rows)


@dataclass(frozen=True)
class DataFile:
    """A file, its format, and the columns that the ``key=value`` folders around it stand for.

    Attributes:
        location: A path; or a URI, which may stand for several files (a glob, a folder).
        format: How it is written.
        partitions: Column -> value; of a URI they are found when it is opened.
    """

    location: str
    format: FileFormat
    partitions: tuple[tuple[str, str | None], ...] = ()

    @property
    def remote(self) -> bool:
        """Whether it is a URI: nothing is known of it before it is opened."""
        return is_uri(self.location)

    @property
    def path(self) -> Path:
        """Where it lies, if it is not remote."""
        return Path(self.location)


class CsvSettings(Settings):
    """How CSV files are written.

    Attributes:
        separator: Of fields, one character or `tab`; null: a comma, in .tsv files a tab.
        encoding: utf8-lossy replaces what is not UTF-8.
        null_values: Words that mean "missing"; an empty field always does.
    """

    separator: Annotated[str | None, BeforeValidator(_as_separator)] = None
    encoding: Literal["utf8", "utf8-lossy"] = "utf8"
    null_values: tuple[str, ...] = ()


def find_files(path: str, file_format: Literal["auto"] | FileFormat, *, key: str) -> list[DataFile]:
    """The file, the matches of the glob, or the data files in the folder, ordered by name.

    Args:
        path: A file, a glob or a folder. Files and folders in a folder whose names start with
            ``.`` or ``_`` are passed over, and with `auto` those of another suffix. Or a URI that
            Polars reads (``s3://``, ``gs://``, ``az://``, ``hf://``, ``https://``), which is
            passed on as it is: whether anything is there turns out when it is opened.
        file_format: Of all files, or `auto`: by suffix.
        key: The setting that the path is from, for messages.

    Raises:
        SeqmarketError: There is no such file, or its suffix tells no format.
    """
    if is_uri(path):
        known = format_of(suffix_of(path), file_format, without_secrets(path))
        return [DataFile(path, known)]
    try:
        found = _files_at(path, file_format)
    except (OSError, ValueError) as error:
        raise SeqmarketError(
            "the path cannot be followed", where=key, fix="give a file, a folder, or a glob"
        ) from error
    if not found:
        raise SeqmarketError(
            f"no data files in the folder {path}"
            if path and Path(path).is_dir()
            else f"no file at {path or 'an empty path'}",
            where=key,
            fix="give a file, a glob in quotes, or a folder with "
            + (f"{file_format} files" if file_format != "auto" else f"{', '.join(FORMATS)} files"),
        )
    return [
        DataFile(str(file), format_of(file.suffix, file_format, str(file)), _partitions(file))
        for file in sorted(found)
    ]


def scan(file: DataFile, settings: CsvSettings) -> RawPart:
    """Opens a file lazily; everything in a CSV file is text.

    Raises:
        SeqmarketError: The file is empty, damaged, not what it is declared to be, or out of reach.
    """
    if file.remote:
        return _scan_remote(file, settings)
    path, label = file.path, file.location
    with readable(RawPart(pl.LazyFrame(), label)):
        check_start(path, file.format)
    if file.format == "csv":
        separator = _separator(path.suffix, settings)
        part = RawPart(
            pl.LazyFrame(),
            label,
            unit="line",
            place=partial(find_lines, path, separator),
            fault=partial(find_fault, path, separator, settings.encoding),
            flaws=partial(find_flaws, path, separator),
            estimate=partial(estimate_records, path),
        )
        with readable(part):
            header = read_header(path, separator, settings.encoding)
            table = Delimited(path, separator, settings.encoding, settings.null_values)
            part = replace(part, frame=table.frame(), header=header, delimited=table)
    elif file.format == "parquet":
        # Not in parallel: each of our threads reads a stretch of its own.
        frame = pl.scan_parquet(path, hive_partitioning=False, glob=False, parallel="none")
        part = RawPart(frame, label, seekable=True)
    else:
        part = RawPart(pl.scan_ipc(path, hive_partitioning=False), label, seekable=True)
    columns = collect_schema(part).names()
    partitions = [
        pl.lit(value, pl.String).alias(name)
        for name, value in file.partitions
        if name not in columns
    ]
    return part.then("with_columns", partitions)


def count_rows(part: RawPart) -> int | None:
    """The number of rows, or a guess of it, without reading the piece; None: there is no telling.

    Raises:
        SeqmarketError: As `collect`.
    """
    if part.estimate is not None:
        return part.estimate()
    return int(collect(part, part.frame.select(pl.len())).item())


def collect(part: RawPart, frame: pl.LazyFrame) -> pl.DataFrame:
    """Evaluates a query on a piece of a log.

    Raises:
        SeqmarketError: The file is damaged, not what it is declared to be, or out of reach. What
            the library says of it may quote the data, and stays unsaid.
    """
    with readable(part):
        return frame.collect()


def collect_schema(part: RawPart) -> pl.Schema:
    """Reads the column names and types of a piece.

    Raises:
        SeqmarketError: As `collect`.
    """
    with readable(part):
        return part.frame.collect_schema()


def _scan_remote(file: DataFile, settings: CsvSettings) -> RawPart:
    part = RawPart(
        pl.LazyFrame(),
        without_secrets(file.location),
        estimate=_nothing_known if file.format == "csv" else None,
        remote=True,
    )
    with readable(part):
        frame = scan_uri(
            file.location,
            file.format,
            separator=_separator(suffix_of(file.location), settings),
            encoding=settings.encoding,
            null_values=settings.null_values,
        )
        frame.collect_schema()
    return replace(part, frame=frame)


def cannot_read(where: str, error: OSError) -> SeqmarketError:
    """What is said of a file that the operating system does not let us read."""
    return SeqmarketError(
        f"the file cannot be read: {error.strerror}",
        where=where,
        fix="check who may read it, and the disk that it is on",
    )


@contextmanager
def readable(part: RawPart) -> Iterator[None]:
    """Says what is wrong with a piece that the block cannot read; see `collect`."""
    try:
        yield
    except SeqmarketError:
        raise
    except Exception as error:
        if part.remote:  # credentials and connections fail in many ways
            raise SeqmarketError(
                f"nothing can be read there ({type(error).__name__})",
                where=part.label,
                fix="check the address, its format (data.format) and the network; credentials are "
                "taken from the environment, such as AWS_ACCESS_KEY_ID or AZURE_STORAGE_ACCOUNT",
            ) from error
        if isinstance(error, OSError) and error.errno is not None:
            raise cannot_read(part.label, error) from error
        if not isinstance(error, pl.exceptions.PolarsError | OSError):
            raise
        fault = part.fault() if isinstance(error, pl.exceptions.PolarsError) else None
        raise fault or SeqmarketError(
            f"the file is damaged or of another format ({type(error).__name__})",
            where=part.label,
            fix="check the file; how it is written is set with data.format and data.csv.*",
        ) from error


def _separator(suffix: str, settings: CsvSettings) -> str:
    return settings.separator or ("\t" if suffix.lower() == ".tsv" else ",")


def _files_at(path: str, file_format: str) -> list[Path]:
    given = Path(path)
    if given.is_file():
        return [given]
    if given.is_dir() and path:
        return [file for file in given.rglob("*") if _is_data(file, given, file_format)]
    anchor = Path(given.anchor or ".")
    pattern = str(given.relative_to(given.anchor)) if given.anchor else path
    return [file for file in anchor.glob(pattern) if file.is_file()] if path else []


def _is_data(file: Path, folder: Path, file_format: str) -> bool:
    hidden = any(part.startswith((".", "_")) for part in file.relative_to(folder).parts)
    # A compressed one is found, and refused: its rows would be missed.
    known = file_format != "auto" or file.suffix.lower() in FORMATS or is_packed(file)
    return known and not hidden and file.is_file()


def _partitions(path: Path) -> tuple[tuple[str, str | None], ...]:
    pairs = [folder.split("=", 1) for folder in path.parts[:-1] if "=" in folder]
    return tuple((name, None if value == _NO_VALUE else unquote(value)) for name, value in pairs)
