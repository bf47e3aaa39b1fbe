"""What is shown of a log: its numbers, without what few customers have in common."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from seqmarket.data.cleaning.rules import RuleCount
from seqmarket.data.quality import LogProfile, QualityReport
from seqmarket.data.quality.column_profile import Category
from seqmarket.data.quality.journeys import JourneyStats
from seqmarket.data.quality.labels import LabelCount, LabelRates
from seqmarket.data.quality.unseen import UnseenCategories, unseen_categories
from seqmarket.data.splits import to_microseconds

START = datetime(2024, 1, 1)
Row = tuple[str, datetime, str, str, float | None]


def small_log() -> list[Row]:
    """Customers 0 to 11 on web on days 0 to 2 (purchases of 10, 20, 30), 0 to 8 on fax on day 9."""
    web = [
        (f"secret-{who}", START + timedelta(days=day), "web", "purchase", 10.0 * (day + 1))
        for who in range(12)
        for day in range(3)
    ]
    fax = [(f"secret-{who}", START + timedelta(days=9), "fax", "view", None) for who in range(9)]
    return [*web, *fax]


@pytest.fixture(scope="module")
def profile(make_report: Callable[..., QualityReport]) -> LogProfile:
    return make_report(small_log()).profile


def test_the_profile(profile: LogProfile) -> None:
    assert (profile.customers, profile.events, profile.purchases) == (12, 45, 36)
    assert profile.first_time == datetime(2024, 1, 1, tzinfo=UTC)
    assert profile.last_time == datetime(2024, 1, 10, tzinfo=UTC)
    assert profile.journey_length == {
        "min": 3, "p25": 3.75, "median": 4, "p75": 4, "p99": 4, "max": 4,
    }  # fmt: skip
    assert profile.lengths == ((1, 1, 0), (2, 3, 3), (4, 7, 9))
    assert profile.largest == ((4, 1),) * 9 + ((3, 1),) * 3
    assert (profile.gap_days["min"], profile.gap_days["max"]) == (1, 7)
    assert profile.gap_days["median"] == pytest.approx(1, rel=1 / 8)
    assert profile.gaps == (0, 0, 0, 0, 0, 24, 9, 0, 0)
    assert profile.ties == 0
    assert profile.full_hours == (45, *[0] * 23)
    assert profile.nulls == {"value": 9}
    (value,) = profile.numbers
    assert (value.quantiles["min"], value.quantiles["max"]) == (10, 30)
    assert value.quantiles["median"] == pytest.approx(20, rel=1 / 8)
    assert value.quantiles["median"].is_integer()
    assert (value.rows, value.nulls, value.zeros, value.negatives) == (45, 9, 0, 0)


def test_small_categories_are_not_told_apart(profile: LogProfile) -> None:
    channel = profile.text("channel")
    assert channel.categories == (Category("web", 36, 12),)
    assert (channel.n_categories, channel.n_others, channel.other_events) == (2, 1, 9)
    assert profile.channels == {"web": 36}
    assert profile.timeline.names == ("web", "others")
    assert profile.timeline.events == (
        (12, 12, 12, 0, 0, 0, 0, 0, 0, 0),
        (0, 0, 0, 0, 0, 0, 0, 0, 0, 9),
    )


def test_only_the_most_frequent_are_listed(make_report: Callable[..., QualityReport]) -> None:
    log = [
        (f"c{who}", START + timedelta(days=who, hours=place), f"ch{place % 40:02d}", "v", None)
        for who in range(10)
        for place in range(50)
    ]
    profile = make_report(log).profile
    assert profile.n_channels == 40
    assert list(profile.channels) == [f"ch{place:02d}" for place in range(20)]
    assert profile.channels["ch00"] == 20
    assert profile.timeline.names == (*(f"ch{place:02d}" for place in range(7)), "others")
    assert sum(map(sum, profile.timeline.events)) == 500


def test_too_many_channels_to_draw(make_report: Callable[..., QualityReport]) -> None:
    log = [(f"c{i % 12}", START + timedelta(days=i), f"ch{i % 101}", "v", None) for i in range(909)]
    timeline = make_report(log).profile.timeline
    assert timeline.names == ("all channels",)
    assert timeline.days_per_bar == 7
    assert timeline.start.weekday() == 0
    assert sum(timeline.events[0]) == 909


def test_a_very_long_log_has_few_bars(make_report: Callable[..., QualityReport]) -> None:
    ends = (datetime(1, 1, 1), datetime(2024, 1, 1))
    timeline = make_report([("c", end, "web", "v", None) for end in ends]).profile.timeline
    assert len(timeline.events[0]) < 1_000


def test_unseen_categories(make_shard: Callable[..., Any]) -> None:
    shard, lexicon = make_shard(small_log())
    stats = JourneyStats.of(shard, lexicon)

    def unseen(day: int) -> tuple[UnseenCategories, ...]:
        end = to_microseconds(datetime(2024, 1, day, tzinfo=UTC))
        return unseen_categories(stats.categories, stats.static, lexicon, end)

    assert unseen(11) == ()
    assert unseen(10) == (
        UnseenCategories("channel", "event", 1, 9, ()),  # of fewer than ten customers: not named
        UnseenCategories("event_type", "event", 1, 9, ()),
    )
    assert UnseenCategories("channel", "event", 2, 45, ("web",)) in unseen(1)
    assert UnseenCategories("segment", "customer", 2, 12, ("a",)) in unseen(1)


def test_it_is_json(make_report: Callable[..., QualityReport]) -> None:
    report = make_report(small_log())
    full = replace(
        report,
        quarantined=1,
        reasons={"'time' is missing": 1},
        quarantine_path=Path("quarantine.parquet"),
        warnings=("look at this",),
        refused={"consent was withdrawn": 2},
        cleaned=(RuleCount("cap", 0, 3, 0),),
        unseen=(UnseenCategories("channel", "event", 1, 9, ("fax",)),),
        labels=(
            LabelRates(
                "buy",
                (LabelCount("train", datetime(2024, 1, 5, tzinfo=UTC), 12, 3),),
                {"train": (datetime(2024, 1, 9, tzinfo=UTC),)},
            ),
        ),
    )
    for one in (report, full):
        plain = json.loads(json.dumps(one.to_dict(), allow_nan=False))
        assert QualityReport.from_dict(plain) == one
        assert "secret" not in json.dumps(plain)
        assert "fax" not in json.dumps(plain["profile"])
