from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from seqmarket.data.quality import QualityReport, render
from seqmarket.data.settings import ValidationSettings
from seqmarket.data.validation import EventSchema, validate_events


def report_of(
    frame: pl.DataFrame, tmp_path: Path, purchases: tuple[str, ...] = ("purchase",)
) -> QualityReport:
    _, report = validate_events(
        frame,
        EventSchema(purchase_event_types=purchases),
        settings=ValidationSettings(policy="quarantine"),
        quarantine_path=tmp_path / "quarantine.parquet",
    )
    return report


@pytest.fixture
def frame() -> pl.DataFrame:
    """Customer secret-a: days 1, 2, 4; secret-b: day 1; and a row without a customer."""
    return pl.DataFrame(
        {
            "customer_id": ["secret-a", "secret-a", "secret-a", "secret-b", None],
            "time": [datetime(2024, 1, day) for day in (1, 2, 4, 1, 1)],
            "channel": ["mail", "web", "web", "web", "web"],
            "event_type": ["touch", "purchase", "purchase", "visit", "visit"],
            "value": [None, 10.0, 20.0, None, None],
        }
    )


def test_the_profile(frame: pl.DataFrame, tmp_path: Path) -> None:
    profile = report_of(frame, tmp_path).profile
    assert profile.customers == 2
    assert profile.purchases == 2
    assert profile.channels == {"web": 3, "mail": 1}
    assert profile.event_types == {"purchase": 2, "touch": 1, "visit": 1}
    assert profile.first_time == datetime(2024, 1, 1, tzinfo=UTC)
    assert profile.last_time == datetime(2024, 1, 4, tzinfo=UTC)
    assert profile.journey_length["min"] == 1
    assert profile.journey_length["median"] == 2
    assert profile.journey_length["max"] == 3
    assert profile.gap_days["min"] == 1  # from one customer to the next there is no gap
    assert profile.gap_days["median"] == 1.5
    assert profile.gap_days["max"] == 2
    assert profile.ties == 0  # the two customers' events of one time are no tie
    assert profile.nulls == {"value": 2, "cost": 4}


def test_ties_are_counted_and_shown(frame: pl.DataFrame, tmp_path: Path) -> None:
    tied = frame.with_columns(time=pl.lit(datetime(2024, 1, 1)))
    report = report_of(tied, tmp_path)
    assert report.profile.ties == 2  # of the three events of secret-a
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(render(report))
    assert "2 (50.0%)" in console.export_text()
    assert QualityReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report


def test_only_the_most_frequent_are_listed(tmp_path: Path) -> None:
    n = 50
    frame = pl.DataFrame(
        {
            "customer_id": ["a"] * n,
            "time": pl.datetime_range(
                datetime(2024, 1, 1), datetime(2024, 2, 19), "1d", eager=True
            ),
            "channel": [f"c{min(i, 40)}" for i in range(n)],
            "event_type": ["purchase"] * n,
        }
    )
    profile = report_of(frame, tmp_path).profile
    assert profile.n_channels == 41
    assert len(profile.channels) == 20
    assert next(iter(profile.channels.items())) == ("c40", 10)


def test_it_is_json(frame: pl.DataFrame, tmp_path: Path) -> None:
    plain = json.loads(json.dumps(report_of(frame, tmp_path).to_dict()))
    assert plain["rows_in"] == 5
    assert plain["reasons"] == {"'customer_id' is missing": 1}
    assert plain["profile"]["first_time"] == "2024-01-01T00:00:00+00:00"
    assert plain["quarantine_path"].endswith("quarantine.parquet")


def test_it_shows_counts_and_no_customer(frame: pl.DataFrame, tmp_path: Path) -> None:
    frame = frame.with_columns(pl.col("channel").replace("mail", "[mail]"))
    report = report_of(frame, tmp_path, purchases=("purchase", "visits"))
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(render(report))
    shown = console.export_text()
    assert "1 x 'customer_id' is missing" in shown
    assert "web 3, [mail] 1" in shown
    assert "quarantine.parquet" in shown
    assert "did you mean 'visit'?" in shown
    assert "secret" not in shown + json.dumps(report.to_dict())


def test_nothing_suspicious(frame: pl.DataFrame, tmp_path: Path) -> None:
    assert report_of(frame, tmp_path).warnings == ()


def test_suspicions(frame: pl.DataFrame, tmp_path: Path) -> None:
    seconds_as_milliseconds = frame.with_columns(
        time=(pl.col("time").dt.epoch("s")).cast(pl.Datetime("ms")), channel=pl.lit("web")
    )
    report = report_of(seconds_as_milliseconds, tmp_path, purchases=("buy",))
    warnings = report.warnings
    assert len(warnings) == 3
    assert json.loads(json.dumps(report.to_dict()))["warnings"] == list(warnings)
    assert all(len(warning.splitlines()) == 1 and "secret" not in warning for warning in warnings)
    assert "1970" in warnings[0]
    assert "'buy'" in warnings[1]
    assert "same channel" in warnings[2]
