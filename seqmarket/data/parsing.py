"""Strict reading of one column: text, number or time, from whatever type the file holds.

Each function takes the raw column and returns expressions: the converted column, and one boolean
per rule that a row can break. Nothing is guessed: ``007`` stays ``007``, ``1e400`` is not finite.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
from polars.datatypes import DataType

UTC_TIME = pl.Datetime("us", "UTC")
"""The type of every time in an event log."""

EPOCH_FORMATS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
"""Microseconds in one unit of each epoch format."""

_FIRST = -62_135_596_800_000_000  # year 1, in microseconds since 1970
_LAST = 253_402_300_799_999_999  # the end of year 9999: later times do not fit a Python datetime
_OFFSET = r"(\d{2}:\d{2}\S*?)\s?(Z|z|[+-](?:0\d|1[0-4])(?::?[0-5]\d)?)$"


@dataclass(frozen=True)
class TimeFormat:
    """How the times of a log are written.

    Attributes:
        format: None: ISO 8601 in text columns, and the type's own meaning in date and time columns.
            Else a strptime format, or `epoch_s`, `epoch_ms`, `epoch_us`.
        zone: Time zone of times that carry none. Of a local time that occurs twice, when clocks go
            back, the earlier instant is meant; one that is skipped breaks a rule.
    """

    format: str | None = None
    zone: str = "UTC"


@dataclass(frozen=True)
class Parsed:
    """A converted column and, for each problem, whether a row has it.

    Attributes:
        column: The converted column; null where missing or where a problem holds.
        problems: Problem -> boolean expression; the order is that in which problems are named.
        zoned: Of a time: whether it carries its own zone.
    """

    column: pl.Expr
    problems: dict[str, pl.Expr]
    zoned: pl.Expr


class UnsupportedTypeError(TypeError):
    """A column has a type that cannot mean what it is declared to be; the text says why."""


def check_time_format(time_format: str) -> None:
    """Refuses a strptime format that cannot work, or that would silently ignore a zone.

    Raises:
        ValueError: With the reason.
    """
    if time_format in EPOCH_FORMATS:
        return
    if time_format.startswith("epoch"):
        raise ValueError(f"of the epoch formats there are {', '.join(EPOCH_FORMATS)}")
    if "%Z" in time_format:
        raise ValueError("%Z reads a zone and ignores it; use %z for an offset")
    if "%" not in time_format:
        raise ValueError("a time format is made of directives, such as %d.%m.%Y %H:%M")
    try:
        _strptime_type(time_format)
    except pl.exceptions.PolarsError as error:
        raise ValueError(str(error).splitlines()[0]) from error


def check_time_zone(zone: str) -> None:
    """Refuses an unknown time zone.

    Raises:
        ValueError: If no zone of the IANA data base has this name.
    """
    try:
        pl.Series([None], dtype=pl.Datetime("us")).dt.replace_time_zone(zone)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{zone!r} is no time zone; an example is Europe/Berlin") from error


def parse_text(raw: pl.Expr, dtype: DataType) -> Parsed:
    """Identifiers and categories as String, exactly as written; blank is null.

    Raises:
        UnsupportedTypeError: For floats (their digits are not an identifier) and nested types.
    """
    if dtype.is_float():
        raise UnsupportedTypeError(
            "it holds decimal numbers, and an identifier or category is text or a whole number"
        )
    if not (dtype.is_integer() or dtype in (pl.String, pl.Boolean, pl.Null, *_CATEGORICAL)):
        raise UnsupportedTypeError(f"a column of type {dtype} is neither text nor a whole number")
    text = raw.cast(pl.String)
    return Parsed(pl.when(text.str.strip_chars() != "").then(text), {}, _false())


def parse_number(raw: pl.Expr, dtype: DataType, *, allow_negative: bool) -> Parsed:
    """A number as Float64; blank is null, and anything that is no finite number is a problem.

    Raises:
        UnsupportedTypeError: For columns that are neither numbers nor text.
    """
    if dtype == pl.String:
        text = raw.str.strip_chars()
        number = text.cast(pl.Float64, strict=False)
        unreadable = (text != "") & number.is_null()
    elif dtype.is_numeric() or dtype in (pl.Boolean, pl.Null):
        number = raw.cast(pl.Float64)
        unreadable = _false()
    else:
        raise UnsupportedTypeError(f"a column of type {dtype} does not hold numbers")
    problems = {"is not a number": unreadable, "is not finite": ~number.is_finite()}
    if not allow_negative:
        problems["is negative"] = number < 0
    return Parsed(number, problems, _false())


def parse_time(raw: pl.Expr, dtype: DataType, how: TimeFormat) -> Parsed:
    """A moment as `UTC_TIME`; fractions finer than a microsecond are cut off.

    Raises:
        UnsupportedTypeError: If the type cannot be read as a time in the format given.
    """
    if how.format in EPOCH_FORMATS:
        instant, given = _epoch(raw, dtype, EPOCH_FORMATS[how.format])
        return _time(instant, given, pl.lit(True), _false())
    if dtype == pl.String:
        text = raw.str.strip_chars()
        given = text.is_not_null() & (text != "")
        if how.format is not None:
            local = text.str.to_datetime(how.format, strict=False, time_unit="us")
            return _zone(local, _strptime_type(how.format), given, how.zone)
        return _iso(text, given, how.zone)
    if how.format is not None:
        raise UnsupportedTypeError(f"data.time_format is for text, and the type is {dtype}")
    if isinstance(dtype, pl.Date):
        return _zone(raw.cast(pl.Datetime("us")), pl.Datetime("us"), raw.is_not_null(), how.zone)
    if isinstance(dtype, pl.Datetime):
        local = raw.cast(pl.Datetime("us", dtype.time_zone))
        return _zone(local, dtype, raw.is_not_null(), how.zone)
    raise UnsupportedTypeError(
        f"the type is {dtype}, neither text nor a time; for counts since 1970 set "
        f"data.time_format to one of {', '.join(EPOCH_FORMATS)}"
    )


_CATEGORICAL = (pl.Categorical, pl.Enum)


def _false() -> pl.Expr:
    return pl.lit(False)


def _time(instant: pl.Expr, given: pl.Expr, zoned: pl.Expr, skipped: pl.Expr) -> Parsed:
    physical = instant.to_physical()
    column = pl.when(physical.is_between(_FIRST, _LAST)).then(instant)
    return Parsed(
        column,
        {
            "is missing": ~given,
            "does not exist in the time zone (clocks went forward)": skipped,
            "cannot be read as a time": given & column.is_null(),
        },
        pl.when(given).then(zoned),
    )


def _zone(local: pl.Expr, dtype: DataType, given: pl.Expr, zone: str) -> Parsed:
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return _time(local.dt.convert_time_zone("UTC"), given, pl.lit(True), _false())
    instant = _localise(local, zone)
    return _time(instant, given, _false(), local.is_not_null() & instant.is_null())


def _localise(local: pl.Expr, zone: str) -> pl.Expr:
    placed = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return placed.dt.convert_time_zone("UTC")


def _iso(text: pl.Expr, given: pl.Expr, zone: str) -> Parsed:
    offset = text.str.extract(_OFFSET, 2).str.replace(":", "", literal=True)
    bare = text.str.replace(_OFFSET, "$1").str.replace("T", " ", literal=True)
    local = pl.coalesce(
        bare.str.to_datetime(pattern, strict=False, time_unit="us")
        for pattern in ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")
    )
    hours = offset.str.slice(1, 2).cast(pl.Int64, strict=False).fill_null(0)
    minutes = offset.str.slice(3, 2).cast(pl.Int64, strict=False).fill_null(0)
    shift = pl.duration(minutes=60 * hours + minutes)
    zoned = offset.is_not_null()
    utc = pl.when(offset.str.starts_with("-")).then(local + shift).otherwise(local - shift)
    placed = _localise(local, zone)
    instant = pl.when(zoned).then(utc.dt.replace_time_zone("UTC")).otherwise(placed)
    return _time(instant, given, zoned, ~zoned & local.is_not_null() & placed.is_null())


def _epoch(raw: pl.Expr, dtype: DataType, factor: int) -> tuple[pl.Expr, pl.Expr]:
    if dtype == pl.String:
        text = raw.str.strip_chars()
        given = text.is_not_null() & (text != "")
        whole, number = text.cast(pl.Int64, strict=False), text.cast(pl.Float64, strict=False)
    elif dtype.is_numeric():
        given, number = raw.is_not_null(), raw.cast(pl.Float64)
        whole = raw.cast(pl.Int64, strict=False) if dtype.is_integer() else pl.lit(None, pl.Int64)
    else:
        raise UnsupportedTypeError(f"data.time_format counts since 1970, and the type is {dtype}")
    # Bounds first: an Int64 product that overflows wraps around silently.
    bound = _LAST // factor
    exact = pl.when(whole.is_between(-bound, bound)).then(whole * factor)
    inside = number.is_finite() & number.is_between(-bound, bound)
    rounded = pl.when(inside).then((number * factor).round()).cast(pl.Int64, strict=False)
    return pl.coalesce(exact, rounded).cast(UTC_TIME), given


def _strptime_type(time_format: str) -> DataType:
    empty = pl.Series([None], dtype=pl.String)
    return empty.str.to_datetime(time_format, strict=False, time_unit="us").dtype
