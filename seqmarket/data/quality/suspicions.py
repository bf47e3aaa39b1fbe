"""What a person who knows the data should look at before trusting a result.

Each suspicion is one line: what was seen, and the setting that mends it or says that it is right.
None of them stops anything, and none tells who a customer is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from seqmarket.data.cleaning.spelling import normal_form
from seqmarket.data.quality.collection import UnusualDays
from seqmarket.data.quality.columns import IdentifierPatterns
from seqmarket.data.quality.profile import LogProfile
from seqmarket.data.quality.wording import counted
from seqmarket.errors import did_you_mean

_MANY = 0.01
"""A share of rows, or of days, that is no accident."""
_CENTS = 1_000


def suspicions(
    profile: LogProfile,
    *,
    identifiers: IdentifierPatterns | None = None,
    reasons: Mapping[str, int] | None = None,
) -> tuple[str, ...]:
    """Looks for what breaks no rule and is still unlikely.

    Args:
        profile: The kept log.
        identifiers: What the identifiers of the log look like; None: not known.
        reasons: Rule -> number of rows that broke it.

    Returns:
        One line each, the gravest first.
    """
    return (
        *_units(profile, reasons or {}),
        *_purchases(profile),
        *_identifiers(identifiers),
        *_clock(profile),
        *_days("no or far fewer events than usual", _failures(profile), _COMPLETE),
        *_days("far more events than usual", profile.bursts, _BURST),
        *_machines(profile),
        *_channels(profile),
        *_columns(profile),
    )


def _units(profile: LogProfile, reasons: Mapping[str, int]) -> Iterator[str]:
    future = sum(n for reason, n in reasons.items() if reason.endswith("is in the future"))
    if future > _MANY * (profile.events + future):
        yield (
            f"{counted(future, 'row lies', 'rows lie')} in the future: are milliseconds since "
            "1970 read as seconds? See data.time_format"
        )
    if profile.last_time < datetime(1971, 1, 1, tzinfo=UTC):
        yield (
            f"the last event is of {profile.last_time.date()}: are seconds since 1970 read as a "
            "finer unit? See data.time_format"
        )
    elif profile.first_time < datetime(1980, 1, 1, tzinfo=UTC):
        yield (
            f"the first event is of {profile.first_time.date()}, the last of "
            f"{profile.last_time.date()}: are missing times written as 0? Leave them empty, and "
            "set data.validation.policy=quarantine"
        )
    for column in profile.numbers:
        there = column.rows - column.nulls
        if (
            column.name in ("value", "cost")
            and there >= 100
            and column.whole == there
            and column.hundreds < 0.5 * there
            and column.quantiles["median"] >= _CENTS
        ):
            yield (
                f"every {column.name} is whole and half of them are above {_CENTS:,}: are they in "
                "cents? Divide the column by 100, so that value and cost have the same unit"
            )


def _purchases(profile: LogProfile) -> Iterator[str]:
    for name in profile.absent_purchase_types:
        known = list(profile.event_types)
        hint = f"; {did_you_mean(name, known)}" if known else ""
        yield f"no event has the type '{name}' of data.purchase_event_types{hint}"


def _identifiers(patterns: IdentifierPatterns | None) -> Iterator[str]:
    if patterns is None or patterns.rows == 0:
        return
    for number, what in ((patterns.emails, "e-mail addresses"), (patterns.phones, "phone numbers")):
        share = number / patterns.rows
        if share > _MANY:
            yield (
                f"the identifiers of {share:.0%} of the rows look like raw {what}: replace them "
                "with data.privacy.pseudonyms.enabled=true"
            )
    if patterns.placeholders:
        yield (
            f"{counted(patterns.placeholders, 'row has', 'rows have')} an identifier such as NULL "
            "or n/a, which is taken for a customer: declare such words, as in "
            "data.csv.null_values=[NULL], or make them nulls"
        )


def _clock(profile: LogProfile) -> Iterator[str]:
    marks = day_marks(profile)
    share = sum(profile.full_hours[hour] for hour in marks) / profile.events
    when = " or ".join(f"{hour:02d}:00" for hour in marks)
    if share > 0.95:
        yield (
            f"{share:.0%} of the events are at exactly {when} UTC, a log of days: what came first "
            "on a day is not known. Give finer times, or their order as data.columns.order"
        )
        return
    if share > 0.1:
        yield (
            f"{share:.0%} of the events are at exactly {when} UTC, and the others are not: one "
            "source gives days only. Give finer times, or their order as data.columns.order"
        )
    centre = busiest_hour(profile)
    if centre is not None and not 7 <= centre < 23:
        yield (
            f"activity centres on {int(centre):02d}:{int(centre * 60) % 60:02d} UTC, at night: if "
            "your customers live near Greenwich, the clock is shifted. See data.time_zone"
        )


def day_marks(profile: LogProfile) -> tuple[int, ...]:
    """The hours of the day (UTC) at which an event stands for a day without a time.

    In UTC a local midnight is one full hour, or two next to each other if clocks change.

    Returns:
        The one or two full hours with more events than all other full hours; none if there are no
        such, as where times are given to the hour.
    """
    full = profile.full_hours
    first = max(range(24), key=lambda hour: full[hour] + full[(hour + 1) % 24])
    marks = tuple(hour for hour in (first, (first + 1) % 24) if full[hour])
    return marks if 2 * sum(full[hour] for hour in marks) > sum(full) else ()


def busiest_hour(profile: LogProfile) -> float | None:
    """The hour of the day (UTC) around which events lie: their mean direction on the clock.

    Returns:
        None where no time of day is preferred: where the mean is nearer to the clock's centre than
        a fifth of its radius. Events that stand for a day do not count.
    """
    by_hour = [sum(profile.hours[hour::24]) for hour in range(24)]
    for hour in day_marks(profile):
        by_hour[hour] -= profile.full_hours[hour]
    total = sum(by_hour)
    if total == 0:
        return None
    angles = [(hour + 0.5) * math.pi / 12 for hour in range(24)]
    x = sum(n * math.cos(angle) for n, angle in zip(by_hour, angles, strict=True)) / total
    y = sum(n * math.sin(angle) for n, angle in zip(by_hour, angles, strict=True)) / total
    if math.hypot(x, y) < 0.2:
        return None
    return math.atan2(y, x) * 12 / math.pi % 24


_COMPLETE = (
    "if the collection failed, complete the log, or choose data.split and data.observed_until so "
    "that no label window lies there"
)
_BURST = (
    "if something was sent twice or by a machine, add a rule to data.cleaning: deduplicate, or "
    "cap_rate"
)


def _failures(profile: LogProfile) -> tuple[UnusualDays, ...]:
    """The quiet days without lone ones, unless these are many: a shop closes on holidays."""
    lone = [stretch for stretch in profile.quiet if stretch.days == 1]
    observed = (profile.last_time - profile.first_time).days
    if len(lone) > _MANY * observed:
        return profile.quiet
    return tuple(stretch for stretch in profile.quiet if stretch.days > 1)


def _days(what: str, stretches: tuple[UnusualDays, ...], mend: str) -> Iterator[str]:
    if not stretches:
        return
    days = sum(stretch.days for stretch in stretches)
    worst = max(stretches, key=lambda stretch: abs(stretch.events - stretch.usual))
    when = f"{worst.start}" if worst.days == 1 else f"{worst.start} to {worst.end}"
    lead = "above all " if len(stretches) > 1 else ""
    yield (
        f"{days:,} {'day has' if days == 1 else 'days have'} {what} ({lead}{when}: "
        f"{worst.events:,} instead of about {worst.usual:,}): {mend}"
    )


def _machines(profile: LogProfile) -> Iterator[str]:
    for found, where, setting in (
        (profile.long_journeys, "", "total"),
        (profile.busy_days, " on one day", "events_per_day"),
    ):
        if found is not None:
            who = (
                "1 customer has" if found.customers == 1 else f"{found.customers:,} customers have"
            )
            yield (
                f"{who} up to {found.largest:,} events{where}, where half of all have "
                f"{profile.journey_length['median']:,.0f} or fewer in all: if machines made "
                f"them, add the rule drop_bots to data.cleaning, with {setting}={found.above}"
            )


def _channels(profile: LogProfile) -> Iterator[str]:
    if profile.n_channels == 1:
        yield (
            "all events have the same channel, so the next channel is known beforehand: see "
            "data.columns.channel, or leave next_channel out of the tasks"
        )
    spellings: dict[str, list[str]] = {}
    for channel in profile.channels:
        spellings.setdefault(normal_form(channel), []).append(channel)
    for alike in spellings.values():
        if len(alike) > 1:
            names = ", ".join(f"'{name}'" for name in alike)
            yield (
                f"the channels {names} differ in spelling only: add the rule merge_spellings to "
                "data.cleaning, with normalise=true"
            )


def _columns(profile: LogProfile) -> Iterator[str]:
    for column in profile.texts + profile.numbers:
        if column.nulls == column.rows and column.name not in ("value", "cost"):
            kind = "categorical" if column in profile.texts else "numeric"
            key = f"static_{kind}" if column.per == "customer" else kind
            yield f"the column '{column.name}' is always empty: leave it out of data.{key}"
