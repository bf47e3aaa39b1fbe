"""The sections of the page about columns: what is missing, their ranges and their categories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from seqmarket.data.quality import svg, wording
from seqmarket.data.quality.column_profile import SMALL_CELL, NumberProfile, TextProfile
from seqmarket.data.quality.profile import LogProfile
from seqmarket.data.quality.report import QualityReport
from seqmarket.page.markup import Markup, bar, join, table, tag


def channels(profile: LogProfile) -> Markup:
    """The channels, how many events and customers each has, and when."""
    column = profile.text("channel")
    over_time = {
        name: svg.spark(events, colour)
        for name, events, colour in zip(
            profile.timeline.names, profile.timeline.events, svg.colours(profile), strict=True
        )
    }
    most = max([item.events for item in column.categories] + [column.other_events])
    rows: list[Sequence[str]] = [
        (
            item.text,
            f"{item.events:,}",
            wording.share(item.events, profile.events),
            bar(item.events, most),
            wording.customers(item.customers),
            over_time.get(item.text, Markup("")),
        )
        for item in column.categories
    ]
    if column.n_others:
        events = column.other_events
        portion = wording.share(events, profile.events)
        rows.append(
            (wording.others(column), f"{events:,}", portion, bar(events, most), "", Markup(""))
        )
    heads = ("channel", "events", "share", "", "customers", "over time")
    return table(f"Channels: {profile.n_channels:,}", heads, rows)


def columns(report: QualityReport) -> Markup:
    """Every column: what is missing, its range or its categories."""
    profile = report.profile
    everything = profile.texts + profile.numbers
    overview = table(
        "All columns",
        ("column", "of", "missing as read", "missing as kept", "content"),
        (
            (
                column.name,
                column.per,
                _missing_as_read(report, column),
                wording.missing(column),
                _content(column),
            )
            for column in everything
        ),
        text_columns=2,
    )
    numbers = [column for column in profile.numbers if column.quantiles]
    names = ("min", "p25", "median", "p75", "p99", "max")
    ranges = table(
        "Numbers, as kept",
        ("column", *names, "zero", "negative", "by powers of two"),
        (
            (
                column.name,
                *map(wording.quantiles(column).__getitem__, names),
                wording.share(column.zeros, column.rows - column.nulls),
                wording.share(column.negatives, column.rows - column.nulls),
                svg.spark(column.octaves),
            )
            for column in numbers
        ),
    )
    about = tag(
        "p",
        "A number marked ≈ is off by an eighth at most; the others are exact.",
        class_="quiet",
    )
    ranged = (ranges, about) if numbers else ()
    return join((overview, *ranged, *_categories(profile), _unseen(report)))


def _missing_as_read(report: QualityReport, column: TextProfile | NumberProfile) -> str:
    read = report.columns_read.get(column.name)
    return wording.share(read.nulls, read.rows) if read else wording.NOTHING


def _content(column: TextProfile | NumberProfile) -> str:
    if isinstance(column, TextProfile):
        return wording.counted(column.n_categories, "category", "categories")
    if not column.quantiles:
        return wording.NOTHING
    return " to ".join(wording.number(column.quantiles[name]) for name in ("min", "max"))


def _categories(profile: LogProfile) -> Iterator[Markup]:
    for column in profile.texts:
        if column.name == "channel" or column.n_categories == 0:
            continue
        per_event = column.per == "event"
        most = max([item.events for item in column.categories] + [column.other_events])
        rows: list[Sequence[str]] = [
            (
                item.text,
                f"{item.events:,}",
                *([wording.customers(item.customers)] if per_event else []),
                bar(item.events, most),
            )
            for item in column.categories
        ]
        if column.n_others:
            left = column.other_events
            shown = f"{left:,}" if per_event else wording.customers(left)
            long = left if per_event else max(left, SMALL_CELL)
            unknown = [""] if per_event else []
            rows.append((wording.others(column), shown, *unknown, bar(long, max(long, most))))
        heads = ("", "events", "customers", "") if per_event else ("", "customers", "")
        listing = table(f"Categories of {column.name}", heads, rows)
        yield tag("h3", column.name)
        yield listing


def _unseen(report: QualityReport) -> Markup:
    if not report.unseen:
        return Markup("")
    rows = (
        (
            item.column,
            ", ".join(item.examples),
            f"{item.categories:,}",
            wording.customers(item.events) if item.per == "customer" else f"{item.events:,}",
        )
        for item in report.unseen
    )
    heads = ("column", "such as", "categories", "events or customers with them")
    return table("Categories that the training period does not show", heads, rows, text_columns=2)
