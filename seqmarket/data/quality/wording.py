"""How numbers are written in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from seqmarket.data.cleaning.rules import RuleCount
from seqmarket.data.quality.column_profile import SMALL_CELL, NumberProfile, TextProfile
from seqmarket.data.quality.gate_report import Count, GateReport
from seqmarket.data.quality.labels import LabelCount, LabelRates
from seqmarket.data.quality.report import QualityReport

NOTHING = "–"  # noqa: RUF001  an en dash, as printed tables have it

_EXACT = ("min", "max")
_NARROW = 4
"""Whole numbers below it have a bin of a histogram to themselves, and less than a half wide."""

_UNITS = ((1.0, "d"), (1 / 24, "h"), (1 / 1_440, "min"), (1 / 86_400, "s"))


def customers(number: int) -> str:
    """A number of customers that have something in common, unless they are few."""
    return f"{number:,}" if number >= SMALL_CELL else f"<{SMALL_CELL}"


def told(count: Count) -> str:
    """A count that is a text where it is small."""
    return count if isinstance(count, str) else f"{count:,}"


def moment(time: datetime) -> str:
    """A moment to the minute."""
    return f"{time:%Y-%m-%d %H:%M} UTC"


def number(value: float) -> str:
    """Four digits that count, or all of a whole number."""
    if value == int(value) or abs(value) >= 1_000:
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.3e}"
    return f"{value:.4g}"


def estimate(value: float) -> str:
    """A number that may be off by an eighth, in the two digits that it deserves."""
    return "0" if value == 0 else f"≈{number(float(f'{value:.2g}'))}"


def quantiles(column: NumberProfile) -> dict[str, str]:
    """The quantiles of a column, by name; what is not exact is marked."""
    found = column.quantiles
    counted_whole = column.whole == column.rows - column.nulls
    return {
        name: number(value)
        if name in _EXACT
        or found["min"] == found["max"]
        or (counted_whole and abs(value) < _NARROW)
        else estimate(value)
        for name, value in found.items()
    }


def gaps(days: Mapping[str, float]) -> dict[str, str]:
    """The quantiles of times between events, by name; what is not exact is marked."""
    constant = bool(days) and days["min"] == days["max"]
    return {
        name: duration(value)
        if name in _EXACT or constant or value == 0
        else f"≈{duration(value, digits=2)}"
        for name, value in days.items()
    }


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


def duration(days: float, digits: int = 3) -> str:
    """A time in the largest unit that it has one of."""
    if days == 0:
        return "0"
    size, unit = next((item for item in _UNITS if days >= item[0]), _UNITS[-1])
    length = days / size
    if digits < 3 or length < 1_000:
        length = float(f"{length:.{digits}g}")
    return f"{length:,.0f} {unit}" if length >= 1_000 else f"{length:g} {unit}"


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


def gate_settings(gate: GateReport) -> Iterator[tuple[str, str]]:
    """Each part of the gate, and what it was set to."""
    identity, consent = gate.identity, gate.consent
    yield (
        "identities",
        "each identifier is a customer"
        if identity is None
        else f"{told(identity.identifiers)} identifiers stand for {told(identity.customers)} "
        f"customers, {told(identity.conflicts)} in conflict",
    )
    yield (
        "consent",
        "not asked for"
        if consent is None
        else f"to {consent.purpose}, as of {moment(consent.as_of)}: "
        f"{told(consent.customers.get('admitted', 0))} customers of the table admitted, those not "
        f"in it {consent.unrecorded}",
    )
    yield "pseudonyms", "none" if gate.key_id is None else f"under the key {gate.key_id}"
    yield "retention", "all events" if gate.oldest is None else f"from {moment(gate.oldest)} on"
    erased = "nobody" if gate.erased is None else f"{told(gate.erased)} identifiers in the ledger"
    yield "erased", erased


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
