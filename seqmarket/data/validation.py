"""The gate that every log goes through: strict conversion, rules, and exact counts.

A row that breaks a rule is named by file, row and column, never by its customer, and every row is
accounted for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import polars as pl

from seqmarket.data.delimited import MORE_FIELDS, UNPAIRED, UNPAIRED_FIX
from seqmarket.data.parsing import (
    NEGATIVE,
    SKIPPED_TIME,
    UNREADABLE_TIME,
    Parsed,
    TimeFormat,
    UnsupportedTypeError,
    parse_number,
    parse_text,
    parse_time,
)
from seqmarket.data.quality import QualityReport, profile_log, suspicions
from seqmarket.data.reading import RawPart, collect, collect_schema
from seqmarket.data.settings import ValidationSettings
from seqmarket.errors import SeqmarketError, did_you_mean
from seqmarket.schema import EVENT_COLUMNS

_Kind = Literal["required", "text", "amount", "number", "time"]
"""What a column is: text that must be there, text, a number of at least 0, a number, a time."""

_OPTIONAL = ("value", "cost")
_PART, _ROW, _POSITION, _RULE, _ZONED = "__part", "__row", "__position", "__rule", "__zoned"

_MIXED = "has an offset in some rows and none in others"
_FUTURE = "is in the future"
_FIXES = {
    MORE_FIELDS: "put a field that holds the separator in quotes",
    UNREADABLE_TIME: "say how times are written with data.time_format",
    _MIXED: "give every time an offset such as Z or +01:00, or none",
    SKIPPED_TIME: "check data.time_zone",
    _FUTURE: "mend the clock of the source, or set data.validation.not_after",
    NEGATIVE: "costs never are; of values, data.allow_negative_value=true allows returns",
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

    The rules: a line of a text file has as many fields as its header, used or not; customer_id,
    time, channel and event_type are there and not blank; a time can be read, exists in its time
    zone, is not in the future, and has an offset if most others have one; numbers are numbers and
    finite; cost, and unless allowed value, are not negative.

    Args:
        raw: The log, in pieces or in one. Value and cost may be absent.
        schema: The further columns that the log must have.
        settings: What happens to rows that break a rule, and to repeated rows.
        quarantine_path: Parquet file for the rows put aside; written only if there are any.
        times: How times are written.
        allow_negative_value: Whether a negative value (a return) is legitimate.
        names: Column of the log -> its name in the user's file, for messages.

    Returns:
        The log, ordered by customer, time and position, with `EVENT_COLUMNS` first, then the
        extra features, then the customers' features; and the report.

    Raises:
        SeqmarketError: Under the policy `error`, names the first row that breaks a rule and counts
            the others. Under any policy: a column is missing or of a type that cannot be
            converted, or no event is left.
    """
    parts = [RawPart(raw.lazy(), "log")] if isinstance(raw, pl.DataFrame | pl.LazyFrame) else raw
    number: _Kind = "number" if allow_negative_value else "amount"
    kinds: dict[str, _Kind] = {
        "customer_id": "required",
        "time": "time",
        "channel": "required",
        "event_type": "required",
        "value": number,
        "cost": "amount",
        **dict.fromkeys(schema.categorical, "text"),
        **dict.fromkeys(schema.numeric, "number"),
        **dict.fromkeys(schema.static_categorical, "text"),
        **dict.fromkeys(schema.static_numeric, "number"),
    }
    shown = {name: name for name in kinds} | dict(names or {})
    log = _convert(parts, kinds, shown, times or TimeFormat(), settings.not_after)
    log = _flag_mixed(log)
    broken = log.filter(pl.col(_RULE).is_not_null()).select(_PART, _ROW, _RULE)
    if len(broken) and settings.policy == "error":
        raise _offence(parts, broken, shown)
    quarantined = len(broken) if settings.policy == "quarantine" else 0
    if quarantined:
        _quarantine(parts, broken, shown, quarantine_path)
    kept = log.filter(pl.col(_RULE).is_null())
    distinct = kept
    if settings.duplicates != "keep":
        distinct = kept.unique(subset=list(kinds), keep="first", maintain_order=True)
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
    events = distinct.sort("customer_id", "time", _POSITION).select(*kinds)
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


def validate_customers(
    parts: Sequence[RawPart], schema: EventSchema, *, names: Mapping[str, str] | None = None
) -> pl.DataFrame:
    """Converts a table of customers strictly; unlike an event, no row can be left out.

    Args:
        parts: The table, with the columns customer_id and the schema's static features.
        schema: Which static features there are.
        names: As for `validate_events`.

    Returns:
        customer_id (String, unique) and the static features (String, then Float64).

    Raises:
        SeqmarketError: Names the first row that breaks a rule, or that repeats a customer.
    """
    kinds: dict[str, _Kind] = {
        "customer_id": "required",
        **dict.fromkeys(schema.static_categorical, "text"),
        **dict.fromkeys(schema.static_numeric, "number"),
    }
    shown = {name: name for name in kinds} | dict(names or {})
    table = _convert(parts, kinds, shown, TimeFormat(), None)
    again = pl.when(~pl.col("customer_id").is_first_distinct())
    repeated = again.then(pl.lit(_rule("customer_id", "repeats an earlier row's")))
    broken = table.with_columns(pl.coalesce(_RULE, repeated)).filter(pl.col(_RULE).is_not_null())
    if len(broken):
        raise _offence(parts, broken.select(_PART, _ROW, _RULE), shown, fix="mend the row")
    return table.select(*kinds)


def _convert(
    parts: Sequence[RawPart],
    kinds: Mapping[str, _Kind],
    shown: Mapping[str, str],
    times: TimeFormat,
    not_after: datetime | None,
) -> pl.DataFrame:
    """The columns of all pieces, converted, and for each row the first rule that it breaks."""
    latest = not_after or datetime.now(UTC)
    frames = []
    for index, part in enumerate(parts):
        types = collect_schema(part)
        for name in kinds:
            if name not in types and name not in _OPTIONAL:
                raise SeqmarketError(
                    f"there is no column '{shown[name]}'; "
                    f"{did_you_mean(shown[name], types.names())}",
                    where=part.label,
                )
        raw = collect(part, part.frame.select(name for name in kinds if name in types))
        absent = pl.Series([None]).new_from_index(0, len(raw))
        columns = {_ZONED: absent.cast(pl.Boolean)}
        broken = _flaws(part, len(raw))
        for name, kind in kinds.items():
            try:
                parsed = _parse(raw[name] if name in types else absent, kind, times)
            except UnsupportedTypeError as error:
                raise SeqmarketError(
                    f"the column '{shown[name]}' cannot be used: {error}", where=part.label
                ) from error
            columns[name] = parsed.column
            if parsed.zoned is not None:
                columns[_ZONED] = parsed.zoned
                parsed.problems[_FUTURE] = parsed.column > latest
            broken |= {
                _rule(name, problem): mask
                for problem, mask in parsed.problems.items()
                if mask.any()
            }
        first = pl.coalesce(
            pl.lit(None, pl.String), *(pl.when(rule).then(pl.lit(rule)) for rule in broken)
        )
        frame = pl.DataFrame({**columns, **broken}).with_columns(first.alias(_RULE))
        frames.append(
            frame.drop(broken)
            .with_columns(pl.lit(index, pl.Int32).alias(_PART))
            .with_row_index(_ROW)
        )
    return pl.concat(frames).with_row_index(_POSITION)


def _flaws(part: RawPart, n_rows: int) -> dict[str, pl.Series]:
    """Rule -> mask of the rows that break it, of rules about a row as a whole."""
    flaws = part.flaws()
    if any(len(mask) != n_rows for mask in flaws.values()):
        raise part.fault() or SeqmarketError(UNPAIRED, where=part.label, fix=UNPAIRED_FIX)
    return {_rule("", name): pl.Series(mask) for name, mask in flaws.items() if mask.any()}


def _parse(raw: pl.Series, kind: _Kind, times: TimeFormat) -> Parsed:
    if kind == "time":
        return parse_time(raw, times)
    if kind in ("number", "amount"):
        return parse_number(raw, allow_negative=kind == "number")
    parsed = parse_text(raw)
    if kind == "required":
        parsed.problems["is missing"] = parsed.column.is_null()
    return parsed


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
    return f"'{shown[column]}' {problem}" if column else f"a row {problem}"


def _place(part: RawPart, row: int) -> str:
    return f"{part.label}, {part.unit} {part.place([row])[0]}"


def _offence(
    parts: Sequence[RawPart], broken: pl.DataFrame, shown: Mapping[str, str], fix: str = _ASIDE
) -> SeqmarketError:
    index, row, rule = broken.row(0)
    problem, _, column = rule.partition("|")
    more = len(broken) - 1
    return SeqmarketError(
        f"{_reason(rule, shown)}"
        + (
            f"; {more} further {'row breaks' if more == 1 else 'rows break'} a rule" if more else ""
        ),
        where=_place(parts[index], row) + (f", column '{shown[column]}'" if column else ""),
        fix=f"{_FIXES[problem]}; or {fix}" if problem in _FIXES else fix,
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
    for index, part in enumerate(parts):
        rows = broken.filter(pl.col(_PART) == index).select(_ROW, _RULE)
        if rows.is_empty():
            continue
        numbered = part.frame.with_row_index(_ROW)
        found = collect(
            part, numbered.join(rows.lazy(), on=_ROW, how="inner", maintain_order="left")
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
