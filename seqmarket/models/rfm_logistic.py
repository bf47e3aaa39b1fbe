"""Logistic regression on recency, frequency, monetary value, gaps and touches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from seqmarket.nn.per_task import PerTask, answerable
from seqmarket.nn.rfm import RfmFeatures
from seqmarket.schema import EventArrays, LabelTable, SequenceSpec, TaskKind


@dataclass(frozen=True)
class _Fit:
    """Scaling and weights of one task; (M,) each, and the intercept."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]
    intercept: float


class RfmLogistic:
    """Standardised ``sign(x) * log1p(|x|)`` of the RFM features, with an L2 penalty.

    Inputs are clipped to their range in training, so that nothing is extrapolated to customers
    who are known for longer than any was then. Deterministic. With one class only, it predicts
    the base rate, smoothed by one row of each class.

    Args:
        spec: Sizes and names of the data.
        c: Inverse strength of the penalty.
        max_channels: Only that many of the most frequent channels get features of their own.
        static: Whether to use the customers' static features.
        max_iterations: Most iterations of L-BFGS.
    """

    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary"})

    def __init__(
        self,
        spec: SequenceSpec,
        c: Annotated[float, Gt(0)] = 0.1,
        max_channels: Annotated[int, Ge(0)] = 12,
        static: bool = True,
        max_iterations: Annotated[int, Ge(1)] = 1000,
    ) -> None:
        self._features = RfmFeatures(spec, max_channels, static)
        self._c = c
        self._max_iterations = max_iterations
        self._fits: PerTask[_Fit] = PerTask("rfm_logistic")

    def fit(self, events: EventArrays, tables: Mapping[str, LabelTable]) -> None:
        """Fits one regression per task."""
        for task, table in answerable(tables, self.kinds, "rfm_logistic").items():
            x = self._inputs(events, table)
            mean, std = x.mean(axis=0), x.std(axis=0)
            scale = np.where(std > 1e-9, std, 1.0)
            n_positive = int(table.label.sum())
            if 0 < n_positive < len(table):
                model = LogisticRegression(C=self._c, max_iter=self._max_iterations)
                model.fit((x - mean) / scale, table.label)
                weight, intercept = model.coef_[0], float(model.intercept_[0])
            else:
                weight = np.zeros(x.shape[1])
                intercept = float(np.log((n_positive + 1) / (len(table) - n_positive + 1)))
            self._fits[task] = _Fit(x.min(axis=0), x.max(axis=0), mean, scale, weight, intercept)

    def predict(self, events: EventArrays, table: LabelTable) -> NDArray[np.float64]:
        """(N,) probabilities of label 1."""
        fit = self._fits[table.task]
        x = np.clip(self._inputs(events, table), fit.low, fit.high)
        z = ((x - fit.mean) / fit.scale) @ fit.weight + fit.intercept
        return np.asarray(np.exp(-np.logaddexp(0.0, -z)), dtype=np.float64)

    def _inputs(self, events: EventArrays, table: LabelTable) -> NDArray[np.float64]:
        features, _ = self._features(events, table)
        x = features.astype(np.float64)
        return np.asarray(np.sign(x) * np.log1p(np.abs(x)), dtype=np.float64)
