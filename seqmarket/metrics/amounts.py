"""Metrics of predicted amounts and durations, evaluated fast under many weightings of the rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqmarket.metrics.influence import Influence, mean_influence
from seqmarket.schema import QUANTILES

AMOUNT_METRICS: Mapping[str, bool] = {
    "mean_absolute_error": False,
    "gini": True,
    "root_mean_squared_error": False,
    "total_error": False,
}
"""Every metric of an amount, and whether higher is better."""

DURATION_METRICS: Mapping[str, bool] = {
    "mean_absolute_error": False,
    "pinball_loss": False,
    "coverage_error": False,
}
"""The same of a duration."""


class AmountScores:
    """One model's expected amounts and medians for rows with known amounts.

    - ``mean_absolute_error``: of the median, which is what minimises it.
    - ``gini``: normalised Gini coefficient: how much of the total the rows with the highest
      expected amounts hold, 1 for the true order and 0 for a random one.
    - ``root_mean_squared_error``: of the expected amount, which is what minimises it.
    - ``total_error``: how far the sum of the expected amounts is from the true sum, as a share.

    Args:
        label: (N,) amounts.
        prediction: (N, 2) expected amount, and median.

    Raises:
        ValueError: If a prediction is not finite.
    """

    metrics = tuple(AMOUNT_METRICS)

    def __init__(self, label: NDArray[Any], prediction: NDArray[Any]) -> None:
        _check(prediction)
        self._label = np.asarray(label, dtype=np.float64)
        self._expected = np.asarray(prediction[:, 0], dtype=np.float64)
        self._absolute = np.abs(self._label - prediction[:, 1])
        self._squared = (self._label - self._expected) ** 2
        self._by_expected = _descending(self._expected)
        self._by_label = _descending(self._label)

    def __len__(self) -> int:
        return len(self._label)

    def evaluate(self, weight: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """All metrics, in the order of `metrics`; NaN where there is nothing to divide by."""
        weight = np.ones(len(self)) if weight is None else weight
        rows, total = weight.sum(), weight @ self._label
        if rows <= 0:
            return np.full(len(self.metrics), np.nan)
        expected = weight @ self._expected
        best = self._area(weight, *self._by_label)
        return np.array(
            [
                weight @ self._absolute / rows,
                self._area(weight, *self._by_expected) / best if best > 0 else np.nan,
                np.sqrt(weight @ self._squared / rows),
                abs(expected / total - 1) if total > 0 else np.nan,
            ]
        )

    def influence(self, metric: str) -> Influence | None:
        """See `resampling.Scores`; for ``mean_absolute_error``."""
        return mean_influence(self._absolute) if metric == "mean_absolute_error" else None

    def _area(
        self,
        weight: NDArray[np.float64],
        order: NDArray[np.int64],
        ends: NDArray[np.int64],
    ) -> float:
        """Between the Lorenz curve of the rows in this order and the diagonal; ties are shared."""
        held = np.cumsum((weight * self._label)[order])[ends]
        rows = np.cumsum(weight[order])[ends]
        if held[-1] <= 0:
            return 0.0
        share = np.concatenate(([0.0], held / held[-1]))
        width = np.diff(rows, prepend=0.0) / rows[-1]
        return float(width @ (share[1:] + share[:-1]) / 2 - 0.5)


class DurationScores:
    """One model's quantiles of a duration for rows with known durations.

    - ``mean_absolute_error``: of the median, in days.
    - ``pinball_loss``: mean over `QUANTILES` of the loss that each quantile minimises, in days;
      about half of the continuous ranked probability score (Gneiting and Raftery, "Strictly proper
      scoring rules, prediction, and estimation", 2007).
    - ``coverage_error``: how far the share of rows between the first and the last quantile is from
      what it should be.

    Args:
        label: (N,) days.
        prediction: (N, len(QUANTILES)) days.

    Raises:
        ValueError: If a prediction is not finite.
    """

    metrics = tuple(DURATION_METRICS)

    def __init__(self, label: NDArray[Any], prediction: NDArray[Any]) -> None:
        _check(prediction)
        label = np.asarray(label, dtype=np.float64)
        missed = label[:, None] - prediction  # (N, Q)
        share = np.array(QUANTILES)
        self._per_row = np.stack(
            [
                np.abs(missed[:, QUANTILES.index(0.5)]),
                np.maximum(share * missed, (share - 1) * missed).mean(axis=1),
                (missed[:, 0] >= 0) & (missed[:, -1] <= 0),
            ],
            axis=1,
        )  # (N, 3)

    def __len__(self) -> int:
        return len(self._per_row)

    def evaluate(self, weight: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """All metrics, in the order of `metrics`; NaN where no row has weight."""
        weight = np.ones(len(self)) if weight is None else weight
        if weight.sum() <= 0:
            return np.full(len(self.metrics), np.nan)
        error, pinball, covered = weight @ self._per_row / weight.sum()
        return np.array([error, pinball, abs(covered - (QUANTILES[-1] - QUANTILES[0]))])

    def influence(self, metric: str) -> Influence | None:
        """See `resampling.Scores`; for ``mean_absolute_error`` and ``pinball_loss``."""
        place = {"mean_absolute_error": 0, "pinball_loss": 1}.get(metric)
        return None if place is None else mean_influence(self._per_row[:, place])


def _descending(values: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(N,) order of the rows, and where in it each run of equal values ends."""
    order = np.argsort(-values, kind="stable")
    return order, np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)


def _check(prediction: NDArray[Any]) -> None:
    if not np.isfinite(prediction).all():
        raise ValueError("a prediction is not finite")
