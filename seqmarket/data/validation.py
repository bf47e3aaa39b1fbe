"""The gate that every log goes through: strict conversion, rules, and exact counts.

A row that breaks a rule is named by file, row and column, never by its customer, and every row is
accounted for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from seqmarket.data.parsing import (
    TimeFormat,
    UnsupportedTypeError,
    parse_number,
    parse_text,
    parse_time,
)
from seqmarket.data.quality import QualityReport, profile_log, suspicions
from seqmarket.data.settings import ValidationSettings
from seqmarket.errors import SeqmarketError, did_you_mean
from seqmarket.schema import EVENT_COLUMNS

_REQUIRED = ("customer_id", "channel", "event_type")
_OPTIONAL = ("value", "cost")
_PART, _ROW, _POSITION, _RULE, _ZONED = "__part", "__row", "__position", "__rule", "__zoned"

_MIXED = "has an offset in some rows and none in others"
_FUTURE = "is in the future"
_FIXES = {
    "cannot be read as a time": "say how times are written with data.time_format",
    _MIXED: "give every time an offset such as Z or +01:00, or none",
    _FUTURE: "mend the clock of the source, or set data.validation.not_after",
    "is negative": "costs never are; of values, data.allow_negative_value=true allows returns",
}
_ASIDE = "mend the row, or set it and its like aside with data.validation.policy=quarantine"


@dataclass(frozen=True)
class EventSchema:
    """What a log declares beyond the columns that every log has.

    Attributes:
        categorical: Extra categorical features of an event.
        numeric: Extra numeric features of an event.
        static_categorical: Categorical features of a customer.
        static_numeric: Numeric features of a customer.
        purchase_event_types: Event types that count as a purchase.
    """

    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    static_categorical: tuple[str, ...] = ()
    static_numeric: tuple[str, ...] = ()
    purchase_event_types: tuple[str, ...] = ("purchase",)

    def __post_init__(self) -> None:
        """Refuses a name that would mean two things.

        Raises:
            SeqmarketError: If a feature has the name of a column that every log has, or is
                declared twice.
        """
        names = (*self.categorical, *self.numeric, *self.static_categorical, *self.static_numeric)
        for name in names:
            if name in EVENT_COLUMNS or names.count(name) > 1 or name.startswith("__"):
                raise SeqmarketError(
                    f"the feature '{name}' cannot be declared: the name is taken",
                    where="data.categorical, data.numeric, data.static_*",
                    fix=f"declare it once; {', '.join(EVENT_COLUMNS)} are always in a log",
                )


def _one_based(rows: Sequence[int]) -> list[int]:
    return [row + 1 for row in rows]


@dataclass(frozen=True)
class RawPart:
    """A piece of a log as it was found, usually one file.

    Attributes:
        frame: Columns with the names of the log (see `validate_events`), of whatever type.
        label: How messages name the piece.
        unit: What a row is called: `line` in text files.
        place: From 0-based rows, ascending, to what a person sees in the file; default: 1-based.
    """

    frame: pl.LazyFrame
    label: str
    unit: str = "row"
    place: Callable[[Sequence[int]], list[int]] = _one_based


def columns_of(schema: EventSchema) -> list[str]:
    """The columns of a log with this schema, in their order."""
    extras = (schema.categorical, schema.numeric, schema.static_categorical, schema.static_numeric)
    return [*EVENT_COLUMNS, *(name for group in extras for name in group)]


def validate_events(
    raw: Sequence[RawPart] | pl.LazyFrame | pl.DataFrame,
    schema: EventSchema,
    *,
    settings: ValidationSettings,
    quarantine_path: Path,
    times: TimeFormat | None = None,
    allow_negative_value: bool = False,
    names: Mapping[str, str] | None = None,
) -> tuple[pl.DataFrame, QualityReport]:
    """Converts a raw log strictly, applies the rules, and accounts for every row.

    The rules: customer_id, time, channel and event_type are there and not blank; a time can be
    read, exists in its time zone, is not in the future, and has an offset if most others have one;
    numbers are numbers and finite; cost, and unless allowed value, are not negative.

    Args:
        raw: The log, in pieces or in one. Value and cost may be absent.
        schema: The further columns that the log must have.
        settings: What happens to rows that break a rule, and to repeated rows.
        quarantine_path: Parquet file for the rows put aside; written only if there are any.
        times: How times are written.
        allow_negative_value: Whether a negative value (a return) is legitimate.
        names: Column of the log -> its name in the user's file, for messages.

    Returns:
        The log, ordered by customer, time and position, with the columns of `columns_of`; and the
        report.

    Raises:
        SeqmarketError: Under the policy `error`, names the first row that breaks a rule and counts
            the others. Under any policy: a column is missing or of a type that cannot be
            converted, or no event is left.
    """
    parts = [RawPart(raw.lazy(), "log")] if isinstance(raw, pl.DataFrame | pl.LazyFrame) else raw
    shown = {name: name for name in columns_of(schema)} | dict(names or {})
    not_after = settings.not_after or datetime.now(UTC)
    frames = []
    for index, part in enumerate(parts):
        select = _conversion(part, schema, times or TimeFormat(), allow_negative_value, not_after,
                             shown)
        rows = part.frame.with_row_index(_ROW).select(pl.lit(index, pl.Int32).alias(_PART), *select)
        frames.append(collect(rows, part.label))
    log = _flag_mixed(pl.concat(frames).with_row_index(_POSITION))
    broken = log.filter(pl.col(_RULE).is_not_null()).select(_PART, _ROW, _RULE)
    if len(broken) and settings.policy == "error":
        raise _offence(parts, broken, shown)
    quarantined = len(broken) if settings.policy == "quarantine" else 0
    if quarantined:
        _quarantine(parts, broken, shown, quarantine_path)
    kept = log.filter(pl.col(_RULE).is_null())
    distinct = kept
    if settings.duplicates != "keep":
        distinct = kept.unique(subset=columns_of(schema), keep="first", maintain_order=True)
    duplicates = len(kept) - len(distinct)
    if duplicates and settings.duplicates == "error":
        raise _repetition(parts, kept, distinct)
    if distinct.is_empty():
        raise SeqmarketError(
            f"the log holds no event: {len(broken)} of {len(log)} rows break a rule"
            if len(log)
            else "the log holds no event",
            where=parts[0].label if len(parts) == 1 else f"{len(parts)} files",
        )
    events = distinct.sort("customer_id", "time", _POSITION).select(columns_of(schema))
    counts = broken.group_by(_RULE).len().sort(["len", _RULE], descending=[True, False])
    return events, QualityReport(
        rows_in=len(log),
        kept=len(events),
        quarantined=quarantined,
        dropped=len(broken) - quarantined,
        duplicates=duplicates,
        reasons={_reason(rule, shown): count for rule, count in counts.iter_rows()},
        quarantine_path=quarantine_path if quarantined else None,
        profile=profile_log(events, schema.purchase_event_types),
        warnings=tuple(suspicions(events, schema.purchase_event_types)),
    )


def collect(frame: pl.LazyFrame, label: str) -> pl.DataFrame:
    """Reads a file; what the library says of a broken one may quote the data, and stays unsaid.

    Raises:
        SeqmarketError: The file is damaged, or not what its name says.
    """
    with _readable(label):
        return frame.collect()


def collect_schema(frame: pl.LazyFrame, label: str) -> pl.Schema:
    """Reads the column names and types of a file.

    Raises:
        SeqmarketError: As `collect`.
    """
    with _readable(label):
        return frame.collect_schema()


@contextmanager
def _readable(label: str) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SeqmarketError(
            f"the file cannot be read as what it is declared to be ({type(error).__name__})",
            where=label,
            fix="is it complete, and has no line more fields than the header? "
            "See data.format, data.separator, data.encoding",
        ) from error


def _conversion(
    part: RawPart,
    schema: EventSchema,
    times: TimeFormat,
    allow_negative_value: bool,
    not_after: datetime,
    shown: Mapping[str, str],
) -> list[pl.Expr]:
    """Converted columns, the row, whether its time has a zone, and the first rule that it breaks."""
    types = collect_schema(part.frame, part.label)
    signed = {*schema.numeric, *schema.static_numeric} | ({"value"} if allow_negative_value else set())
    numbers = {*_OPTIONAL, *schema.numeric, *schema.static_numeric}
    select, broken, zoned = [], [], pl.lit(None, pl.Boolean)
    for name in columns_of(schema):
        if name not in types and name in _OPTIONAL:
            select.append(pl.lit(None, pl.Float64).alias(name))
            continue
        if name not in types:
            raise SeqmarketError(
                f"there is no column '{shown[name]}'; {did_you_mean(shown[name], types.names())}",
                where=part.label,
            )
        raw, dtype = pl.col(name), types[name]
        try:
            if name == "time":
                parsed = parse_time(raw, dtype, times)
                parsed.problems[_FUTURE] = parsed.column > not_after
                zoned = parsed.zoned
            elif name in numbers:
                parsed = parse_number(raw, dtype, allow_negative=name in signed)
            else:
                parsed = parse_text(raw, dtype)
                if name in _REQUIRED:
                    parsed.problems["is missing"] = parsed.column.is_null()
        except UnsupportedTypeError as error:
            raise SeqmarketError(
                f"the column '{shown[name]}' cannot be used: {error}", where=part.label
            ) from error
        select.append(parsed.column.alias(name))
        broken += [
            pl.when(holds).then(pl.lit(_rule(name, problem)))
            for problem, holds in parsed.problems.items()
        ]
    return [*select, pl.col(_ROW), zoned.alias(_ZONED), pl.coalesce(broken).alias(_RULE)]


def _flag_mixed(log: pl.DataFrame) -> pl.DataFrame:
    """Times with an offset among times without one: those of which there are fewer are at fault."""
    with_offset = log[_ZONED].sum()
    without = log[_ZONED].count() - with_offset
    if not with_offset or not without:
        return log
    mixed = pl.when(pl.col(_ZONED) == (with_offset < without)).then(pl.lit(_rule("time", _MIXED)))
    return log.with_columns(pl.coalesce(_RULE, mixed))


def _rule(column: str, problem: str) -> str:
    return f"{problem}|{column}"


def _reason(rule: str, shown: Mapping[str, str]) -> str:
    problem, _, column = rule.partition("|")
    return f"'{shown[column]}' {problem}"


def _place(part: RawPart, row: int) -> str:
    return f"{part.label}, {part.unit} {part.place([row])[0]}"


def _offence(
    parts: Sequence[RawPart], broken: pl.DataFrame, shown: Mapping[str, str]
) -> SeqmarketError:
    index, row, rule = broken.row(0)
    problem, _, column = rule.partition("|")
    more = len(broken) - 1
    return SeqmarketError(
        f"{_reason(rule, shown)}"
        + (f"; {more} further {'row breaks' if more == 1 else 'rows break'} a rule" if more else ""),
        where=f"{_place(parts[index], row)}, column '{shown[column]}'",
        fix=f"{_FIXES[problem]}; or {_ASIDE}" if problem in _FIXES else _ASIDE,
    )


def _repetition(
    parts: Sequence[RawPart], kept: pl.DataFrame, distinct: pl.DataFrame
) -> SeqmarketError:
    repeated = kept.join(distinct, on=_POSITION, how="anti", maintain_order="left")
    index, row = repeated.select(_PART, _ROW).row(0)
    more = len(repeated) - 1
    return SeqmarketError(
        "a row repeats an earlier one in every declared column"
        + (f"; {more} further {'does' if more == 1 else 'do'}" if more else ""),
        where=_place(parts[index], row),
        fix="data.validation.duplicates=drop drops such rows, and counts them; keep keeps them",
    )


def _quarantine(
    parts: Sequence[RawPart], broken: pl.DataFrame, shown: Mapping[str, str], path: Path
) -> None:
    """Writes the broken rows as they were found: reason, file, row, and their columns as text."""
    frames = []
    for (index,), rows in broken.group_by([_PART], maintain_order=True):
        part = parts[int(str(index))]
        found = (
            part.frame.with_row_index(_ROW)
            .join(rows.lazy().select(_ROW, _RULE), on=_ROW, how="inner", maintain_order="left")
            .collect()
        )
        reasons = [_reason(rule, shown) for rule in found[_RULE]]
        columns = [name for name in found.columns if not name.startswith("__")]
        frames.append(
            found.select(
                pl.Series("reason", reasons, pl.String),
                pl.lit(part.label).alias("file"),
                pl.Series("row", part.place(found[_ROW].to_list()), pl.Int64),
                pl.col(columns).cast(pl.String),
            )
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with beside.open("wb") as file:
        pl.concat(frames, how="diagonal").write_parquet(file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
