"""The user's own log: CSV, Parquet or Arrow IPC; one file, a glob, or a (partitioned) folder."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote

import polars as pl
from pydantic import AfterValidator, Field

from seqmarket.data.event_log import EventLog, make_event_log
from seqmarket.data.parsing import (
    TimeFormat,
    UnsupportedTypeError,
    check_time_format,
    check_time_zone,
    parse_number,
    parse_text,
)
from seqmarket.data.settings import Moment, Settings, ValidationSettings
from seqmarket.data.sources.protocol import fingerprint_of
from seqmarket.data.validation import EventSchema, RawPart, collect, collect_schema
from seqmarket.errors import SeqmarketError, did_you_mean

_REVISION = 1
_FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "ipc",
    ".feather": "ipc",
    ".ipc": "ipc",
}
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


def _checked_format(value: str) -> str:
    check_time_format(value)
    return value


def _checked_zone(value: str) -> str:
    check_time_zone(value)
    return value


class Columns(Settings):
    """The name in the user's file of each column of a log.

    Attributes:
        customer_id: Who.
        time: When; null: `time`, or else `timestamp`.
        channel: Through which channel; null: the same as the event type.
        event_type: What happened; null: the same as the channel.
        value: What it brought; null: `value` if there is such a column, else nothing.
        cost: What it cost; null: `cost` if there is such a column, else nothing.
    """

    customer_id: str = "customer_id"
    time: str | None = None
    channel: str | None = "channel"
    event_type: str | None = "event_type"
    value: str | None = None
    cost: str | None = None


class FileSource(Settings):
    """A log in files. Text columns are taken as written: ``007`` stays ``007``.

    Attributes:
        path: A file, a glob (files are taken in order of their names), or a folder, whose files
            with a known suffix are read, and whose ``key=value`` folders become columns.
        format: Of the files; auto: by suffix (.csv .tsv .txt, .parquet .pq, .arrow .feather .ipc).
        name: Of the log, in reports and runs.
        columns: The names of the columns.
        time_format: null: ISO 8601 text or a time column; else a strptime format, or epoch_s,
            epoch_ms, epoch_us.
        time_zone: Of times that carry none. A time that occurs twice when clocks go back is the
            earlier one; one that is skipped when they go forward breaks a rule.
        purchase_event_types: Event types that count as a purchase.
        categorical: Extra categorical columns of an event.
        numeric: Extra numeric columns of an event.
        customers_path: A file with one row per customer; null: the customers' columns are in the
            events, where the value at a customer's first event counts.
        customers_id_column: The customer's id in that file; null: as in the events.
        static_categorical: Categorical columns of a customer.
        static_numeric: Numeric columns of a customer.
        allow_negative_value: Whether a negative value, such as a return, is legitimate.
        observed_until: End of the observation, exclusive; null: right after the last event.
        separator: Of CSV fields; null: a comma, in .tsv files a tab.
        encoding: Of CSV files; utf8-lossy replaces what is not UTF-8.
        null_values: Further words that mean "missing" in CSV files; an empty field always does.
    """

    path: str
    format: Literal["auto", "csv", "parquet", "ipc"] = "auto"
    name: str = "files"
    columns: Columns = Columns()
    time_format: Annotated[str, AfterValidator(_checked_format)] | None = None
    time_zone: Annotated[str, AfterValidator(_checked_zone)] = "UTC"
    purchase_event_types: tuple[str, ...] = ("purchase",)
    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    customers_path: str | None = None
    customers_id_column: str | None = None
    static_categorical: tuple[str, ...] = ()
    static_numeric: tuple[str, ...] = ()
    allow_negative_value: bool = False
    observed_until: Moment | None = None
    separator: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    encoding: Literal["utf8", "utf8-lossy"] = "utf8"
    null_values: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """See `EventSource`. Where the files lie does not count, but their order does.

        Raises:
            SeqmarketError: There is no such file.
        """
        options = self.model_dump(mode="json", exclude={"path", "customers_path", "name"})
        files = [(str(file.partitions), file.path) for file in self._find(self.path, "data.path")]
        if self.customers_path is not None:
            found = self._find(self.customers_path, "data.customers_path")
            files += [("customers", file.path) for file in found]
        return fingerprint_of(_REVISION, options, files)

    def read(self, validation: ValidationSettings, quarantine_dir: Path) -> EventLog:
        """See `EventSource`.

        Raises:
            SeqmarketError: A file or column is missing, or a row breaks a rule.
        """
        schema = EventSchema(
            categorical=self.categorical,
            numeric=self.numeric,
            static_categorical=self.static_categorical,
            static_numeric=self.static_numeric,
            purchase_event_types=self.purchase_event_types,
        )
        found = [self._scan(file) for file in self._find(self.path, "data.path")]
        raw, names = [], {}
        for part in found:
            frame, names = self._rename(part)
            raw.append(RawPart(frame, part.label, part.unit, part.place))
        return make_event_log(
            raw,
            schema,
            name=self.name,
            fingerprint=self.fingerprint(),
            settings=validation,
            quarantine_dir=quarantine_dir,
            times=TimeFormat(self.time_format, self.time_zone),
            allow_negative_value=self.allow_negative_value,
            names=names,
            customers=None if self.customers_path is None else self._customers(),
            observed_until=self.observed_until,
        )

    def _find(self, path: str, key: str) -> list[_File]:
        root = Path(path)
        if root.is_dir():
            inside = (file for file in root.rglob("*") if file.is_file())
            paths = [file for file in inside if _is_data(file.relative_to(root), self.format)]
            parents = [file.relative_to(root).parts[:-1] for file in sorted(paths)]
            files = [
                _File(file, self._format_of(file), _partitions(folders))
                for file, folders in zip(sorted(paths), parents, strict=True)
            ]
        else:
            paths = [root] if root.is_file() else [Path(name) for name in glob.glob(path)]
            files = [
                _File(file, self._format_of(file), ()) for file in sorted(paths) if file.is_file()
            ]
        if not files:
            raise SeqmarketError(
                f"no file at {path}",
                where=key,
                fix=f"check the path; it is looked up from {Path.cwd()}"
                if not root.is_absolute()
                else "check the path",
            )
        return files
