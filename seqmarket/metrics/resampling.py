"""Intervals of metrics, by resampling customers.

Rows of one customer are not independent, so customers are drawn with replacement, not rows (the
cluster bootstrap: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
All models are evaluated on the same draws, which makes the interval of a difference a paired one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seqmarket.metrics.influence import Influence


class Scores(Protocol):
    """One model on labelled rows: `BinaryScores` or `CategoricalScores`.

    Attributes:
        metrics: Names of the metrics.
    """

    metrics: tuple[str, ...]

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def evaluate(self, weight: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """(metrics,) values, each row counted as often as its weight says."""
        ...

    def influence(self, metric: str) -> Influence | None:
        """How much each row moves a metric; None where that is not worked out."""
        ...


@dataclass(frozen=True)
class Interval:
    """An estimate on all rows, and its percentile interval over the resamples."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Bootstrap:
    """Metrics of several models on the same rows and the same resamples.

    Attributes:
        metrics: Names of the M metrics.
        level: Confidence level of the intervals.
        estimates: (M,) values on all rows, by model.
        draws: (resamples, M) values, by model; NaN where a metric is undefined on a resample.
    """

    metrics: tuple[str, ...]
    level: float
    estimates: Mapping[str, NDArray[np.float64]]
    draws: Mapping[str, NDArray[np.float64]]

    def intervals(self, model: str) -> dict[str, Interval]:
        """The model's metrics, by name."""
        return self._intervals(self.estimates[model], self.draws[model])

    def difference(self, model: str, other: str) -> dict[str, Interval]:
        """The metrics of `model` minus those of `other`, by name, paired over the resamples."""
        return self._intervals(
            self.estimates[model] - self.estimates[other], self.draws[model] - self.draws[other]
        )

    def _intervals(
        self, estimate: NDArray[np.float64], draws: NDArray[np.float64]
    ) -> dict[str, Interval]:
        tail = (1 - self.level) / 2
        intervals = {}
        for i, name in enumerate(self.metrics):
            defined = draws[~np.isnan(draws[:, i]), i]
            low, high = np.quantile(defined, [tail, 1 - tail]) if len(defined) else (np.nan, np.nan)
            intervals[name] = Interval(float(estimate[i]), float(low), float(high))
        return intervals


def bootstrap_metrics(
    customer: NDArray[Any],
    scores: Mapping[str, Scores],
    *,
    n_resamples: int = 500,
    seed: int = 0,
    level: float = 0.95,
) -> Bootstrap:
    """Evaluates all models on the same resamples of the customers.

    Args:
        customer: (N,) the customer of each row, as in `LabelTable.customer`.
        scores: Every model on these N rows, all of one kind of task.
        n_resamples: Number of resamples; 0 leaves all intervals NaN.
        seed: Of the resamples.
        level: Confidence level of the intervals.

    Raises:
        ValueError: If a model has other rows, or other metrics, than the rest.
    """
    names = {model.metrics for model in scores.values()}
    if len(names) != 1 or any(len(model) != len(customer) for model in scores.values()):
        raise ValueError("all models need the same rows and the same metrics")
    metrics = names.pop()
    unique, index = np.unique(customer, return_inverse=True)
    n_customers = len(unique)
    rng = np.random.default_rng(seed)
    draws = {name: np.full((n_resamples, len(metrics)), np.nan) for name in scores}
    for resample in range(n_resamples if n_customers else 0):
        drawn = np.bincount(rng.integers(n_customers, size=n_customers), minlength=n_customers)
        weight = drawn.astype(np.float64)[index]
        for name, model in scores.items():
            draws[name][resample] = model.evaluate(weight)
    estimates = {name: model.evaluate() for name, model in scores.items()}
    return Bootstrap(metrics, level, estimates, draws)
