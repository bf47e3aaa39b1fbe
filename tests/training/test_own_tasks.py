"""A run whose tasks are the user's own: trained, reported, evaluated again, and scoring."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs
import pytest

from seqmarket.data.event_log import EventLog
from seqmarket.schema import QUANTILES
from seqmarket.training.checkpoint import load_trained
from seqmarket.training.instantiate import build
from seqmarket.training.scoring import evaluate_run, score_customers

AS_OF = datetime(2024, 4, 1, tzinfo=UTC)
TASKS = [
    "task=custom",
    "task.custom.occurrence.channel=[email,direct]",
    "task.custom.occurrence.window=14d",
    "+task.custom.silent={channel: [email, direct], outcome: absent, window: 21d}",
    "+task.custom.worth={purchase: true, outcome: value, window: 14d, active_by: purchase}",
    "+task.next_event_type={}",
    "+task.time_to_next={}",
]
NAMES = ["next_event_type", "time_to_next", "occurrence", "silent", "worth"]


@pytest.fixture(scope="module", params=["hazard", "logistic"])
def own(request: pytest.FixtureRequest, trained: Callable[..., Any]) -> Any:
    return trained("model=gru", *TASKS, f"training.window_heads={request.param}")


@pytest.fixture(scope="module")
def artifacts(own: Any) -> Any:
    return own.folder / "tracking" / "artifacts"


def test_every_task_is_measured_by_what_fits_its_kind(own: Any) -> None:
    measured = {(name.split("/")[1], name.split("/")[2]) for name in own.metrics}
    assert [task for task in NAMES if any(name == task for name, _ in measured)] == NAMES
    for task, metric in (
        ("next_event_type", "accuracy"),
        ("time_to_next", "pinball_loss"),
        ("occurrence", "auroc"),
        ("silent", "calibration_error"),
        ("worth", "gini"),
    ):
        assert (task, metric) in measured
        assert np.isfinite(own.metrics[f"test/{task}/{metric}"])


def test_it_is_trained_on_one_loss_per_head(own: Any) -> None:
    with (own.folder / "tracking" / "metrics.jsonl").open() as lines:
        logged = {json.loads(line)["name"] for line in lines}
    heads = {name.split("/")[1] for name in logged if name.startswith("train/")} - {"loss"}
    windows = {"time_to_occurrence_or_silent"}
    if load_trained(own.model_file).config.training.window_heads == "logistic":
        windows = {"occurrence", "silent"}
    assert heads == {"next_event_type", "time_to_next", "worth", *windows}
    assert {name.split("/")[1] for name in logged if name.startswith("validation/")} == {
        "loss",
        *NAMES,
    }


def test_the_same_metrics_come_out_again(own: Any) -> None:
    results = evaluate_run(own.model_file, "test", with_baselines=False)
    assert [result.task for result in results] == NAMES
    for result in results:
        for metric, value in result.models["gru"].items():
            assert value.estimate == own.metrics[f"test/{result.task}/{metric}"]


def test_card_and_figures_tell_of_every_task(own: Any, artifacts: Any) -> None:
    card = (artifacts / "model_card.md").read_text()
    for said in (
        "**occurrence**: an event through email or direct in the 14 days after the prediction time",
        "**silent**: no event through email or direct in the 21 days",
        "**worth**: the summed value of every purchase in the 14 days",
        "**time_to_next**: the days until the customer's next event",
        "| model | MAE | Gini | RMSE | total error |",
        "| model | MAE | pinball | coverage error |",
    ):
        assert said in card
    drawn = {path.stem for path in (artifacts / "plots").iterdir()}
    assert {
        "learning_curves",
        "metric_comparison",
        "next_event_type_confusion",
        "time_to_next_coverage",
        "occurrence_calibration",
        "silent_lift",
        "worth_groups",
    } <= drawn


def test_the_table_of_predictions_has_every_kind(own: Any) -> None:
    table = pl.read_parquet(own.folder / "predictions.parquet").filter(model="gru")
    assert table["task"].unique(maintain_order=True).to_list() == NAMES
    for task, width in (("worth", 2), ("time_to_next", len(QUANTILES))):
        rows = table.filter(task=task)
        assert rows["quantities"].list.len().unique().to_list() == [width]
        assert rows["label"].cast(pl.Float64).is_between(0, 1e6).all()
        others = rows.select("probability", "predicted", "rank")
        assert others.null_count().row(0) == (len(rows),) * 3
    types = table.filter(task="next_event_type")
    assert set(types["label"]) == {"purchase", "touch"}
    assert set(types["rank"]) <= {1, 2}
    assert table.filter(pl.col("quantities").is_null())["probability"].is_between(0, 1).all()


@pytest.fixture(scope="module")
def log(own: Any, read_log: Callable[..., EventLog]) -> EventLog:
    return read_log(build(load_trained(own.model_file).config.data.source))


def test_scores_have_the_columns_of_every_kind(own: Any, log: EventLog) -> None:
    table = score_customers(load_trained(own.model_file), log, AS_OF).table
    assert table.columns[4:] == [
        "next_event_type",
        "next_event_type_probability_touch",
        "next_event_type_probability_purchase",
        *(f"time_to_next_days_{round(100 * share)}" for share in QUANTILES),
        "occurrence_probability",
        "occurrence_asked",
        "silent_probability",
        "silent_asked",
        "worth_expected",
        "worth_median",
        "worth_asked",
    ]
    assert table.select(cs.contains("_probability")).to_numpy().min() > 0
    assert (table["worth_expected"] > 0).all()
    assert set(table["next_event_type"]) <= {"purchase", "touch"}


def test_whom_each_task_asks_about(own: Any, log: EventLog) -> None:
    table = score_customers(load_trained(own.model_file), log, AS_OF).table
    since = AS_OF - timedelta(days=56)
    recent = log.frame.filter(pl.col("time").is_between(since, AS_OF, closed="right")).collect()
    for task, events in (
        ("occurrence", recent),
        ("worth", recent.filter(event_type="purchase")),
    ):
        asked = table.filter(f"{task}_asked")["customer_id"]
        assert asked.to_list() == sorted(events["customer_id"].unique())
    assert table["occurrence_asked"].sum() > table["worth_asked"].sum() > 0


@pytest.mark.parametrize("own", ["hazard"], indirect=True)
def test_one_hazard_never_contradicts_itself(own: Any, log: EventLog) -> None:
    """Something in 21 days is likelier than in 14; calibration of either task may move that."""
    raw = replace(load_trained(own.model_file), calibrations={})
    table = score_customers(raw, log, AS_OF).table
    assert (1.0 - table["silent_probability"] > table["occurrence_probability"]).all()
