"""The user's own log: CSV, Parquet or Arrow IPC; one file, a glob, or a partitioned folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import AfterValidator

from seqmarket.data.parsing import TimeFormat, check_time_format, check_time_zone
from seqmarket.data.raw_log import RawLog
from seqmarket.data.reading import CsvSettings, DataFile, RawPart, cannot_read, find_files, scan
from seqmarket.data.settings import Moment, Settings
from seqmarket.data.sources.protocol import file_digest, fingerprint_of
from seqmarket.data.validation import EventSchema, validate_customers
from seqmarket.errors import SeqmarketError, did_you_mean

_REVISION = 2
_TIMES = ("time", "timestamp")
"""Names that the column of the times may have without being declared."""
_SEPARATORS = {";": "'data.csv.separator=\";\"'", "\t": "data.csv.separator=tab"}

_TimeFormatName = Annotated[str, AfterValidator(check_time_format)]
_TimeZoneName = Annotated[str, AfterValidator(check_time_zone)]


class Columns(Settings):
    """The name in the user's files of each column of a log.

    Attributes:
        customer_id: Who.
        time: When; null: `time`, or else `timestamp`.
        channel: Through which channel; null: the same as the event type.
        event_type: What happened; null: the same as the channel.
        value: What it brought; null: `value` if there is such a column, else nothing.
        cost: What it cost; null: `cost` if there is such a column, else nothing.
        order: A number that orders events of the same customer and time; null: `ties` says.
    """

    customer_id: str = "customer_id"
    time: str | None = None
    channel: str | None = "channel"
    event_type: str | None = "event_type"
    value: str | None = None
    cost: str | None = None
    order: str | None = None


class FileSource(Settings):
    """A log in files. Text is taken as written: ``007`` stays ``007``.

    Attributes:
        path: A file, a glob (its files are read in the order of their names), or a folder, whose
            files with a known suffix are read. Folders ``key=value`` around a file are columns.
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
        customers_path: Files with one row per customer; null: the customers' columns are in the
            events, where the value at a customer's first event counts.
        customers_id_column: The customer's id in those files; null: as in the events.
        static_categorical: Categorical columns of a customer.
        static_numeric: Numeric columns of a customer.
        allow_negative_value: Whether a negative value, such as a return, is legitimate.
        observed_until: End of the observation, exclusive; null: right after the last event.
        ties: What orders events of the same customer and time where `columns.order` names no
            column: what they hold, so that the order of rows and files does not matter; or their
            position in the log, which then has to mean something.
        version: Of files in an object store, which are not hashed.
        csv: How CSV files are written.
    """

    path: str
    format: Literal["auto", "csv", "parquet", "ipc"] = "auto"
    name: str = "files"
    columns: Columns = Columns()
    time_format: _TimeFormatName | None = None
    time_zone: _TimeZoneName = "UTC"
    purchase_event_types: tuple[str, ...] = ("purchase",)
    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    customers_path: str | None = None
    customers_id_column: str | None = None
    static_categorical: tuple[str, ...] = ()
    static_numeric: tuple[str, ...] = ()
    allow_negative_value: bool = False
    observed_until: Moment | None = None
    ties: Literal["content", "position"] = "content"
    version: str | None = None
    csv: CsvSettings = CsvSettings()

    def check(self) -> None:
        """See `EventSource`.

        Raises:
            SeqmarketError: There is no such file, or its suffix tells no format.
        """
        find_files(self.path, self.format, key="data.path")
        if self.customers_path is not None:
            find_files(self.customers_path, "auto", key="data.customers_path")

    def fingerprint(self) -> str:
        """See `EventSource`. Where the files lie does not count; their order does by position.

        Raises:
            SeqmarketError: There is no such file, or the version of a remote one is not told.
        """
        digests = [self._digest(file) for file in self._files()]
        if self.ties == "content":
            digests.sort()
        return fingerprint_of(_REVISION, self._options(), digests)

    def family(self) -> str | None:
        """See `EventSource`. Files in an object store are not hashed, so they cannot be added."""
        if any(file.remote for file in self._files()):
            return None
        return fingerprint_of(_REVISION, self._options())

    def open(self) -> RawLog:
        """See `EventSource`.

        Raises:
            SeqmarketError: A file or column is missing, or a row of the customers' table breaks a
                rule.
        """
        schema = EventSchema(
            categorical=self.categorical,
            numeric=self.numeric,
            static_categorical=self.static_categorical,
            static_numeric=self.static_numeric,
            purchase_event_types=self.purchase_event_types,
            order=self.columns.order is not None,
        )
        names: dict[str, str] = {}
        parts = []
        for file in self._files():
            part = scan(file, self.csv)
            here = self._names(part)
            names |= here
            digest = "" if file.remote else self._digest(file)
            parts.append(replace(_renamed(part, here), digest=digest))
        return RawLog(
            parts=tuple(parts),
            schema=schema,
            name=self.name,
            fingerprint=self.fingerprint(),
            times=TimeFormat(self.time_format, self.time_zone),
            allow_negative_value=self.allow_negative_value,
            names=names,
            customers=self._customers(schema),
            observed_until=self.observed_until,
            ties="content" if schema.order else self.ties,
        )

    def _files(self) -> list[DataFile]:
        return find_files(self.path, self.format, key="data.path")

    def _options(self) -> dict[str, Any]:
        """What shapes the log but its events."""
        options = self.model_dump(mode="json", exclude={"path", "customers_path", "name"})
        if self.customers_path is not None:
            found = find_files(self.customers_path, "auto", key="data.customers_path")
            options["customers"] = [self._digest(file) for file in found]
        return options

    def _digest(self, file: DataFile) -> str:
        if not file.remote:
            try:
                return file_digest(f"{file.format} {file.partitions}", file.path)
            except OSError as error:
                raise cannot_read(file.location, error) from error
        if self.version is None:
            raise SeqmarketError(
                "files in an object store are not hashed, so a change of them would go unnoticed",
                where="data.version",
                fix="say which version of them this is, for instance data.version=2026-11-22, and "
                "change it when they change",
            )
        return file.location

    def _names(self, part: RawPart) -> dict[str, str]:
        """Column of the log -> column of this file."""
        there = part.frame.collect_schema().names()
        columns = self.columns
        channel, event_type = columns.channel, columns.event_type
        if channel is None and event_type is None:
            raise SeqmarketError(
                "an event needs a channel or an event type",
                where="data.columns.channel, data.columns.event_type",
                fix="name at least one of the two columns",
            )
        found = {
            "customer_id": columns.customer_id,
            "time": columns.time or next((name for name in _TIMES if name in there), _TIMES[0]),
            "channel": channel or str(event_type),
            "event_type": event_type or str(channel),
        }
        for name, given in (("value", columns.value), ("cost", columns.cost)):
            if given is not None or name in there:
                found[name] = given or name
        if columns.order is not None:
            found["order"] = columns.order
        keys = {name: f"data.columns.{name}" for name in found}
        extras = {"data.categorical": self.categorical, "data.numeric": self.numeric}
        if self.customers_path is None:
            extras["data.static_categorical"] = self.static_categorical
            extras["data.static_numeric"] = self.static_numeric
        for key, declared in extras.items():
            found |= {name: name for name in declared}
            keys |= dict.fromkeys(declared, key)
        either = " or ".join(f"'{name}'" for name in _TIMES)
        _require(found, keys, part, there, {} if columns.time else {_TIMES[0]: either})
        return found

    def _customers(self, schema: EventSchema) -> pl.DataFrame | None:
        if self.customers_path is None:
            return None
        names = {"customer_id": self.customers_id_column or self.columns.customer_id}
        keys = {"customer_id": "data.customers_id_column"}
        names |= {name: name for name in (*self.static_categorical, *self.static_numeric)}
        keys |= dict.fromkeys(self.static_categorical, "data.static_categorical")
        keys |= dict.fromkeys(self.static_numeric, "data.static_numeric")
        parts = []
        for file in find_files(self.customers_path, "auto", key="data.customers_path"):
            part = scan(file, self.csv)
            _require(names, keys, part, part.frame.collect_schema().names(), {})
            parts.append(_renamed(part, names))
        return validate_customers(parts, schema, names=names)


def _require(
    names: Mapping[str, str],
    keys: Mapping[str, str],
    part: RawPart,
    there: Sequence[str],
    shown: Mapping[str, str],
) -> None:
    """Refuses a file without one of the columns that these keys of the configuration name.

    Args:
        names: Column of the log -> column that is looked for.
        keys: Column of the log -> key of the configuration.
        part: The file.
        there: Its columns.
        shown: How messages name a column that is looked for, if not by its name in quotes.
    """
    sought = {name: shown.get(column, f"'{column}'") for name, column in names.items()}
    if part.unit == "line" and not set(names.values()) & set(there):
        # The first line may be data, so it is not shown.
        separators = [fix for mark, fix in _SEPARATORS.items() if mark in "".join(part.header)]
        raise SeqmarketError(
            "the first line of the file names none of the columns that are looked for: "
            + ", ".join(dict.fromkeys(sought.values())),
            where=part.label,
            fix=f"the fields seem to be separated otherwise: {separators[0]}"
            if separators
            else "a header line is needed; the names of its columns are set with data.columns.*",
        )
    again = [name for name in part.header if name and part.header.count(name) > 1]
    if again:
        raise SeqmarketError(
            f"the header names the column '{again[0]}' {part.header.count(again[0])} times",
            where=part.label,
            fix="rename or remove all but one of the columns",
        )
    for name, column in names.items():
        if column not in there:
            raise SeqmarketError(
                f"there is no column {sought[name]}; {did_you_mean(column, there)}",
                where=f"{part.label}, {keys[name]}",
                fix=f"name a column of the file in {keys[name]}",
            )


def _renamed(part: RawPart, names: dict[str, str]) -> RawPart:
    return part.then("select", [pl.col(column).alias(name) for name, column in names.items()])
