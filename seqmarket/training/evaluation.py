"""Every model on the same rows: metrics with intervals, paired differences, prediction table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.data.splits import to_datetime
from seqmarket.metrics.amounts import AmountScores, DurationScores
from seqmarket.metrics.classification import BinaryScores
from seqmarket.metrics.ranking import CategoricalScores
from seqmarket.metrics.resampling import Scores, bootstrap_metrics
from seqmarket.nn.per_task import next_rule
from seqmarket.schema import LabelTable, SequenceSpec, TaskKind
from seqmarket.training.predictors import Predictions, Tables
from seqmarket.training.results import TaskResult

SCORES: Mapping[TaskKind, Callable[[NDArray[Any], NDArray[Any]], Scores]] = {
    "binary": BinaryScores,
    "categorical": CategoricalScores,
    "amount": AmountScores,
    "duration": DurationScores,
}


def evaluate(
    predictions: Mapping[str, Predictions],
    tables: Tables,
    *,
    n_resamples: int,
    seed: int,
    alone: str | None = None,
) -> list[TaskResult]:
    """Compares models task by task.

    Args:
        predictions: By model, the run's own model first.
        tables: The rows, by task.
        n_resamples: Resamples of the customers for the intervals.
        seed: Seed of the resampling.
        alone: The model that is one member of the own model, an ensemble, and no baseline.

    Returns:
        One result per task that has rows and that the run's own model answers.
    """
    own = next(iter(predictions))
    results = []
    for name, table in tables.items():
        if len(table) == 0 or name not in predictions[own]:
            continue
        scores = {
            model: _scores(table, by_task[name])
            for model, by_task in predictions.items()
            if name in by_task
        }
        drawn = bootstrap_metrics(table.customer, scores, n_resamples=n_resamples, seed=seed)
        results.append(
            TaskResult(
                task=name,
                kind=table.kind,
                n_rows=len(table),
                n_customers=len(np.unique(table.customer)),
                base_rate=float(table.label.mean()) if table.kind == "binary" else None,
                alone=alone,
                models={model: drawn.intervals(model) for model in scores},
                differences={o: drawn.difference(own, o) for o in scores if o != own},
                period=(
                    to_datetime(int(table.time.min())).date(),
                    to_datetime(int(table.time.max())).date(),
                ),
            )
        )
    return results


def _scores(table: LabelTable, probability: NDArray[np.float64]) -> Scores:
    return SCORES[table.kind](table.label, probability)


def prediction_table(
    predictions: Mapping[str, Predictions], tables: Tables, spec: SequenceSpec
) -> pl.DataFrame:
    """What each model said about each row, for later comparisons.

    Columns: `task`, `customer` (the row of the customer in the store, not an identifier),
    `prediction_time` (UTC), `label`, `model`, `probability` (of label 1, or of the true class),
    `predicted`, `rank` and `ties` (categorical tasks: the likeliest class, the true one's place,
    and how many classes are as likely as the true one, itself included),
    `quantities` (an amount: expected value and median; a duration: its quantiles, in days).
    """
    frames = []
    for task, table in tables.items():
        for model, by_task in predictions.items():
            if task in by_task:
                frames.append(_predictions_of(model, table, by_task[task], spec))
    return pl.concat(frames) if frames else pl.DataFrame()


def _predictions_of(
    model: str, table: LabelTable, predicted: NDArray[np.float64], spec: SequenceSpec
) -> pl.DataFrame:
    n = len(table)
    columns: dict[str, Any] = {
        "task": pl.Series([table.task], dtype=pl.String).new_from_index(0, n),
        "customer": table.customer,
        "prediction_time": pl.Series(table.time).cast(pl.Datetime("us", "UTC")),
        "model": pl.Series([model], dtype=pl.String).new_from_index(0, n),
    }
    columns |= {
        "label": pl.Series(table.label).cast(pl.String),
        "probability": pl.Series([None], dtype=pl.Float64).new_from_index(0, n),
        "predicted": pl.Series([None], dtype=pl.String).new_from_index(0, n),
        "rank": pl.Series([None], dtype=pl.Int32).new_from_index(0, n),
        "ties": pl.Series([None], dtype=pl.Int32).new_from_index(0, n),
        "quantities": pl.Series([None], dtype=pl.List(pl.Float64)).new_from_index(0, n),
    }
    if table.kind == "binary":
        columns["probability"] = predicted
    elif table.kind == "categorical":
        names = np.array(next_rule(table).classes(spec))
        true = predicted[np.arange(n), table.label]
        columns |= {
            "label": names[table.label],
            "probability": true,
            "predicted": names[predicted.argmax(axis=1)],
            "rank": pl.Series((predicted > true[:, None]).sum(axis=1) + 1, dtype=pl.Int32),
            "ties": pl.Series((predicted == true[:, None]).sum(axis=1), dtype=pl.Int32),
        }
    else:
        columns["quantities"] = pl.Series(predicted).cast(pl.List(pl.Float64))
    return pl.DataFrame(columns)
