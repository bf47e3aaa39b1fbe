"""Times: offsets, clocks that change, units, formats, the edges of the calendar."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import polars as pl
import pytest

UNITS = {"epoch_s": 1, "epoch_ms": 1_000, "epoch_us": 1_000_000}


def at(when: object) -> str:
    """A line with this time."""
    return f"x,{when},web,visit,1"


def since_1970(log, unit: str) -> pl.DataFrame:
    return log.frame(time=log.frame()["time"].dt.epoch("s") * UNITS[unit])


@pytest.mark.parametrize("time_in", ["2024-01-18T10:00:00Z", "2024-01-18 10:00:00+01:00"])
def test_mixed_offsets(log, time_in) -> None:
    """Times with an offset among times without one"""
    log.write(log.csv(at(time_in)))
    log.set_aside()


def test_mixed_offsets_of_files(log) -> None:
    """A file with offsets among files without"""
    frame = log.frame()
    log.write(frame[:40], "a.parquet")
    log.write(frame[40:].with_columns(pl.col("time").dt.replace_time_zone("UTC")), "b.parquet")
    log.set_aside(20, where="b.parquet, row 1", rows=60)


def test_different_offsets(log) -> None:
    """Times with different offsets"""
    local = log.frame()["time"]
    offsets = ["Z", "+02:00", "-0500"] * 20
    log.write(log.frame(time=local.dt.to_string("iso:strict") + pl.Series(offsets)))
    hours = pl.Series([0, -2, 5] * 20) * 3_600_000_000
    expected = (local.dt.epoch("us") + hours).sort()
    assert log.read()["time"].dt.epoch("us").sort().equals(expected, check_names=False)


def test_clocks_go_back(log) -> None:
    """A local time that occurs twice"""
    log.write(log.csv(at("2024-10-27T02:30:00")))
    events = log.read(61, time_zone="Europe/Berlin")
    assert events["time"].max() == datetime(2024, 10, 27, 0, 30, tzinfo=UTC)


def test_clocks_go_forward(log) -> None:
    """A local time that does not occur"""
    log.write(log.csv(at("2024-03-31T02:30:00")))
    log.set_aside(time_zone="Europe/Berlin")
    log.mended(61, time_zone="UTC")


@pytest.mark.parametrize(
    ("unit", "read_as"),
    [("epoch_s", "epoch_ms"), ("epoch_s", "epoch_us"), ("epoch_ms", "epoch_us")],
)
def test_unit_too_fine(log, unit, read_as) -> None:
    """Seconds read as milliseconds, or milliseconds as microseconds"""
    log.write(since_1970(log, unit), "log.parquet")
    log.read(time_format=read_as)
    right = log.mended(time_format=unit)
    assert right["time"].min() == datetime(2024, 1, 1, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("unit", "read_as"),
    [("epoch_ms", "epoch_s"), ("epoch_us", "epoch_s"), ("epoch_us", "epoch_ms")],
)
def test_unit_too_coarse(log, unit, read_as) -> None:
    """Milliseconds read as seconds, or microseconds as milliseconds"""
    log.write(since_1970(log, unit), "log.parquet")
    log.refused("log.parquet, row 1, column 'time'", every_row=True, time_format=read_as)


def test_counts_without_format(log) -> None:
    """Numbers as times, and no format is set"""
    log.write(since_1970(log, "epoch_s"), "log.parquet")
    log.refused("log.parquet")
    log.mended(time_format="epoch_s")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_digits_of_a_date(log, kind) -> None:
    """Dates written as 20240131"""
    days = log.frame()["time"].dt.strftime("%Y%m%d").cast(pl.Int64)
    log.write(log.frame(time=days), f"log.{kind}")
    log.refused(f"log.{kind}", every_row=kind == "csv")
    events = log.mended(time_format="%Y%m%d")
    assert events["time"].max() == datetime(2024, 1, 19, tzinfo=UTC)


def test_spreadsheet_days(log) -> None:
    """Days counted as spreadsheets do"""
    log.write(log.frame(time=[f"{45_292 + i / 7:.6f}" for i in range(60)]))
    log.refused("log.csv, line 2, column 'time'", every_row=True)


def test_spreadsheet_days_as_seconds(log) -> None:
    """Days of a spreadsheet read as seconds"""
    log.write(log.frame(time=[f"{45_292 + i / 7:.6f}" for i in range(60)]))
    log.read(time_format="epoch_s")


@pytest.mark.parametrize(
    "bad", ["18.01.2024 10:00", "18/01/24", "2024-01-18 10:00 PM", "2024-01-18T24:00:00", "soon"]
)
def test_other_formats(log, bad) -> None:
    """A time in another format than the others"""
    log.write(log.csv(at(bad)))
    log.set_aside()


def test_day_first(log) -> None:
    """All times day first"""
    frame = log.frame()
    log.write(frame.with_columns(pl.col("time").dt.strftime("%d.%m.%Y %H:%M:%S")))
    log.refused(every_row=True)
    events = log.mended(time_format="%d.%m.%Y %H:%M:%S")
    assert events["time"].dt.replace_time_zone(None).sort().equals(frame["time"])


def test_month_first_among_day_first(log) -> None:
    """Month first among day first"""
    frame = log.frame().with_columns(pl.col("time").dt.strftime("%d/%m/%Y %H:%M"))
    log.write(frame.write_csv() + at("01/18/2024 10:00") + "\n")
    log.set_aside(time_format="%d/%m/%Y %H:%M")


def test_time_of_day(log) -> None:
    """Times of day without a date"""
    log.write(log.frame(time=[time(i % 24) for i in range(60)]), "log.parquet")
    log.refused("log.parquet")


def test_days_only(log) -> None:
    """Dates without a time"""
    log.write(log.frame().with_columns(pl.col("time").dt.date()), "log.parquet")
    log.read()


@pytest.mark.parametrize("bad", ["2124-01-18", "9999-12-31T23:59:59"])
def test_future(log, bad) -> None:
    """A time in the future"""
    log.write(log.csv(at(bad)))
    log.set_aside()


@pytest.mark.parametrize("bad", ["10000-01-01", "0000-01-01", "2024-02-30", "9" * 30])
def test_no_such_date(log, bad) -> None:
    """A date that does not exist, or lies beyond the year 9999"""
    log.write(log.csv(at(bad)))
    log.set_aside()


@pytest.mark.parametrize("zero", ["1970-01-01", "1900-01-01", "0001-01-01"])
def test_zero(log, zero) -> None:
    """A missing time written as the year 1, 1900 or 1970"""
    log.write(log.csv(at(zero)))
    log.read(61)


@pytest.mark.parametrize("blank", ["", "  "])
def test_no_time(log, blank) -> None:
    """A missing time, as in a line of totals"""
    log.write(log.csv(at(blank)))
    log.set_aside()


def test_one_moment(log) -> None:
    """All events at the same time"""
    log.write(log.frame(time=[datetime(2024, 1, 1, 9)] * 60), "log.parquet")
    log.not_encoded()


def test_one_event(log) -> None:
    """A single event"""
    log.write(log.csv(good=log.lines[:1]))
    log.not_encoded()


def test_after_the_end(log) -> None:
    """An event after the declared end of the observation"""
    log.write(log.csv())
    log.refused("data.observed_until", observed_until="2024-01-10")
    last = log.frame()["time"].max() + timedelta(seconds=1)
    log.mended(observed_until=last.isoformat())
