"""Strict reading of one column: text, number or time, from whatever type the file holds.

Each function takes the raw column and returns it converted, with a mask per problem that a row can
have. Columns, not lazy expressions: times are costly to read, and most logs need the first step
only. Nothing is guessed: ``007`` stays ``007``, ``1e400`` is not finite.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.datatypes import DataType

from seqmarket.data.chunk import MISSING, Text

UTC_TIME = pl.Datetime("us", "UTC")
"""The type of every time in an event log."""

EPOCH_FORMATS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
"""Microseconds in one unit of each epoch format."""

NEGATIVE = "is negative"
SKIPPED_TIME = "does not exist in the time zone: clocks went forward"
UNREADABLE_TIME = "cannot be read as a time"

_FIRST = -62_135_596_800_000_000  # year 1, in microseconds since 1970
_LAST = 253_402_300_799_999_998  # after the last event one more moment has to fit a Python datetime
_MINUTE = 60_000_000
_NULL_CODE = 2**32 - 1  # as an int32 it is `MISSING`
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
    """A converted column and what is wrong with it.

    Attributes:
        column: The converted column; null where missing or where it cannot be read.
        problems: Problem -> mask; the order is that in which the problems of a row are named.
        zoned: Of times: whether each carries its own zone, null where there is no time; else empty.
    """

    column: pl.Series
    problems: dict[str, pl.Series]
    zoned: pl.Series = field(default_factory=lambda: pl.Series(dtype=pl.Boolean))


class UnsupportedTypeError(TypeError):
    """A column has a type that cannot mean what it is declared to be.

    Args:
        why: What its type is, and what it would have to be.
        fix: What mends it.
    """

    def __init__(
        self, why: str, fix: str = "convert the column in the file, or declare another one"
    ) -> None:
        super().__init__(why)
        self.fix = fix


def check_time_format(time_format: str) -> str:
    """Refuses a strptime format that cannot work, or that would silently ignore a zone.

    Returns:
        The format, unchanged.

    Raises:
        ValueError: With the reason.
    """
    if time_format in EPOCH_FORMATS:
        return time_format
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
    return time_format


def check_time_zone(zone: str) -> str:
    """Refuses an unknown time zone.

    Returns:
        The zone, unchanged.

    Raises:
        ValueError: If no zone of the IANA data base has this name.
    """
    try:
        pl.Series([None], dtype=pl.Datetime("us")).dt.replace_time_zone(zone)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{zone!r} is no time zone; an example is Europe/Berlin") from error
    return zone


def parse_text(raw: pl.Series) -> Parsed:
    """Identifiers and categories as String, exactly as written; blank is null.

    Raises:
        UnsupportedTypeError: For floats (their digits are not an identifier) and nested types.
    """
    text = _as_text(raw)
    return Parsed(text.set(text.str.strip_chars() == "", None), {})


def code_text(raw: pl.Series) -> Text:
    """As `parse_text`, in codes; only the distinct texts are looked at.

    Raises:
        UnsupportedTypeError: As `parse_text`.
    """
    # Categories of its own, so that the codes are 0, 1, 2 ... in the order of appearance.
    coded = _as_text(raw).cast(pl.Categorical(pl.Categories.random()))
    physical = coded.to_physical()
    if physical.has_nulls():
        physical = physical.fill_null(_NULL_CODE)
    code = physical.to_numpy().view(np.int32)
    text = pl.col("text")
    distinct = pl.LazyFrame({"text": np.arange(code.max(initial=MISSING) + 1, dtype=np.uint32)})
    distinct = distinct.select(text.cat.to(coded.dtype).cast(pl.String))
    values, known = distinct.with_columns((text.str.strip_chars() != "").alias("filled")).collect()
    filled = known.to_numpy()
    if filled.all():
        return Text(code, values)
    renumbered = np.append(np.where(filled, np.cumsum(filled) - 1, MISSING), MISSING)
    return Text(renumbered.astype(np.int32)[code], values.filter(pl.Series(filled)))


def plain_numbers(raw: pl.Series, *, allow_negative: bool) -> NDArray[np.float64] | None:
    """The numbers of a column in which nothing is wrong, NaN for a null, at little cost.

    None: something may be wrong, and `parse_number` has to look.
    """
    if not (raw.dtype.is_float() or raw.dtype.is_integer()):
        return None
    values = raw.cast(pl.Float64).to_numpy()
    if np.count_nonzero(np.isfinite(values)) + raw.null_count() != len(values):
        return None
    return values if allow_negative or not (values < 0).any() else None


def parse_number(raw: pl.Series, *, allow_negative: bool) -> Parsed:
    """A number as Float64; blank is null, and anything that is no finite number is a problem.

    Raises:
        UnsupportedTypeError: For columns that are neither numbers nor text.
    """
    problems = {}
    if raw.dtype == pl.String:
        text = raw.str.strip_chars()
        number = text.cast(pl.Float64, strict=False)
        problems["is not a number"] = (text != "") & number.is_null()
    elif raw.dtype.is_numeric() or raw.dtype in (pl.Boolean, pl.Null):
        number = raw.cast(pl.Float64)
    else:
        raise UnsupportedTypeError(f"a column of type {raw.dtype} does not hold numbers")
    problems["is not finite"] = ~number.is_finite()
    if not allow_negative:
        problems[NEGATIVE] = number < 0
    return Parsed(number, problems)


def parse_time(raw: pl.Series, how: TimeFormat) -> Parsed:
    """A moment as `UTC_TIME`; fractions finer than a microsecond are cut off.

    Raises:
        UnsupportedTypeError: If the type cannot be read as a time in the format given.
    """
    dtype = raw.dtype
    if dtype == pl.Null:
        return _moments(pl.Series(raw.name, [None] * len(raw), pl.Int64), raw.is_not_null(), False)
    if how.format in EPOCH_FORMATS:
        return _epoch(raw, EPOCH_FORMATS[how.format])
    if dtype == pl.String:
        text = raw.str.strip_chars()
        given = (text != "").fill_null(value=False)
        if how.format is None:
            return _iso(text, given, how.zone)
        return _placed(text.str.to_datetime(how.format, strict=False), given, how.zone)
    if how.format is not None:
        if dtype.is_integer():  # a date written as 20240131
            return parse_time(raw.cast(pl.String), how)
        raise UnsupportedTypeError(f"data.time_format is for text, and the type is {dtype}")
    if isinstance(dtype, pl.Date):
        return _placed(raw.cast(pl.Datetime("us")), raw.is_not_null(), how.zone)
    if isinstance(dtype, pl.Datetime):
        local = raw.cast(pl.Datetime("us", dtype.time_zone))
        return _placed(local, raw.is_not_null(), how.zone)
    raise UnsupportedTypeError(
        f"the type is {dtype}, neither text nor a time",
        f"for counts since 1970 set data.time_format to {', '.join(EPOCH_FORMATS)}; for dates such "
        "as 20240131 to %Y%m%d; or convert the column in the file",
    )


def _as_text(raw: pl.Series) -> pl.Series:
    dtype = raw.dtype
    if dtype.is_float():
        raise UnsupportedTypeError(
            "it holds decimal numbers; an identifier or a category is text or a whole number"
        )
    plain = dtype in (pl.String, pl.Boolean, pl.Null, pl.Categorical, pl.Enum)
    if not (dtype.is_integer() or plain):
        raise UnsupportedTypeError(f"a column of type {dtype} is neither text nor a whole number")
    return raw.cast(pl.String)


def _moments(
    instant: pl.Series, given: pl.Series, zoned: pl.Series | bool, skipped: pl.Series | None = None
) -> Parsed:
    """From microseconds; a time that is given and has none cannot be read."""
    column = instant.set(~instant.is_between(_FIRST, _LAST), None).cast(UTC_TIME)
    problems = {"is missing": ~given}
    if skipped is not None:
        problems[SKIPPED_TIME] = skipped
    problems[UNREADABLE_TIME] = given & column.is_null()
    mask = pl.Series([zoned]).new_from_index(0, len(given)) if isinstance(zoned, bool) else zoned
    return Parsed(column, problems, mask.set(~given, None))


def _placed(local: pl.Series, given: pl.Series, zone: str) -> Parsed:
    if isinstance(local.dtype, pl.Datetime) and local.dtype.time_zone is not None:
        return _moments(_microseconds(local), given, True)
    instant = _microseconds(_in_zone(local, zone))
    return _moments(instant, given, False, local.is_not_null() & instant.is_null())


def _in_zone(local: pl.Series, zone: str) -> pl.Series:
    return local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")


def _microseconds(time: pl.Series) -> pl.Series:
    return time.dt.cast_time_unit("us").to_physical()


def _iso(text: pl.Series, given: pl.Series, zone: str) -> Parsed:
    offset = text.str.extract(_OFFSET, 2).str.replace(":", "", literal=True)
    zoned = offset.is_not_null()
    bare = text.str.replace(_OFFSET, "$1") if zoned.any() else text
    bare = bare.str.replace("T", " ", literal=True)
    local = bare.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="us")
    for pattern in ("%Y-%m-%d %H:%M", "%Y-%m-%d"):
        if (local.is_null() & given).any():
            other = bare.str.to_datetime(pattern, strict=False, time_unit="us")
            local = local.zip_with(local.is_not_null(), other)
    if not zoned.any():
        return _placed(local, given, zone)
    hours = offset.str.slice(1, 2).cast(pl.Int64, strict=False).fill_null(0)
    minutes = offset.str.slice(3, 2).cast(pl.Int64, strict=False).fill_null(0)
    shift = (60 * hours + minutes) * _MINUTE
    utc = _microseconds(local) - shift.zip_with(~offset.str.starts_with("-"), -shift)
    here = _microseconds(_in_zone(local, zone))
    skipped = ~zoned & local.is_not_null() & here.is_null()
    return _moments(utc.zip_with(zoned, here), given, zoned, skipped)


def _epoch(raw: pl.Series, factor: int) -> Parsed:
    if not (raw.dtype.is_numeric() or raw.dtype == pl.String):
        raise UnsupportedTypeError(
            f"data.time_format says that it counts since 1970, and the type is {raw.dtype}"
        )
    text = raw.str.strip_chars() if raw.dtype == pl.String else raw
    given = text.is_not_null() & (text != "" if raw.dtype == pl.String else True)
    # Bounds first: an Int64 product that overflows wraps around silently.
    bound = _LAST // factor
    number = text.cast(pl.Float64, strict=False)
    inside = number.is_finite() & number.is_between(-bound, bound)
    number = number.set(~inside, None)
    whole = text.cast(pl.Int64, strict=False).set(~inside, None)
    exact = (whole == number) & whole.is_not_null()
    rounded = (number * factor).round().cast(pl.Int64)
    return _moments((whole * factor).zip_with(exact, rounded), given, True)


def _strptime_type(time_format: str) -> DataType:
    empty = pl.Series([None], dtype=pl.String)
    return empty.str.to_datetime(time_format, strict=False, time_unit="us").dtype
