"""The final metrics of a run, and how its own model stands to the best baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from seqmarket.metrics import amounts, classification, ranking
from seqmarket.metrics.resampling import Interval
from seqmarket.schema import TaskKind

HIGHER_IS_BETTER: dict[str, bool] = {
    **classification.HIGHER_IS_BETTER,
    **ranking.HIGHER_IS_BETTER,
    **amounts.AMOUNT_METRICS,
    **amounts.DURATION_METRICS,
}

_MAIN_METRICS: dict[str, tuple[str, ...]] = {
    "purchase": ("auroc", "log_loss"),
    "churn": ("auroc", "average_precision", "log_loss"),
    "next_channel": ("accuracy", "log_loss"),
}
_MAIN_METRICS_OF_KIND: dict[TaskKind, tuple[str, ...]] = {
    "binary": ("auroc", "log_loss"),
    "categorical": ("accuracy", "log_loss"),
    "amount": ("mean_absolute_error", "gini"),
    "duration": ("mean_absolute_error", "pinball_loss"),
}


def main_metrics(task: str, kind: TaskKind) -> tuple[str, ...]:
    """The metrics by which models are compared on a task, the foremost one first."""
    return _MAIN_METRICS.get(task, _MAIN_METRICS_OF_KIND[kind])


@dataclass(frozen=True)
class TaskResult:
    """What every model reached on one task, all on the same rows.

    Attributes:
        task: Name of the task.
        kind: Kind of the task.
        n_rows: Rows evaluated.
        n_customers: Customers that the rows belong to.
        base_rate: Share of label 1 in the rows; None for a categorical task.
        models: Metric by model, the run's own model first, then its baselines.
        differences: Own model minus baseline, by baseline and metric, paired on the same
            customers; empty when there is nothing to compare with.
        period: First and last prediction time.
        alone: The model that is one member of the own model, an ensemble, and no baseline.
    """

    task: str
    kind: TaskKind
    n_rows: int
    n_customers: int
    base_rate: float | None
    models: Mapping[str, Mapping[str, Interval]]
    differences: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    period: tuple[date, date] | None = None
    alone: str | None = None

    @property
    def model(self) -> str:
        """The run's own model."""
        return next(iter(self.models))

    @property
    def n_positives(self) -> int | None:
        """Rows of label 1; None for a categorical task."""
        return None if self.base_rate is None else round(self.base_rate * self.n_rows)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that some model has, the main ones first."""
        found = dict.fromkeys(metric for values in self.models.values() for metric in values)
        main = [metric for metric in main_metrics(self.task, self.kind) if metric in found]
        return (*main, *(metric for metric in found if metric not in main))

    def best(self, metric: str, among: Mapping[str, Any] | None = None) -> str | None:
        """The model with the best estimate, None where no model has a finite one.

        Args:
            metric: A metric of `HIGHER_IS_BETTER`.
            among: Only these models; None: all. The first of equals wins.
        """
        sign = 1.0 if HIGHER_IS_BETTER[metric] else -1.0
        estimates = {
            model: sign * values[metric].estimate
            for model, values in self.models.items()
            if metric in values
            and math.isfinite(values[metric].estimate)
            and (among is None or model in among)
        }
        return max(estimates, key=lambda model: estimates[model]) if estimates else None


@dataclass(frozen=True)
class Standing:
    """The run's model against the best baseline on one metric.

    Attributes:
        metric: The metric.
        baseline: The baseline with the best estimate of it.
        difference: Own model minus baseline, paired.
        at_or_above: Whether the model is at least as good, by the estimate.
        decided: Whether the interval of the difference leaves out 0.
    """

    metric: str
    baseline: str
    difference: Interval
    at_or_above: bool
    decided: bool

    def sentence(self, model: str) -> str:
        """The standing in plain words, with the numbers."""
        place = "at or above" if self.at_or_above else "below"
        text = (
            f"{metric_name(self.metric)}: {model} stands {place} {self.baseline}, "
            f"the best baseline: {format_interval(self.difference, signed=True)}"
        )
        if not HIGHER_IS_BETTER[self.metric]:
            text += " (lower is better)"
        if self.decided or math.isnan(self.difference.low):
            return text
        return text + ", not beyond sampling error"


def standings(result: TaskResult) -> list[Standing]:
    """How the run's model stands on the main metrics; empty where there is no baseline."""
    found = []
    for metric in main_metrics(result.task, result.kind):
        baselines = {model: None for model in result.differences if model != result.alone}
        baseline = result.best(metric, among=baselines)
        if baseline is None:
            continue
        difference = result.differences[baseline][metric]
        gain = difference.estimate if HIGHER_IS_BETTER[metric] else -difference.estimate
        decided = difference.low > 0 or difference.high < 0
        found.append(Standing(metric, baseline, difference, gain >= 0, decided))
    return found


def gain_of_ensemble(result: TaskResult) -> str | None:
    """What the ensemble is ahead of one of its members, in words; None where there is none."""
    if result.alone is None or result.alone not in result.differences:
        return None
    gains = result.differences[result.alone]
    parts = [
        f"{metric_name(metric)} {format_interval(gains[metric], signed=True)}"
        for metric in main_metrics(result.task, result.kind)
    ]
    return f"the ensemble against its first member alone: {', '.join(parts)}"


_METRIC_NAMES = {
    "auroc": "AUROC",
    "average_precision": "AP",
    "brier": "Brier",
    "calibration_error": "ECE",
    "lift_at_10": "lift10",
    "gini": "Gini",
    "macro_f1": "macro F1",
    "mean_absolute_error": "MAE",
    "mrr": "MRR",
    "pinball_loss": "pinball",
    "root_mean_squared_error": "RMSE",
    "top_3": "top-3",
}


def metric_name(metric: str) -> str:
    """A metric as a reader knows it."""
    return _METRIC_NAMES.get(metric, metric.replace("_", " "))


def format_number(value: float, digits: int = 3, signed: bool = False) -> str:
    """A number without its leading zero, as in ``.812``, ``-.012``, ``1.234``; ``-`` for NaN."""
    if math.isnan(value):
        return "-"
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("+-").startswith("0.") else text


def format_interval(value: Interval, signed: bool = False) -> str:
    """An estimate and its interval, as in ``.812 [.806, .818]``; four digits where signed."""
    digits = 4 if signed else 3
    estimate, low, high = (
        format_number(number, digits, signed) for number in (value.estimate, value.low, value.high)
    )
    return estimate if "-" in (low, high) else f"{estimate} [{low}, {high}]"
