from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from seqmarket.data.event_log import EventLog
from seqmarket.data.sources.synthetic import CHANNELS, SyntheticJourneys

Read = Callable[..., EventLog]


@pytest.fixture
def read(read_log: Read) -> Read:
    return lambda **options: read_log(SyntheticJourneys.model_validate(options))


def test_the_same_settings_give_the_same_log(read: Read) -> None:
    first, again = read(n_customers=100), read(n_customers=100)
    assert first.frame.collect().equals(again.frame.collect())
    assert first.fingerprint == again.fingerprint
    other = read(n_customers=100, seed=2)
    assert not first.frame.collect().equals(other.frame.collect())
    assert first.fingerprint != other.fingerprint


def test_nothing_can_be_missing() -> None:
    SyntheticJourneys().check()


def test_what_it_holds(read: Read) -> None:
    log = read()
    report = log.report
    assert report.rows_in == report.kept
    assert report.warnings == ()
    assert report.profile.customers == 500
    assert 8_000 < report.kept < 20_000
    assert set(report.profile.channels) == set(CHANNELS)
    assert log.static is not None
    assert log.static.collect().height == 500
    assert set(report.profile.nulls) == {"value", "device", "pages"}
    purchases = log.frame.filter(event_type="purchase").collect()
    assert purchases["value"].null_count() == 0


def test_the_next_channel_can_be_learnt(read: Read) -> None:
    events = read().frame.collect()
    steps = events.select(
        pl.col("channel"), after=pl.col("channel").shift(-1).over("customer_id")
    ).drop_nulls()
    counts = steps.group_by("channel", "after").len()
    by_markov = counts.group_by("channel").agg(pl.col("len").max())["len"].sum() / len(steps)
    majority = steps["after"].value_counts()["count"].max() / len(steps)  # type: ignore[operator]
    assert by_markov > majority + 0.05


def test_loss_of_customers_can_be_learnt(read: Read) -> None:
    log = read()
    assert log.static is not None
    last = log.frame.group_by("customer_id").agg(pl.col("time").max())
    ends = last.join(log.static, on="customer_id").collect()
    end = log.report.profile.last_time
    silent = ends.with_columns(silent=(pl.lit(end) - pl.col("time")).dt.total_days() > 56)
    share = dict(silent.group_by("segment").agg(pl.col("silent").mean()).iter_rows())
    assert share["loyal"] + 0.2 < share["occasional"] + 0.1 < share["passing"]
    assert np.mean(silent["silent"].to_numpy()) > 0.2


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ValidationError, match="customers"):
        SyntheticJourneys.model_validate({"customers": 3})
    with pytest.raises(ValidationError, match="n_customers"):
        SyntheticJourneys.model_validate({"n_customers": 0})
