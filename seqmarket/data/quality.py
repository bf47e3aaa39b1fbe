"""What a log turned out to hold: exact counts of what was kept, and a profile of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from seqmarket.errors import did_you_mean
from seqmarket.schema import MICROSECONDS_PER_DAY

_TOP = 20
_QUANTILES = {"min": 0.0, "p25": 0.25, "median": 0.5, "p75": 0.75, "p99": 0.99, "max": 1.0}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class LogProfile:
    """The kept log in numbers; nothing in it identifies a customer.

    Attributes:
        customers: Number of customers.
        purchases: Number of events whose type counts as a purchase.
        first_time: Time of the first event.
        last_time: Time of the last event.
        channels: The 20 most frequent channels with their number of events.
        n_channels: Number of channels.
        event_types: The 20 most frequent event types with their number of events.
        n_event_types: Number of event types.
        journey_length: Quantiles of the number of events per customer.
        gap_days: Quantiles of the days between consecutive events of a customer.
        ties: Number of events at the same time as the customer's previous event. Which of them
            comes next is decided by their position in the log.
        nulls: Number of nulls per column, for columns that have any.
    """

    customers: int
    purchases: int
    first_time: datetime
    last_time: datetime
    channels: dict[str, int]
    n_channels: int
    event_types: dict[str, int]
    n_event_types: int
    journey_length: dict[str, float]
    gap_days: dict[str, float]
    ties: int
    nulls: dict[str, int]


@dataclass(frozen=True)
class QualityReport:
    """How a log was read. ``rows_in == kept + quarantined + dropped + duplicates``, always.

    Attributes:
        rows_in: Rows that the source held.
        kept: Rows in the log.
        quarantined: Rows that broke a rule and were written to `quarantine_path`.
        dropped: Rows that broke a rule and were dropped.
        duplicates: Rows that repeated an earlier one and were dropped.
        reasons: Rule -> number of rows that broke it (of a row, the first rule it broke).
        quarantine_path: The Parquet file with the quarantined rows, if there are any.
        profile: The kept log in numbers.
        warnings: What looks suspicious but breaks no rule, each in plain words on one line.
    """

    rows_in: int
    kept: int
    quarantined: int
    dropped: int
    duplicates: int
    reasons: dict[str, int]
    quarantine_path: Path | None
    profile: LogProfile
    warnings: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, strings and numbers only, ready for JSON."""
        plain = asdict(self)
        plain["quarantine_path"] = str(self.quarantine_path) if self.quarantine_path else None
        plain["warnings"] = list(self.warnings)
        for moment in ("first_time", "last_time"):
            plain["profile"][moment] = plain["profile"][moment].isoformat()
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> QualityReport:
        """The inverse of `to_dict`."""
        profile = dict(plain["profile"])
        for moment in ("first_time", "last_time"):
            profile[moment] = datetime.fromisoformat(profile[moment])
        path = plain["quarantine_path"]
        rest = {
            "quarantine_path": Path(path) if path else None,
            "profile": LogProfile(**profile),
            "warnings": tuple(plain["warnings"]),
        }
        return cls(**{**plain, **rest})


def profile_log(log: pl.DataFrame, purchase_event_types: tuple[str, ...]) -> LogProfile:
    """Counts a validated log, sorted by customer and time."""
    time = log["time"].to_physical()
    lengths = log.group_by("customer_id").len()["len"]
    gaps = log.select(
        gap=pl.when(pl.col("customer_id") == pl.col("customer_id").shift()).then(
            pl.col("time").to_physical().diff() / MICROSECONDS_PER_DAY
        )
    )["gap"].drop_nulls()
    channels, event_types = _counts(log["channel"]), _counts(log["event_type"])
    return LogProfile(
        customers=len(lengths),
        purchases=sum(event_types.get(name, 0) for name in purchase_event_types),
        first_time=_moment(time.min()),
        last_time=_moment(time.max()),
        channels=dict(list(channels.items())[:_TOP]),
        n_channels=len(channels),
        event_types=dict(list(event_types.items())[:_TOP]),
        n_event_types=len(event_types),
        journey_length=_quantiles(lengths),
        gap_days=_quantiles(gaps),
        ties=int((gaps == 0).sum()),
        nulls={name: n for name in log.columns if (n := log[name].null_count())},
    )


def suspicions(log: pl.DataFrame, purchase_event_types: tuple[str, ...]) -> list[str]:
    """What a person who knows the data should look at before trusting a result."""
    found = []
    last = _moment(log["time"].to_physical().max())
    if last < _EPOCH + timedelta(days=365):
        found.append(
            f"the last event is of {last:%Y-%m-%d}: are seconds since 1970 read as a finer unit? "
            "See data.time_format"
        )
    event_types = list(_counts(log["event_type"]))
    found += [
        f"no event has the type '{name}' of data.purchase_event_types; "
        f"{did_you_mean(name, event_types[:_TOP])}"
        for name in purchase_event_types
        if name not in event_types
    ]
    if log["channel"].n_unique() == 1:
        found.append("all events have the same channel, so the next channel is known beforehand")
    return found


def render(report: QualityReport) -> RenderableType:
    """The report as a table for the terminal."""
    profile = report.profile
    table = Table(title="Data quality", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    counted = {
        "rows in": f"{report.rows_in:,}",
        "kept": f"{report.kept:,}",
        "quarantined": _with_path(report),
        "dropped": f"{report.dropped:,}",
        "duplicates": f"{report.duplicates:,}",
    }
    profiled = {
        "customers": f"{profile.customers:,}",
        "purchases": f"{profile.purchases:,}",
        "first event": f"{profile.first_time:%Y-%m-%d %H:%M:%S} UTC",
        "last event": f"{profile.last_time:%Y-%m-%d %H:%M:%S} UTC",
        "events per customer": _line(profile.journey_length),
        "days between events": _line(profile.gap_days),
        "ties (time of the event before)": f"{profile.ties:,} ({profile.ties / report.kept:.1%})",
        f"channels ({profile.n_channels})": _line(profile.channels),
        f"event types ({profile.n_event_types})": _line(profile.event_types),
        "missing values": _line(profile.nulls) or "none",
    }
    # Text, because a string with brackets, such as a channel may have, would be read as markup.
    for name, shown in counted.items():
        table.add_row(name, Text(shown))
    for reason, count in report.reasons.items():
        table.add_row("", Text(f"{count:,} x {reason}"))
    table.add_section()
    for name, shown in profiled.items():
        table.add_row(name, Text(shown))
    warnings = [Text(f"warning: {warning}", style="yellow") for warning in report.warnings]
    return Group(table, *warnings)


def _counts(column: pl.Series) -> dict[str, int]:
    counted = column.value_counts().sort(["count", column.name], descending=[True, False])
    return dict(counted.iter_rows())


def _quantiles(numbers: pl.Series) -> dict[str, float]:
    if numbers.is_empty():
        return {}
    return {
        name: float(value)
        for name, share in _QUANTILES.items()
        if (value := numbers.quantile(share, "linear")) is not None
    }


def _moment(microseconds: Any) -> datetime:
    return _EPOCH + timedelta(microseconds=int(microseconds))


def _with_path(report: QualityReport) -> str:
    count = f"{report.quarantined:,}"
    return f"{count} in {report.quarantine_path}" if report.quarantine_path else count


def _line(numbers: dict[str, int] | dict[str, float]) -> str:
    return ", ".join(
        f"{name} {number:,.6g}" if isinstance(number, float) else f"{name} {number:,}"
        for name, number in numbers.items()
    )
