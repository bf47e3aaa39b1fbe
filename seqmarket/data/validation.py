"""The gate that every row goes through: strict conversion, rules, and exact counts.

A row that breaks a rule is named by file, row and column, never by its customer, and every row is
accounted for. Rows are looked at chunk by chunk, and what becomes of one depends on no other, save
for one rule: times with an offset among times without one. Who converts counts both, and converts
once more with `Converter.zoned_is_broken` if there are both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.data.chunk import Chunk
from seqmarket.data.delimited import MORE_FIELDS
from seqmarket.data.parsing import NEGATIVE, SKIPPED_TIME, UNREADABLE_TIME, TimeFormat
from seqmarket.data.reading import RawPart, collect, collect_schema
from seqmarket.data.row_rules import FUTURE, Kind, Rows, rows_where, rule_of, split_rule
from seqmarket.errors import SeqmarketError
from seqmarket.schema import EVENT_COLUMNS

ORDER = "order"
"""The column that orders events of the same customer and time, where one is declared."""

_PART, _ROW = "__part", "__row"
_MIXED = "has an offset in some rows and none in others"
_REPEATED = "repeats an earlier row's"
_FIXES = {
    MORE_FIELDS: "put a field that holds the separator in quotes",
    UNREADABLE_TIME: "say how times are written with data.time_format",
    _MIXED: "give every time an offset such as Z or +01:00, or none",
    SKIPPED_TIME: "check data.time_zone",
    FUTURE: "mend the clock of the source, or set data.validation.not_after",
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
        order: Whether there is a column `order`, a number in every row that orders events of the
            same customer and time.
    """

    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    static_categorical: tuple[str, ...] = ()
    static_numeric: tuple[str, ...] = ()
    purchase_event_types: tuple[str, ...] = ("purchase",)
    order: bool = False

    @property
    def features(self) -> tuple[str, ...]:
        """Every declared feature."""
        return (
            *self.categorical,
            *self.numeric,
            *self.static_categorical,
            *self.static_numeric,
        )

    def __post_init__(self) -> None:
        """Refuses a name that would mean two things.

        Raises:
            SeqmarketError: If a feature has the name of a column of ours, or is declared twice.
        """
        names = self.features
        taken = (*EVENT_COLUMNS, *([ORDER] if self.order else []))
        for name in names:
            if name in taken or names.count(name) > 1 or name.startswith("__"):
                raise SeqmarketError(
                    f"the feature '{name}' cannot be declared: the name is taken",
                    where="data.categorical, data.numeric, data.static_*",
                    fix=f"declare it once; {', '.join(taken)} are names of our own",
                )


@dataclass(frozen=True)
class Converted:
    """What became of a chunk of n rows.

    Attributes:
        chunk: The rows that break no rule.
        broken: `row` (Int64, position in the part, ascending) and `rule` (String, see
            `reason_text`) of every other row: the first rule that it breaks.
        with_offset: Number of times that carry an offset of their own, in good and broken rows.
        without_offset: Number of times that do not.
    """

    chunk: Chunk
    broken: pl.DataFrame
    with_offset: int
    without_offset: int


@dataclass(frozen=True)
class Converter:
    """Converts the rows of a log strictly and applies the rules; can be pickled.

    The rules: a line of a text file has as many fields as its header, used or not; customer_id,
    time, channel and event_type, and order if declared, are there and not blank; a time can be
    read, exists in its time zone, is not in the future, and has an offset if most others have one;
    numbers are numbers and finite; cost, and unless allowed value, are not negative.

    Attributes:
        schema: The columns that the log has; value and cost may be absent.
        times: How times are written.
        not_after: Later events are in the future.
        allow_negative_value: Whether a negative value (a return) is legitimate.
        names: Column of the log -> its name in the user's file, for messages.
        zoned_is_broken: Which times are at fault where only some have an offset: those that have
            one, those that have none, or (None) neither.
    """

    schema: EventSchema
    times: TimeFormat
    not_after: datetime
    allow_negative_value: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
    zoned_is_broken: bool | None = None

    def convert(
        self,
        part: RawPart,
        first_row: int,
        raw: pl.DataFrame,
        flaws: Mapping[str, NDArray[np.int64]],
    ) -> Converted:
        """Converts a chunk.

        Args:
            part: What the chunk is of, for messages.
            first_row: Position of its first row in the part.
            raw: (n rows) The columns of the log, of whatever type.
            flaws: As `RawPart.flaws` gives them, of the whole part.

        Raises:
            SeqmarketError: A column is missing, or of a type that cannot be converted.
        """
        rows = Rows(part, first_row, raw, flaws, self.names)
        for name, kind in self._kinds.items():
            if kind == "time":
                rows.add_time(name, self.times, self.not_after)
            else:
                rows.add(name, kind)
        if self.zoned_is_broken is not None:
            rows.mark(rule_of("time", _MIXED), rows_where(rows.zoned == self.zoned_is_broken))
        with_offset = int(rows.zoned.sum())
        position = np.arange(first_row, first_row + len(raw), dtype=np.int64)
        chunk = Chunk(position, rows.time, rows.texts, rows.numbers)
        good = rows.good
        return Converted(
            chunk if good is None else chunk.keep(good),
            rows.broken(),
            with_offset,
            rows.zoned.count() - with_offset,
        )

    @property
    def _kinds(self) -> dict[str, Kind]:
        """Every column, in the order in which the rules of a row are looked at."""
        schema = self.schema
        return {
            "customer_id": "required",
            "time": "time",
            "channel": "required",
            "event_type": "required",
            "value": "number" if self.allow_negative_value else "amount",
            "cost": "amount",
            **({ORDER: "position"} if schema.order else {}),
            **dict.fromkeys(schema.categorical, "text"),
            **dict.fromkeys(schema.numeric, "number"),
            **dict.fromkeys(schema.static_categorical, "text"),
            **dict.fromkeys(schema.static_numeric, "number"),
        }


def validate_customers(
    parts: Sequence[RawPart], schema: EventSchema, *, names: Mapping[str, str] | None = None
) -> pl.DataFrame:
    """Converts a table of customers strictly; unlike an event, no row can be left out.

    Args:
        parts: The table, with the columns customer_id and the schema's static features.
        schema: Which static features there are.
        names: Column -> its name in the user's file, for messages.

    Returns:
        customer_id (String, unique) and the static features (String, then Float64).

    Raises:
        SeqmarketError: Names the first row that breaks a rule, or that repeats a customer.
    """
    kinds: dict[str, Kind] = {
        "customer_id": "required",
        **dict.fromkeys(schema.static_categorical, "text"),
        **dict.fromkeys(schema.static_numeric, "number"),
    }
    shown = names or {}
    tables, broken = [], []
    for index, part in enumerate(parts):
        there = collect_schema(part)
        raw = collect(part, part.frame.select(name for name in kinds if name in there))
        rows = Rows(part, 0, raw, part.flaws(), shown)
        for name, kind in kinds.items():
            rows.add(name, kind)
        texts = {name: text.to_series() for name, text in rows.texts.items()}
        numbers = {name: pl.Series(x).fill_nan(None) for name, x in rows.numbers.items()}
        place = pl.DataFrame({_ROW: np.arange(len(raw))}).with_columns(pl.lit(index).alias(_PART))
        tables.append(place.with_columns(**texts, **numbers))
        broken.append(
            rows.broken().select(pl.lit(index).alias(_PART), pl.col("row").alias(_ROW), "rule")
        )
    table = pl.concat(tables)
    again = table.filter(~pl.col("customer_id").is_first_distinct())
    repeated = pl.lit(rule_of("customer_id", _REPEATED)).alias("rule")
    offences = pl.concat([*broken, again.select(_PART, _ROW, repeated)])
    if len(offences):
        index, row, rule = offences.sort(_PART, _ROW, maintain_order=True).row(0)
        further = offences.select(_PART, _ROW).n_unique() - 1
        raise _offence(parts[index], row, rule, further, shown, "mend the row")
    return table.select(*kinds)


def reason_text(rule: str, names: Mapping[str, str]) -> str:
    """A rule in words.

    Args:
        rule: As in `Converted.broken`.
        names: Column of the log -> its name in the user's file.
    """
    problem, column = split_rule(rule)
    return f"'{names.get(column, column)}' {problem}" if column else f"a row {problem}"


def offence(
    part: RawPart, row: int, rule: str, further: int, names: Mapping[str, str]
) -> SeqmarketError:
    """The error that names the first broken row and counts the others.

    Args:
        part: Where it is.
        row: Its position in the part.
        rule: The first rule that it breaks.
        further: Number of further rows that break one.
        names: Column of the log -> its name in the user's file.
    """
    return _offence(part, row, rule, further, names, _ASIDE)


def quarantined_rows(
    part: RawPart,
    first_row: int,
    raw: pl.DataFrame,
    broken: pl.DataFrame,
    names: Mapping[str, str],
) -> pl.DataFrame:
    """The broken rows of a chunk as they were found.

    Args:
        part: What the chunk is of.
        first_row: Position of its first row in the part.
        raw: Its rows.
        broken: As in `Converted`.
        names: Column of the log -> its name in the user's file.

    Returns:
        reason, file, row (Int64, as a person counts), and the columns of `raw`, all as text; one
        of these names in the log gets a ``_`` at its end.
    """
    position = broken["row"]
    reasons = {rule: reason_text(rule, names) for rule in broken["rule"].unique()}
    account = pl.DataFrame(
        {
            "reason": broken["rule"].replace_strict(reasons, return_dtype=pl.String),
            "file": pl.repeat(part.label, len(broken), eager=True),
            "row": pl.Series(part.place(position.to_list()), dtype=pl.Int64),
        }
    )
    found = raw[position - first_row].with_columns(pl.all().cast(pl.String))
    return account.hstack(
        found.rename({name: f"{name}_" for name in account.columns}, strict=False)
    )


def _offence(
    part: RawPart, row: int, rule: str, further: int, names: Mapping[str, str], fix: str
) -> SeqmarketError:
    problem, column = split_rule(rule)
    breaks = "row breaks" if further == 1 else "rows break"
    return SeqmarketError(
        reason_text(rule, names) + (f"; {further} further {breaks} a rule" if further else ""),
        where=f"{part.label}, {part.unit} {part.place([row])[0]}"
        + (f", column '{names.get(column, column)}'" if column else ""),
        fix=f"{_FIXES[problem]}; or {fix}" if problem in _FIXES else fix,
    )
