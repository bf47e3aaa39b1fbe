"""How numbers are written in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from seqmarket.data.cleaning.rules import RuleCount
from seqmarket.data.quality.column_profile import SMALL_CELL, NumberProfile, TextProfile
from seqmarket.data.quality.labels import LabelCount, LabelRates
from seqmarket.data.quality.report import QualityReport

NOTHING = "–"  # noqa: RUF001  an en dash, as printed tables have it

_UNITS = ((1.0, "d"), (1 / 24, "h"), (1 / 1_440, "min"), (1 / 86_400, "s"))


def customers(number: int) -> str:
    """A number of customers that have something in common, unless they are few."""
    return f"{number:,}" if number >= SMALL_CELL else f"<{SMALL_CELL}"


def number(value: float) -> str:
    """Four digits that count, or all of a whole number."""
    if value == int(value) or abs(value) >= 1_000:
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.3e}"
    return f"{value:.4g}"


def counted(number: int, one: str, more: str | None = None) -> str:
    """A number of things, by name: ``1 day``, ``2 days``."""
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def share(part: float, whole: float) -> str:
    """A percentage; small ones are not rounded to nothing."""
    if whole == 0:
        return NOTHING
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "<0.1%"
    return f"{percent:.1f}%"


def duration(days: float) -> str:
    """A time in the largest unit that it has one of."""
    if days == 0:
        return "0"
    size, unit = next((item for item in _UNITS if days >= item[0]), _UNITS[-1])
    return f"{days / size:,.3g} {unit}" if days / size < 1_000 else f"{days / size:,.0f} {unit}"


def others(column: TextProfile) -> str:
    """The line for the categories that are not listed."""
    return f"others ({counted(column.n_others, 'category', 'categories')})"


def missing(column: TextProfile | NumberProfile) -> str:
    """How much of a column is missing."""
    return share(column.nulls, column.rows) if column.nulls else "0"


def positives(count: LabelCount) -> str:
    """The positive rows of a cutoff; each row is a customer, so few are not told."""
    if count.positives is None or count.rows == 0:
        return NOTHING
    if count.positives < SMALL_CELL:
        return f"<{SMALL_CELL}"
    if count.rows - count.positives < SMALL_CELL:
        return f"all but <{SMALL_CELL}"
    return f"{count.positives:,}"


def positive_share(count: LabelCount) -> str:
    """The share of positive rows, unless few are positive or few are not."""
    if count.positives is None or not positives(count)[0].isdigit():
        return NOTHING
    return share(count.positives, count.rows)


def total(rates: LabelRates, fold: str) -> LabelCount:
    """The rows of a fold at all cutoffs."""
    counts = rates.of(fold)
    ones = [count.positives for count in counts if count.positives is not None]
    return LabelCount(fold, None, sum(count.rows for count in counts), sum(ones) if ones else None)


class Loss(NamedTuple):
    """Rows that did not stay.

    Attributes:
        cause: In words.
        rows: How many.
        reasons: What they are made of, where there is more to say.
    """

    cause: str
    rows: int
    reasons: Mapping[str, int]


def losses(report: QualityReport) -> tuple[Loss, ...]:
    """What became of the rows that were not kept, in the order in which they are lost."""
    return (
        Loss(
            "dropped for breaking a rule" if report.dropped else "quarantined",
            report.quarantined + report.dropped,
            report.reasons,
        ),
        Loss("refused by the privacy gate", sum(report.refused.values()), report.refused),
        Loss("repeats of an earlier row", report.duplicates, {}),
        Loss(
            "dropped by cleaning",
            sum(rule.events_dropped for rule in report.cleaned),
            {rule.rule: rule.events_dropped for rule in report.cleaned if rule.events_dropped},
        ),
    )


def change(rule: RuleCount) -> str:
    """What a cleaning rule did."""
    parts = [f"{rule.events_dropped:,} events dropped", f"{rule.events_changed:,} changed"]
    if rule.customers_dropped:
        parts.append(f"{customers(rule.customers_dropped)} customers dropped")
    return ", ".join(parts)
