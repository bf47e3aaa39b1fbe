"""The sections of the page about journeys: when events happen, and how many customers have."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from seqmarket.data.quality import collection, sizes, svg, wording
from seqmarket.data.quality.collection import UnusualDays
from seqmarket.data.quality.column_profile import SMALL_CELL
from seqmarket.data.quality.profile import GAP_RANGES, LogProfile
from seqmarket.page.markup import Markup, bar, facts, join, table, tag

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_SHOWN = 10


def time(profile: LogProfile) -> Markup:
    """Events over time, through the week, and days that are unlike the others."""
    content = [
        facts(
            (
                ("first event", f"{profile.first_time:%Y-%m-%d %H:%M:%S} UTC"),
                ("last event", f"{profile.last_time:%Y-%m-%d %H:%M:%S} UTC"),
                ("at exactly a full hour", wording.share(sum(profile.full_hours), profile.events)),
            )
        ),
        _timeline(profile),
        _unusual("Days with no or far fewer events than usual", profile.quiet),
        _unusual("Days with far more events than usual", profile.bursts),
        tag("p", collection.RULE, class_="quiet"),
        _week(profile),
    ]
    return join(content)


def _timeline(profile: LogProfile) -> Markup:
    line = profile.timeline
    totals = [sum(values) for values in zip(*line.events, strict=True)]
    most = max(totals)
    starts = [line.start + timedelta(days=line.days_per_bar * i) for i in range(len(totals))]
    bars = "day" if line.days_per_bar == 1 else f"{line.days_per_bar} days"
    title = f"Events per {bars} by channel"
    peak = starts[totals.index(most)]
    chart = svg.stacked_bars(
        "timeline",
        title,
        f"From {starts[0]} on; most events, {most:,}, in the bar that starts on {peak}. The table "
        "below has the numbers.",
        list(zip(svg.colours(profile), line.events, strict=True)),
    )
    legend = tag(
        "ul",
        *(
            tag("li", tag("span", class_=f"swatch {colour}"), name)
            for colour, name in zip(svg.colours(profile), line.names, strict=True)
        ),
        class_="legend",
    )
    middle = starts[len(starts) // 2]
    days = (starts[0], middle, profile.last_time.date())
    axis = tag("div", *(tag("span", f"{day}") for day in days), class_="axis")
    rows = (
        (f"{start}", *(f"{values[place]:,}" for values in line.events))
        for place, start in enumerate(starts)
    )
    numbers = table(title, ("from", *line.names), rows)
    return tag(
        "figure",
        tag("figcaption", title),
        legend,
        tag("div", tag("span", f"{most:,}", class_="most"), chart, class_="plot"),
        axis,
        tag("details", tag("summary", "The numbers"), numbers),
    )


def _unusual(title: str, days: Sequence[UnusualDays]) -> Markup:
    if not days:
        return tag("p", f"{title}: none.")
    worst = sorted(days, key=lambda item: -abs(item.events - item.usual))[:_SHOWN]
    rows = (
        (f"{item.start}", f"{item.end}", f"{item.days:,}", f"{item.events:,}", f"{item.usual:,}")
        for item in sorted(worst, key=lambda item: item.start)
    )
    caption = title if len(days) <= _SHOWN else f"{title}: the {_SHOWN} most unusual of {len(days)}"
    heads = ("from", "to", "days", "events", "usual")
    return table(caption, heads, rows, text_columns=2)


def _week(profile: LogProfile) -> Markup:
    most = max(profile.hours)
    peak = profile.hours.index(most)
    title = "Events by hour of the week, UTC"
    chart = svg.week(
        "week",
        title,
        f"Seven rows of 24 hours, the darker the more events; most, {most:,}, on "
        f"{_DAYS[peak // 24]} from {peak % 24}:00. The table below has the numbers.",
        profile.hours,
    )
    names = tag("div", *(tag("span", day) for day in _DAYS), class_="days")
    hours = tag("div", *(tag("span", f"{hour}") for hour in (0, 6, 12, 18, 24)), class_="hours")
    rows = (
        (f"{hour:02d}:00", *(f"{number:,}" for number in profile.hours[hour::24]))
        for hour in range(24)
    )
    return tag(
        "figure",
        tag("figcaption", title),
        tag("div", names, chart, hours, class_="weekplot"),
        tag("details", tag("summary", "The numbers"), table(title, ("hour", *_DAYS), rows)),
    )


def customers(profile: LogProfile) -> Markup:
    """How long journeys are, and how much time lies between their events."""
    lengths = {name: wording.number(value) for name, value in profile.journey_length.items()}
    gaps = wording.gaps(profile.gap_days)
    shared = [max(n, SMALL_CELL) if n else 0 for _, _, n in profile.lengths]
    length_rows = (
        (
            f"{low:,}" if low == high else f"{low:,} to {high:,}",
            wording.customers(n) if n else "0",
            bar(shown, max(shared)),
        )
        for (low, high, n), shown in zip(profile.lengths, shared, strict=True)
    )
    all_gaps = sum(profile.gaps)
    gap_rows = (
        (name, f"{n:,}", wording.share(n, all_gaps), bar(n, max(profile.gaps)))
        for name, n in zip(GAP_RANGES, profile.gaps, strict=True)
    )
    return join(
        (
            facts(
                (
                    ("customers", f"{profile.customers:,}"),
                    ("events", f"{profile.events:,}"),
                    ("purchases", f"{profile.purchases:,}"),
                    ("ties", f"{profile.ties:,}"),
                )
            ),
            table(
                "Journeys",
                ("", *lengths),
                [
                    ("events per customer", *lengths.values()),
                    *([("time between events", *gaps.values())] if gaps else []),
                ],
            ),
            tag(
                "p",
                "A tie is an event at the same time as the customer's previous one. Of the times "
                "between events, the least and the greatest are exact, the others (≈) off by "
                "an eighth at most.",
                class_="quiet",
            ),
            tag(
                "div",
                table("Customers by number of events", ("events", "customers", ""), length_rows),
                table("Times between events", ("", "number", "share", ""), gap_rows),
                class_="pair",
            ),
            _largest(profile),
        )
    )


def _largest(profile: LogProfile) -> Markup:
    found = [
        (what, f"{item.customers:,}", f"{item.largest:,}", f"{item.above:,}")
        for what, item in (
            ("events in all", profile.long_journeys),
            ("events on one day", profile.busy_days),
        )
        if item is not None
    ]
    heads = ("", "customers", "the most", "suspicious above")
    rows = ((f"{events:,}", f"{day:,}") for events, day in profile.largest[:_SHOWN])
    largest = table("The largest journeys", ("events", "on the busiest day"), rows, text_columns=0)
    return join(
        (
            table("Customers who may be machines", heads, found)
            if found
            else tag("p", "Customers who may be machines: none."),
            tag("p", sizes.RULE, class_="quiet"),
            tag("details", tag("summary", "The largest journeys"), largest),
        )
    )
