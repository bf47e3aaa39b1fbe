"""The quality report for the terminal, on about one screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from seqmarket.data.quality import wording
from seqmarket.data.quality.collection import UnusualDays
from seqmarket.data.quality.column_profile import NumberProfile, TextProfile
from seqmarket.data.quality.labels import LabelRates
from seqmarket.data.quality.profile import LogProfile
from seqmarket.data.quality.report import QualityReport

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 48
_NAMED = 8


def render(report: QualityReport) -> RenderableType:
    """The report as a table, with what to look at first above it."""
    table = Table(title="Data quality", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    profile = report.profile
    sections = (_rows(report), _time(profile), _customers(profile), _columns(report))
    for section in (*sections, _gate(report), _labels(report.labels)):
        for name, shown in section:
            # Text, because brackets, as in the name of a channel, would be read as markup.
            table.add_row(name, Text(shown))
        table.add_section()
    warnings = [Text(f"warning: {warning}", style="yellow") for warning in report.warnings]
    return Group(*warnings, table)


_Lines = Iterator[tuple[str, str]]


def _rows(report: QualityReport) -> _Lines:
    yield "rows in", f"{report.rows_in:,}"
    yield "kept", f"{report.kept:,} ({wording.share(report.kept, report.rows_in)})"
    for loss in wording.losses(report):
        path = f" in {report.quarantine_path}" if loss.cause == "quarantined" and loss.rows else ""
        yield loss.cause, f"{loss.rows:,}{path}"
        if loss.cause != "dropped by cleaning":
            yield from (("", f"{rows:,} x {reason}") for reason, rows in loss.reasons.items())
    yield from (("", f"{rule.rule}: {wording.change(rule)}") for rule in report.cleaned)


def _time(profile: LogProfile) -> _Lines:
    yield "first event", f"{profile.first_time:%Y-%m-%d %H:%M:%S} UTC"
    yield "last event", f"{profile.last_time:%Y-%m-%d %H:%M:%S} UTC"
    yield _sparkline(profile)
    for name, days in (("quiet days", profile.quiet), ("bursts", profile.bursts)):
        if days:
            yield name, _days(days)


def _sparkline(profile: LogProfile) -> tuple[str, str]:
    totals = [sum(bar) for bar in zip(*profile.timeline.events, strict=True)]
    per_bar = -(-len(totals) // _WIDTH)
    sums = [sum(totals[start : start + per_bar]) for start in range(0, len(totals), per_bar)]
    most = max(sums)
    bars = "".join(_BARS[min(7, 8 * n // most)] if n else " " for n in sums)
    days = per_bar * profile.timeline.days_per_bar
    return f"events per {'day' if days == 1 else f'{days} days'}", f"{bars} at most {most:,}"


def _days(days: tuple[UnusualDays, ...]) -> str:
    worst = sorted(days, key=lambda item: -abs(item.events - item.usual))[:3]
    shown = ", ".join(
        f"{item.start}{f' to {item.end}' if item.days > 1 else ''} "
        f"({item.events:,} instead of {item.usual:,})"
        for item in sorted(worst, key=lambda item: item.start)
    )
    return f"{sum(item.days for item in days):,}: {shown}{', ...' if len(days) > 3 else ''}"


def _customers(profile: LogProfile) -> _Lines:
    yield "customers", f"{profile.customers:,}"
    yield "purchases", f"{profile.purchases:,}"
    lengths = {name: wording.number(value) for name, value in profile.journey_length.items()}
    yield "events per customer", _listed(lengths)
    yield (
        "time between events",
        _listed(wording.gaps(profile.gap_days)) or "none",
    )
    yield (
        "ties (time of the event before)",
        f"{profile.ties:,} ({wording.share(profile.ties, profile.events)})",
    )


def _columns(report: QualityReport) -> _Lines:
    profile = report.profile
    for text in profile.texts:
        if text.nulls < text.rows:
            yield f"{text.name} ({text.n_categories:,})", _categories(text)
    for column in profile.numbers:
        if column.quantiles:
            yield column.name, _number(column)
    missing = ", ".join(
        f"{column.name} {wording.missing(column)}"
        for column in profile.texts + profile.numbers
        if column.nulls
    )
    yield "missing values", missing or "none"
    for unseen in report.unseen:
        having = wording.counted(unseen.events, "event")
        if unseen.per == "customer":
            having = f"{wording.customers(unseen.events)} customers"
        kinds = wording.counted(unseen.categories, "category", "categories")
        yield "unseen in training", f"{unseen.column}: {kinds}, {having}"


def _categories(column: TextProfile) -> str:
    shown = [f"{item.text} {item.events:,}" for item in column.categories[:_NAMED]]
    left = column.n_categories - len(shown)
    if left:
        shown.append(f"others ({wording.counted(left, 'category', 'categories')})")
    return ", ".join(shown)


def _number(column: NumberProfile) -> str:
    shown = wording.quantiles(column)
    return _listed({name: shown[name] for name in ("min", "median", "p99", "max")})


def _listed(quantiles: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in quantiles.items())


def _gate(report: QualityReport) -> _Lines:
    if report.gate is not None:
        yield from wording.gate_settings(report.gate)


def _labels(labels: tuple[LabelRates, ...]) -> _Lines:
    for rates in labels:
        for fold in rates.folds:
            count = wording.total(rates, fold)
            line = f"{count.rows:,} rows"
            if count.positives is not None:
                told = wording.positive_share(count)
                line += (
                    f", {wording.positives(count) if told == wording.NOTHING else told} positive"
                )
            if fold in rates.censored:
                line += f" at {wording.counted(len(rates.of(fold)), 'cutoff')}"
                late = len(rates.censored[fold])
                line += f", {late} more censored" if late else ""
            yield f"{rates.task}, {fold}", line
