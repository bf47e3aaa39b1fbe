"""What a run leaves behind: final metrics, tables, plots, model card and the model itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from seqmarket.data.batch import collate, plan_windows
from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.data.sealed import write_sealed
from seqmarket.data.splits import to_datetime
from seqmarket.data.store import SequenceStore
from seqmarket.schema import MICROSECONDS_PER_DAY, LabelTable, TaskKind
from seqmarket.training import plots
from seqmarket.training.asked import ROWS, TERMS, row_table, terms
from seqmarket.training.config import RunConfig
from seqmarket.training.evaluation import SCORES, prediction_table
from seqmarket.training.fit import Fitted
from seqmarket.training.model_card import (
    CalibrationFacts,
    CardFacts,
    TaskDefinition,
    TrainingCost,
    model_card,
)
from seqmarket.training.predictors import (
    CalibratedPredictor,
    Predictions,
    Predictor,
    Tables,
    among_scored,
)
from seqmarket.training.results import TaskResult
from seqmarket.training.summary import to_markdown, to_rows
from seqmarket.training.tasks import Task
from seqmarket.training.tracking.environment import environment_tags, peak_memory
from seqmarket.training.tracking.tracked_run import TrackedRun


@dataclass(frozen=True)
class RunFacts:
    """A finished run, before it is reported.

    Attributes:
        name: Name of the run.
        config: Its configuration.
        data: The journeys.
        tasks: The tasks.
        tables: The test rows.
        predictions: Test predictions by model, the run's own model first.
        results: Test metrics.
        predictor: The run's own model.
        fitted: The outcome of its fit; None for a baseline.
        seconds: Wall time of the fit.
        seconds_of_baselines: The same of each baseline.
        overrides: What the user changed on the command line.
        threads: CPU threads.
        model_file: The final model.
        history: (epoch, value) pairs of each metric that was logged while training.
    """

    name: str
    config: RunConfig
    data: JourneyDataModule
    tasks: Mapping[str, Task]
    tables: Tables
    predictions: Mapping[str, Predictions]
    results: list[TaskResult]
    predictor: Predictor
    fitted: Fitted | None
    seconds: float
    seconds_of_baselines: Mapping[str, float]
    overrides: tuple[str, ...]
    threads: int
    model_file: Path
    history: Mapping[str, list[tuple[int, float]]]

    @property
    def store(self) -> SequenceStore:
        """The encoded log."""
        return self.data.store

    @property
    def own(self) -> str:
        """Name of the run's own model."""
        return next(iter(self.predictions))


def report_run(tracked: TrackedRun, facts: RunFacts) -> dict[str, float]:
    """Records everything; returns the own model's metrics by ``test/<task>/<metric>``."""
    metrics = {
        f"test/{result.task}/{metric}": value.estimate
        for result in facts.results
        for metric, value in result.models[facts.own].items()
    }
    tracked.log_metrics(metrics | _baseline_metrics(facts) | _cost_metrics(facts))
    tracked.log_text(json.dumps(to_rows(facts.results), indent=1), "results/metrics.json")
    tracked.log_text(to_markdown(facts.results), "results/metrics.md")
    _log_predictions(tracked, facts)
    _log_plots(tracked, facts)
    tracked.log_text(model_card(_card_facts(facts)), "model_card.md")
    tracked.log_artifact(facts.model_file, "checkpoints")
    return metrics


def _baseline_metrics(facts: RunFacts) -> dict[str, float]:
    return {
        f"baseline/{model}/{result.task}/{metric}": value.estimate
        for result in facts.results
        for model, values in result.models.items()
        for metric, value in values.items()
        if model != facts.own
    }


def _cost_metrics(facts: RunFacts) -> dict[str, float]:
    costs = {"cost/fit_seconds": facts.seconds, "cost/peak_memory_mib": peak_memory()}
    for model, seconds in facts.seconds_of_baselines.items():
        costs[f"baseline/{model}/cost/fit_seconds"] = seconds
    if facts.fitted is not None:
        costs["cost/events_per_second"] = facts.fitted.outcome.events_per_second
        costs["cost/parameters"] = _n_parameters(facts.fitted)
        costs["cost/epochs"] = facts.fitted.outcome.epochs
    return costs


def _log_predictions(tracked: TrackedRun, facts: RunFacts) -> None:
    store = facts.store
    tables = {
        "predictions.parquet": prediction_table(facts.predictions, facts.tables, store.spec),
        ROWS: row_table(facts.tables, store.events, store.spec),
    }
    for name, table in tables.items():
        path = facts.model_file.parent.parent / name
        write_sealed(path, table.write_parquet)
        tracked.log_artifact(path, "results")
    agreed = terms(store, facts.config.data, facts.tasks)
    tracked.log_text(json.dumps(agreed, indent=1), f"results/{TERMS}")


def _log_plots(tracked: TrackedRun, facts: RunFacts) -> None:
    if facts.history:
        tracked.log_figure(plots.learning_curves(facts.history), "plots/learning_curves.png")
    tracked.log_figure(plots.metric_comparison(facts.results), "plots/metric_comparison.png")
    for result in facts.results:
        task, label = result.task, facts.tables[result.task].label
        scores = {model: by[task] for model, by in facts.predictions.items() if task in by}
        own = scores[facts.own]
        if result.kind == "binary":
            figures = {
                "roc": plots.roc_curves(label, scores, task, facts.own),
                "precision_recall": plots.precision_recall_curves(label, scores, task, facts.own),
                "calibration": plots.calibration_curves(label, scores, task, facts.own),
                "lift": plots.lift_curve(label, scores, task, facts.own),
                "scores": plots.score_distribution(label, own, task),
            }
        elif result.kind == "categorical":
            names = facts.tasks[task].classes(facts.store.spec)
            predicted = own.argmax(axis=1)
            figures = {"confusion": plots.confusion_matrix(label, predicted, names, task)}
        elif result.kind == "amount":
            figures = {"groups": plots.amounts_by_group(label, scores, task, facts.own)}
        else:
            figures = {"coverage": plots.quantile_coverage(label, scores, task, facts.own)}
        for kind, figure in figures.items():
            tracked.log_figure(figure, f"plots/{task}_{kind}.png")
    if facts.fitted is not None:
        _log_attention(tracked, facts, facts.fitted)


def _log_attention(tracked: TrackedRun, facts: RunFacts, fitted: Fitted) -> None:
    """The attention over one journey of middling length, where the encoder has any."""
    # A task asked at calendar cutoffs has a journey with some silence at its end.
    table = list(facts.tables.values())[-1]
    events, spec = facts.store.events, facts.store.spec
    length = table.event - events.offsets[table.customer]
    row = np.argsort(length, kind="stable")[len(length) // 2 : len(length) // 2 + 1]
    windows, _ = plan_windows(events, table.customer[row], table.event[row], spec.max_length)
    batch = collate(events, windows)
    with torch.no_grad():
        model = fitted.model.cpu().eval()
        attention = model.encode(batch, need_attention=True).attention
    if attention is None:
        return
    names = ("", "other", *spec.channel.categories)
    channels = [names[i] for i in batch.channel[0].tolist()]
    asked = float(table.time[row[0]]) / MICROSECONDS_PER_DAY
    days_before = [asked - moment for moment in batch.time[0].tolist()]
    figure = plots.attention_journey(attention[0].double().numpy(), channels, days_before)
    tracked.log_figure(figure, "plots/attention_sample_journey.png")


def _card_facts(facts: RunFacts) -> CardFacts:
    store, fitted, config = facts.store, facts.fitted, facts.config
    device = "cpu" if fitted is None else str(fitted.device)
    return CardFacts(
        run_name=facts.name,
        model=facts.own,
        n_parameters=None if fitted is None else _n_parameters(fitted),
        data_name=store.name,
        fingerprint=store.fingerprint,
        periods={
            fold: (to_datetime(period.start).date(), to_datetime(period.end - 1).date())
            for fold, period in store.split.periods.items()
        },
        n_customers=store.events.n_customers,
        n_events=store.events.n_events,
        tasks=[
            TaskDefinition(task.name, task.definition, task.as_of(config.data.split.cutoff_every))
            for task in facts.tasks.values()
        ],
        results=facts.results,
        cost=TrainingCost(
            wall_seconds=facts.seconds,
            epochs=0 if fitted is None else fitted.outcome.epochs,
            best_epoch=None if fitted is None else fitted.outcome.best_epoch,
            events_per_second=None if fitted is None else fitted.outcome.events_per_second,
            threads=facts.threads,
            device=device,
        ),
        calibration=_calibration_facts(facts),
        environment=environment_tags(),
        overrides=facts.overrides,
        class_rows={
            name: dict(
                zip(
                    classes,
                    np.bincount(table.label, minlength=len(classes)).tolist(),
                    strict=True,
                )
            )
            for name, table in facts.tables.items()
            if (classes := facts.tasks[name].classes(store.spec))
        },
        deep=fitted is not None,
        members=1 if fitted is None else config.ensemble,
    )


IMPROVED: Mapping[TaskKind, str] = {
    "binary": "calibration_error",
    "categorical": "log_loss",
    "amount": "total_error",
}
"""The metric by which a calibration is judged."""


def _calibration_facts(facts: RunFacts) -> dict[str, CalibrationFacts]:
    """Each task's calibration before and after, on the test rows."""
    if not isinstance(facts.predictor, CalibratedPredictor):
        return {}
    uncalibrated = facts.predictor.predictor.predict(facts.tables)
    raw = among_scored(uncalibrated, facts.tables, facts.store.spec)
    found = {}
    for name, calibration in facts.predictor.calibrations.items():
        table = facts.tables[name]
        metric = IMPROVED[table.kind]
        found[name] = CalibrationFacts(
            method=calibration.method,
            metric=metric,
            before=_measure(table, raw[name], metric),
            after=_measure(table, facts.predictions[facts.own][name], metric),
        )
    return found


def _measure(table: LabelTable, predicted: NDArray[np.float64], metric: str) -> float:
    scores = SCORES[table.kind](table.label, predicted)
    return float(scores.evaluate()[scores.metrics.index(metric)])


def _n_parameters(fitted: Fitted) -> int:
    return sum(p.numel() for p in fitted.model.parameters() if p.requires_grad)
