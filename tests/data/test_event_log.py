from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest

from seqmarket.data.event_log import EventLog
from seqmarket.data.log_settings import LogSettings
from seqmarket.data.prepare import Workshop, prepare_log
from seqmarket.data.raw_log import RawLog
from seqmarket.data.reading import RawPart
from seqmarket.data.settings import ValidationSettings
from seqmarket.data.validation import EventSchema
from seqmarket.errors import SeqmarketError
from seqmarket.schema import EVENT_COLUMNS

PLAIN = EventSchema()

Rows = Callable[..., pl.DataFrame]


class InMemory:
    """A source of one frame."""

    name = "log"

    def __init__(self, frame: pl.DataFrame, schema: EventSchema, **options: Any) -> None:
        self._raw = RawLog((RawPart(frame.lazy(), "log"),), schema, "log", "0" * 64, **options)

    def check(self) -> None: ...

    def fingerprint(self) -> str:
        return self._raw.fingerprint

    def family(self) -> None: ...

    def open(self) -> RawLog:
        return self._raw


def log_of(
    frame: pl.DataFrame, folder: Path, schema: EventSchema = PLAIN, **options: Any
) -> EventLog:
    """The log of these rows; options are those of `ValidationSettings` and `RawLog`."""
    known = ValidationSettings.model_fields.keys() & options.keys()
    validation = ValidationSettings(**{name: options.pop(name) for name in known})
    source = InMemory(frame, schema, **options)
    return prepare_log(source, LogSettings(validation=validation), Workshop(folder), "training")


def broken_log(raw: Rows) -> pl.DataFrame:
    """Twelve rows: five break a rule, two repeat an earlier one, five are fine."""
    good = raw(5)
    repeated = good[[0, 3]]
    bad = raw(
        5,
        customer_id=[None, " ", "b", "b", "b"],
        time=["2024-01-01", "2024-01-02", "?", "2024-01-04", "2024-01-05"],
        value=["1", "2", "3", "-4", "inf"],
    )
    return pl.concat([good, bad, repeated])[[5, 0, 1, 6, 2, 10, 7, 3, 4, 8, 11, 9]]


@pytest.mark.parametrize("policy", ["quarantine", "drop"])
@pytest.mark.parametrize("duplicates", ["drop", "keep"])
def test_every_row_is_accounted_for(
    raw: Rows, policy: str, duplicates: str, tmp_path: Path
) -> None:
    log = log_of(broken_log(raw), tmp_path, policy=policy, duplicates=duplicates)
    report = log.report
    aside = report.quarantined + report.dropped
    assert report.rows_in == 12
    assert report.kept + aside + report.duplicates == report.rows_in
    assert report.kept == len(log.frame.collect()) == (5 if duplicates == "drop" else 7)
    assert aside == sum(report.reasons.values()) == 5
    assert report.reasons["'customer_id' is missing"] == 2
    assert report.quarantined == (5 if policy == "quarantine" else 0)
    if policy == "quarantine":
        assert report.quarantine_path is not None
        assert len(pl.read_parquet(report.quarantine_path)) == 5
    else:
        assert report.quarantine_path is None


def test_a_repeated_row_can_be_an_error(raw: Rows, tmp_path: Path) -> None:
    frame = pl.concat([raw(3), raw(3)[[1]]])
    with pytest.raises(SeqmarketError, match=r"repeats another one(.|\n)*row [24]"):
        log_of(frame, tmp_path, duplicates="error")
    different = frame.with_columns(page=pl.Series(["a", "b", "c", "d"]))
    log = log_of(different, tmp_path, EventSchema(categorical=("page",)), duplicates="error")
    assert log.report.kept == 4


@pytest.mark.parametrize("ids", [[], [None, ""]])
def test_an_empty_log_is_an_error(raw: Rows, ids: list[str | None], tmp_path: Path) -> None:
    with pytest.raises(SeqmarketError, match="the log holds no event"):
        log_of(raw(len(ids), customer_id=ids), tmp_path, policy="drop")


def shuffled_ties(raw: Rows, n: int = 2_000) -> pl.DataFrame:
    """Events of three customers at five moments; `page` tells their position."""
    return raw(
        n,
        customer_id=[f"c{i * 7 % 3}" for i in range(n)],
        time=[f"2024-01-0{i * 11 % 5 + 1}" for i in range(n)],
        page=[str(i) for i in range(n)],
    )


def pages(log: EventLog) -> list[tuple[object, ...]]:
    events = log.frame.collect()
    return sorted(events.select("customer_id", "time", "page").rows(), key=lambda row: row[:2])


@pytest.mark.parametrize("ties", ["content", "position"])
def test_what_orders_ties(raw: Rows, ties: Literal["content", "position"], tmp_path: Path) -> None:
    schema = EventSchema(categorical=("page",))
    found = pages(log_of(shuffled_ties(raw), tmp_path, schema, ties=ties))
    number = (lambda page: page) if ties == "content" else int
    assert found == sorted(found, key=lambda row: (*row[:2], number(row[2])))
    backwards = pages(log_of(shuffled_ties(raw).reverse(), tmp_path / "other", schema, ties=ties))
    assert (backwards == found) == (ties == "content")


def test_a_declared_order_decides_before_content(raw: Rows, tmp_path: Path) -> None:
    frame = shuffled_ties(raw).with_columns(order=-pl.col("page").cast(pl.Int64))
    schema = EventSchema(categorical=("page",), order=True)
    log = log_of(frame, tmp_path, schema)
    found = pages(log)
    assert found == sorted(found, key=lambda row: (*row[:2], -int(row[2])))
    assert log.numeric == ()


def test_static_features_are_those_of_the_first_event(raw: Rows, tmp_path: Path) -> None:
    frame = raw(
        customer_id=["a", "b", "a", "b"],
        time=["2024-01-02", "2024-01-01", "2024-01-01", "2024-01-02"],
        plan=["late", "x", "early", "x"],
        age=["50", "", "49", "30"],
    )
    schema = EventSchema(static_categorical=("plan",), static_numeric=("age",))
    log = log_of(frame, tmp_path, schema)
    assert log.static is not None
    assert sorted(log.static.collect().rows()) == [("a", "early", 49.0), ("b", "x", None)]
    assert log.frame.collect_schema().names() == list(EVENT_COLUMNS)
    assert any("'plan'" in w and "changes for <10 customers" in w for w in log.report.warnings)


def test_a_table_of_customers_is_cut_to_the_log(raw: Rows, tmp_path: Path) -> None:
    customers = pl.DataFrame({"customer_id": ["z", "b"], "plan": ["p", "q"]})
    frame = raw(customer_id=["b", "a", "b", "a"])
    log = log_of(frame, tmp_path, EventSchema(static_categorical=("plan",)), customers=customers)
    assert log.static is not None
    assert sorted(log.static.collect().rows()) == [("a", None), ("b", "q")]


def test_the_end_of_the_observation(raw: Rows, tmp_path: Path) -> None:
    last = datetime(2024, 1, 4, 10, tzinfo=UTC)
    assert log_of(raw(), tmp_path).observed_until == last + timedelta(microseconds=1)
    later = last + timedelta(days=3)
    assert log_of(raw(), tmp_path / "later", observed_until=later).observed_until == later
    with pytest.raises(SeqmarketError, match="events lie at or after"):
        log_of(raw(), tmp_path / "last", observed_until=last)
