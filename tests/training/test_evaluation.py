"""Models are compared on the same rows, and the table of predictions says what each one said."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import pytest

from seqmarket.data.splits import to_microseconds
from seqmarket.metrics.classification import binary_metrics
from seqmarket.metrics.ranking import categorical_metrics
from seqmarket.metrics.resampling import bootstrap_metrics
from seqmarket.schema import (
    CategoricalFeature,
    LabelTable,
    NumericFeature,
    SequenceSpec,
    TaskKind,
)
from seqmarket.training import evaluation
from seqmarket.training.evaluation import evaluate, prediction_table

SPEC = SequenceSpec(
    channel=CategoricalFeature("channel", ("email", "store", "web")),
    event_type=CategoricalFeature("event_type", ("purchase", "touch")),
    categorical=(),
    numeric=(NumericFeature("value", 0.0, 1.0, has_missing=True),),
    static_categorical=(),
    static_numeric=(),
    purchase_event_types=("purchase",),
    max_length=32,
    time_scale=2.0,
)
START = to_microseconds(datetime(2026, 1, 1, 12, tzinfo=UTC))
DAY = 86_400_000_000


def table_of(task: str, kind: TaskKind, label: list[int]) -> LabelTable:
    n = len(label)
    customer = np.arange(n, dtype=np.int64) // 2  # two rows each
    rows = np.arange(n, dtype=np.int64)
    return LabelTable(task, kind, customer, rows, START + rows * DAY, np.array(label))


@pytest.fixture
def tables() -> dict[str, LabelTable]:
    numbers = np.random.default_rng(0)
    return {
        "next_channel": table_of("next_channel", "categorical", [2, 0, 1, 1, 2, 0]),
        "churn": table_of("churn", "binary", numbers.integers(2, size=60).tolist()),
    }


@pytest.fixture
def predictions(tables: dict[str, LabelTable]) -> dict[str, dict[str, np.ndarray]]:
    numbers = np.random.default_rng(1)
    label = tables["churn"].label
    shares = numbers.dirichlet(np.ones(3), size=6)
    good = np.clip(0.3 + 0.4 * label + numbers.normal(0, 0.15, 60), 0.01, 0.99)
    return {
        "own": {"next_channel": shares, "churn": good},
        "guess": {"churn": numbers.uniform(0.01, 0.99, 60)},
        "constant": {"next_channel": np.full((6, 3), 1 / 3), "churn": np.full(60, 0.5)},
    }


def test_every_model_is_measured_on_the_rows_of_the_table(tables, predictions) -> None:
    results = evaluate(predictions, tables, n_resamples=50, seed=1)
    assert [result.task for result in results] == ["next_channel", "churn"]
    channel, churn = results
    assert list(channel.models) == ["own", "constant"]  # only those that answer the task
    assert list(churn.models) == ["own", "guess", "constant"]
    for result, measure in ((channel, categorical_metrics), (churn, binary_metrics)):
        label = tables[result.task].label
        assert result.n_rows == len(label)
        assert result.n_customers == len(label) // 2
        for model, values in result.models.items():
            expected = measure(label, predictions[model][result.task])
            assert {name: value.estimate for name, value in values.items()} == expected
    assert churn.base_rate == tables["churn"].label.mean()
    assert channel.base_rate is None
    assert channel.period == (date(2026, 1, 1), date(2026, 1, 6))


def test_a_model_with_other_rows_is_refused(tables, predictions) -> None:
    predictions["guess"]["churn"] = predictions["guess"]["churn"][:-1]
    with pytest.raises((ValueError, IndexError)):
        evaluate(predictions, tables, n_resamples=2, seed=1)


def differences_are_paired(tables, predictions) -> None:
    """A model that says the same is no better or worse in any resample."""
    predictions["twin"] = {"churn": predictions["own"]["churn"].copy()}
    churn = evaluate(predictions, tables, n_resamples=50, seed=1)[1]
    assert set(churn.differences) == {"guess", "constant", "twin"}
    for value in churn.differences["twin"].values():
        assert (value.estimate, value.low, value.high) == (0, 0, 0)


def test_differences_are_paired(tables, predictions) -> None:
    differences_are_paired(tables, predictions)
    churn = evaluate(predictions, tables, n_resamples=200, seed=1)[1]
    own, guess = churn.models["own"]["auroc"], churn.models["guess"]["auroc"]
    difference = churn.differences["guess"]["auroc"]
    assert difference.estimate == pytest.approx(own.estimate - guess.estimate)
    assert 0 < difference.low < difference.estimate < difference.high


def test_intervals_drawn_apart_are_noticed(tables, predictions, monkeypatch) -> None:
    """The mutant: each model is measured on resamples of its own."""

    def apart(customer, scores, *, n_resamples, seed):
        drawn = bootstrap_metrics(customer, scores, n_resamples=n_resamples, seed=seed)
        for i, model in enumerate(scores):
            alone = {model: scores[model]}
            again = bootstrap_metrics(customer, alone, n_resamples=n_resamples, seed=seed + i)
            drawn.draws[model][:] = again.draws[model]
        return drawn

    monkeypatch.setattr(evaluation, "bootstrap_metrics", apart)
    with pytest.raises(AssertionError):
        differences_are_paired(tables, predictions)


def test_the_seed_decides_the_intervals(tables, predictions) -> None:
    first = evaluate(predictions, tables, n_resamples=20, seed=1)
    assert first == evaluate(predictions, tables, n_resamples=20, seed=1)
    assert first != evaluate(predictions, tables, n_resamples=20, seed=2)


def test_tasks_without_rows_or_answers_are_left_out(tables, predictions) -> None:
    del predictions["own"]["next_channel"]
    assert [r.task for r in evaluate(predictions, tables, n_resamples=2, seed=1)] == ["churn"]
    tables["churn"] = tables["churn"].take(np.empty(0, dtype=np.int64))
    assert evaluate(predictions, tables, n_resamples=2, seed=1) == []


COLUMNS = {
    "task": pl.String,
    "customer": pl.Int64,
    "prediction_time": pl.Datetime("us", "UTC"),
    "model": pl.String,
    "label": pl.String,
    "probability": pl.Float64,
    "predicted": pl.String,
    "rank": pl.Int32,
    "ties": pl.Int32,
    "quantities": pl.List(pl.Float64),
}


def test_the_prediction_table_holds_no_identifier(tables, predictions) -> None:
    frame = prediction_table(predictions, tables, SPEC)
    assert dict(frame.schema) == COLUMNS
    assert frame.height == 2 * 6 + 3 * 60


def test_binary_rows_of_the_prediction_table(tables, predictions) -> None:
    frame = prediction_table(predictions, tables, SPEC)
    rows = frame.filter(task="churn", model="guess")
    churn = tables["churn"]
    assert rows["probability"].to_list() == predictions["guess"]["churn"].tolist()
    assert rows["label"].to_list() == [str(label) for label in churn.label]
    assert rows["customer"].to_list() == churn.customer.tolist()
    assert rows["prediction_time"].to_physical().to_list() == churn.time.tolist()
    assert rows["prediction_time"][0] == datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert rows["predicted"].null_count() == rows["rank"].null_count() == 60


def test_categorical_rows_of_the_prediction_table(tables, predictions) -> None:
    predictions["own"]["next_channel"] = np.array(
        [[0.2, 0.3, 0.5], [0.1, 0.6, 0.3], [0.2, 0.7, 0.1], *[[0.5, 0.2, 0.3]] * 3]
    )
    frame = prediction_table(predictions, tables, SPEC).filter(task="next_channel")
    rows = frame.filter(model="own")
    assert rows["label"].to_list() == ["web", "email", "store", "store", "web", "email"]
    assert rows["probability"].to_list() == [0.5, 0.1, 0.7, 0.2, 0.3, 0.5]
    assert rows["predicted"].to_list() == ["web", "store", "store", "email", "email", "email"]
    assert rows["rank"].to_list() == [1, 3, 1, 3, 2, 1]
    assert set(frame["model"]) == {"own", "constant"}


def test_amounts_and_durations_of_the_prediction_table() -> None:
    value = table_of("value", "amount", [0, 12])
    days = table_of("time_to_next", "duration", [1, 3])
    quantiles = np.arange(1.0, 19.0).reshape(2, 9)
    answers = {"own": {"value": np.array([[3.0, 0.0], [9.0, 8.0]]), "time_to_next": quantiles}}
    frame = prediction_table(answers, {"value": value, "time_to_next": days}, SPEC)
    assert dict(frame.schema) == COLUMNS
    assert frame["quantities"].to_list() == [[3.0, 0.0], [9.0, 8.0], *quantiles.tolist()]
    assert frame["label"].to_list() == ["0", "12", "1", "3"]
    assert frame["probability"].null_count() == 4


def test_no_predictions_no_rows(tables) -> None:
    assert prediction_table({"own": {}}, tables, SPEC).is_empty()
