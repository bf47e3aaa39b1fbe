"""Each suspicion is raised by what it is about, and by nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from seqmarket.data.quality.columns import IdentifierPatterns
from seqmarket.data.quality.journeys import JourneyStats
from seqmarket.data.quality.profile import LogProfile
from seqmarket.data.quality.suspicions import busiest_hour, suspicions

START = datetime(2024, 1, 1)
Row = tuple[str, datetime, str, str, float | None]
Profiled = Callable[[list[Row]], LogProfile]


def clean(n_days: int = 84) -> list[Row]:
    """Thirty events a day of 30 customers, most of them in the afternoon, of two channels."""
    random = np.random.default_rng(2)
    hours = np.clip(random.normal(14, 4, (n_days, 30)), 0.1, 23.9)
    return [
        (
            f"secret-{who}",
            START + timedelta(days=day, hours=float(hours[day, who])),
            ("web", "mail")[(day + who) % 2],
            ("purchase", "view")[who % 2],
            round(float(random.lognormal(3, 1)), 2),
        )
        for day in range(n_days)
        for who in range(30)
    ]


@pytest.fixture(scope="module")
def profiled(make_shard: Callable[..., Any]) -> Profiled:
    def profile(rows: list[Row]) -> LogProfile:
        shard, lexicon = make_shard(rows)
        return LogProfile.of(JourneyStats.of(shard, lexicon), lexicon, ("purchase",))

    return profile


def only(found: tuple[str, ...], *words: str) -> None:
    assert len(found) == 1, found
    assert len(found[0].splitlines()) == 1
    assert "secret" not in found[0]
    for word in words:
        assert word in found[0]


def test_a_clean_log(profiled: Profiled) -> None:
    patterns = IdentifierPatterns(100, 0, 1)
    assert suspicions(profiled(clean()), identifiers=patterns, reasons={"is wrong": 900}) == ()


def moved(rows: list[Row], change: Callable[[datetime], datetime]) -> list[Row]:
    return [(who, change(time), *rest) for who, time, *rest in rows]  # type: ignore[misc]


def test_seconds_read_as_milliseconds(profiled: Profiled) -> None:
    epoch = datetime(1970, 1, 1)
    rows = moved(clean(), lambda time: epoch + (time - epoch) / 1_000)
    found = suspicions(profiled(rows))
    assert "1970-01-20" in found[0]
    assert "data.time_format" in found[0]


def test_milliseconds_read_as_seconds(profiled: Profiled) -> None:
    reasons = {"'time' is in the future": 500}
    only(suspicions(profiled(clean()), reasons=reasons), "500 rows", "data.time_format")


def test_missing_times_written_as_zero(profiled: Profiled) -> None:
    zero = ("secret-z", datetime(1970, 1, 1), "web", "view", None)
    only(suspicions(profiled([*clean(), zero])), "1970-01-01", "data.validation.policy")


def test_a_log_of_days(profiled: Profiled) -> None:
    rows = moved(clean(), lambda time: datetime(time.year, time.month, time.day))
    only(suspicions(profiled(rows)), "100%", "log of days", "data.columns.order")


def test_a_log_of_local_days(profiled: Profiled) -> None:
    def midnight(time: datetime) -> datetime:
        return datetime(time.year, time.month, time.day, 22 if time.month < 3 else 23)

    only(suspicions(profiled(moved(clean(), midnight))), "22:00 or 23:00 UTC", "log of days")


def test_a_log_of_hours_is_no_log_of_days(profiled: Profiled) -> None:
    rows = moved(clean(), lambda time: time.replace(minute=0, second=0, microsecond=0))
    assert suspicions(profiled(rows)) == ()


def test_one_source_gives_days(profiled: Profiled) -> None:
    rows = clean()
    rows[::5] = moved(rows[::5], lambda time: datetime(time.year, time.month, time.day))
    only(suspicions(profiled(rows)), "20%", "one source", "data.columns.order")


def test_a_shifted_clock(profiled: Profiled) -> None:
    shifted = profiled(moved(clean(), lambda time: time + timedelta(hours=12)))
    only(suspicions(shifted), "at night", "data.time_zone")
    centre = busiest_hour(shifted)
    assert centre is not None
    assert min(centre, 24 - centre) == pytest.approx(2, abs=0.5)
    assert busiest_hour(profiled(clean())) == pytest.approx(14, abs=0.5)


def test_no_time_of_day_is_preferred(profiled: Profiled) -> None:
    spread = [
        (who, START + timedelta(days=i // 30, hours=i % 24, minutes=7), *rest)
        for i, (who, _, *rest) in enumerate(clean())
    ]
    assert busiest_hour(profiled(spread)) is None  # type: ignore[arg-type]
    assert suspicions(profiled(spread)) == ()  # type: ignore[arg-type]


def test_gaps_in_collection(profiled: Profiled) -> None:
    rows = [row for row in clean() if not 40 <= (row[1] - START).days < 43]
    found = suspicions(profiled(rows))
    only(found, "3 days have no or far fewer", "2024-02-10 to 2024-02-12", "data.observed_until")


def test_one_holiday_is_no_failure(profiled: Profiled) -> None:
    rows = [row for row in clean(120) if (row[1] - START).days != 60]
    assert len(profiled(rows).quiet) == 1
    assert suspicions(profiled(rows)) == ()


def test_bursts(profiled: Profiled) -> None:
    day = [row for row in clean() if (row[1] - START).days == 40]
    again = [row for i in range(6) for row in moved(day, lambda t, i=i: t + timedelta(seconds=i))]
    only(suspicions(profiled([*clean(), *again])), "1 day has far more", "2024-02-10", "cap_rate")


def test_a_customer_with_far_more_events(profiled: Profiled) -> None:
    bot: list[Row] = [
        ("secret-bot", START + timedelta(hours=12 + 24 * (i % 84), seconds=i), "web", "view", None)
        for i in range(900)
    ]
    only(suspicions(profiled([*clean(), *bot])), "1 customer", "900 events", "total=840")


def test_a_customer_with_far_more_events_on_a_day(profiled: Profiled) -> None:
    rows = clean(800)
    bot: list[Row] = [
        ("secret-0", START + timedelta(days=9, hours=12, seconds=i), "web", "view", None)
        for i in range(300)
    ]
    found = suspicions(profiled([*rows, *bot]))
    assert [line for line in found if "on one day" in line and "events_per_day=200" in line]


def test_absent_purchases(make_shard: Callable[..., Any]) -> None:
    shard, lexicon = make_shard(clean())
    profile = LogProfile.of(JourneyStats.of(shard, lexicon), lexicon, ("purchases",))
    found = suspicions(profile)
    only(found, "'purchases'", "data.purchase_event_types", "did you mean 'purchase'?")


def test_an_event_type_of_few_customers_is_not_suggested(make_shard: Callable[..., Any]) -> None:
    few = [(who, time, channel, "rare", v) for who, time, channel, _, v in clean()[:9]]
    shard, lexicon = make_shard(few)
    profile = LogProfile.of(JourneyStats.of(shard, lexicon), lexicon, ("rares",))
    assert "'rare'" not in " ".join(suspicions(profile))


def test_one_channel(profiled: Profiled) -> None:
    rows: list[Row] = [(who, time, "web", kind, v) for who, time, _, kind, v in clean()]
    only(suspicions(profiled(rows)), "same channel", "data.columns.channel")


def test_spellings(profiled: Profiled) -> None:
    rows = [(*row[:2], "Web" if i % 3 else row[2], *row[3:]) for i, row in enumerate(clean())]
    only(suspicions(profiled(rows)), "'Web', 'web'", "merge_spellings")  # type: ignore[arg-type]


def test_cents(profiled: Profiled) -> None:
    rows = [(*row[:4], round(100 * row[4]) + 1_000.0) for row in clean() if row[4]]
    only(suspicions(profiled(rows)), "every value is whole", "cents")  # type: ignore[arg-type]
    loans = [(*row[:4], 100 * round(row[4]) + 1_000.0) for row in clean() if row[4]]
    assert suspicions(profiled(loans)) == ()  # type: ignore[arg-type]


def test_raw_identifiers(profiled: Profiled) -> None:
    mails = IdentifierPatterns(1_000, 640, 0)
    only(suspicions(profiled(clean()), identifiers=mails), "64%", "e-mail", "data.privacy")
    phones = IdentifierPatterns(1_000, 0, 20)
    only(suspicions(profiled(clean()), identifiers=phones), "2%", "phone", "data.privacy")


def test_an_empty_column(make_shard: Callable[..., Any]) -> None:
    shard, lexicon = make_shard(clean())
    shard.numbers["pages"] = np.full(shard.n_events, np.nan)
    shard.numbers["cost"] = np.full(shard.n_events, np.nan)
    profile = LogProfile.of(JourneyStats.of(shard, lexicon), lexicon, ("purchase",))
    only(suspicions(profile), "'pages' is always empty", "data.numeric")


def test_times_are_utc(profiled: Profiled) -> None:
    assert profiled(clean()).first_time.tzinfo == UTC
