"""What the charts of a yes or no show: ROC, precision and recall, calibration, cumulative gain."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from seqmarket.comparison.charts import Line, square
from seqmarket.comparison.contest import TaskContest
from seqmarket.metrics.calibration import reliability
from seqmarket.page.markup import Markup

Points = tuple[NDArray[np.float64], NDArray[np.float64]]
Curve = Callable[[NDArray[np.float64], NDArray[np.float64]], Points]
_BINS = 10


def _roc(label: NDArray[np.float64], probability: NDArray[np.float64]) -> Points:
    false_positive, true_positive, _ = roc_curve(label, probability)
    return false_positive, true_positive


def _precision_recall(label: NDArray[np.float64], probability: NDArray[np.float64]) -> Points:
    precision, recall, _ = precision_recall_curve(label, probability)
    precision[-1] = precision[-2]  # of no rows at all: by definition 1, which nobody reached
    return recall[::-1], precision[::-1]


def _calibration(label: NDArray[np.float64], probability: NDArray[np.float64]) -> Points:
    predicted, observed, _ = reliability(label, probability, _BINS)
    return predicted, observed


def _gain(label: NDArray[np.float64], probability: NDArray[np.float64]) -> Points:
    order = np.argsort(-probability, kind="stable")
    reached = np.concatenate(([0.0], np.cumsum(label[order]))) / label.sum()
    return np.linspace(0, 1, len(reached)), reached


_CHARTS: tuple[tuple[str, str, tuple[str, str], Curve, bool], ...] = (
    ("roc", "ROC", ("false positive rate", "true positive rate"), _roc, True),
    ("pr", "Precision and recall", ("recall", "precision"), _precision_recall, False),
    ("calibration", "Calibration", ("predicted", "observed"), _calibration, True),
    ("gain", "Cumulative gain", ("rows, highest scores first", "positives reached"), _gain, True),
)


def curves(task: TaskContest, names: list[str]) -> list[Markup]:
    """The four charts of a binary task with both labels; none of any other.

    Args:
        task: The task.
        names: All contenders, whose place decides the colour.
    """
    matched = task.matched
    if matched.kind != "binary" or len(np.unique(matched.label)) < 2:
        return []
    answers = {name: matched.probability(name) for name in matched.members}
    return [
        square(
            f"{matched.task}-{key}",
            f"{title}, {matched.task}",
            axes,
            [
                Line(*curve(matched.label, answers[name]), names.index(name), key == "calibration")
                for name in matched.members
            ],
            diagonal=diagonal,
        )
        for key, title, axes, curve, diagonal in _CHARTS
    ]
