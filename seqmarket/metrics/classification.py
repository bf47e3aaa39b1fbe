"""Metrics of a binary task, evaluated fast under many weightings of the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqmarket.metrics.influence import Influence, mean_influence

HIGHER_IS_BETTER: Mapping[str, bool] = {
    "auroc": True,
    "average_precision": True,
    "log_loss": False,
    "brier": False,
    "calibration_error": False,
    "lift_at_10": True,
}
"""Every binary metric, in the order in which `BinaryScores.evaluate` returns them."""

CALIBRATION_BINS = 15
LIFT_SHARE = 0.1
SMALLEST_PROBABILITY = float(np.finfo(np.float64).eps)
"""Probabilities are clipped to this before a logarithm, as scikit-learn does."""


def equal_mass_bounds(cumulative: NDArray[np.float64], n_bins: int) -> NDArray[np.int64]:
    """Divides sorted groups of tied scores into bins of as nearly equal weight as possible.

    A group of ties is never split: it belongs to the bin in which its middle falls.

    Args:
        cumulative: (G,) weight of the groups up to and including each one, G at least 1.
        n_bins: Number of bins wanted.

    Returns:
        (bins + 1,) indices: bin ``i`` is the groups ``bounds[i]:bounds[i + 1]``. There are fewer
        than `n_bins` where ties fill whole bins.
    """
    middle = cumulative - np.diff(cumulative, prepend=0.0) / 2
    edges = np.searchsorted(middle, cumulative[-1] * np.arange(1, n_bins) / n_bins)
    return np.unique(np.concatenate(([0], edges, [len(cumulative)])))


class BinaryScores:
    """One model's probabilities for labelled rows, sorted once.

    Metrics (N rows with weight ``w``; a row of weight 2 counts like two rows):

    - ``auroc``: probability that a positive row scores above a negative one, ties one half.
    - ``average_precision``: sum of precision times step of recall; tied rows enter together.
    - ``log_loss``: mean negative log likelihood in nats.
    - ``brier``: mean squared error of the probability.
    - ``calibration_error``: expected calibration error (Naeini et al., AAAI 2015), over 15 bins of
      equal mass: mean absolute distance of the mean probability from the observed rate.
    - ``lift_at_10``: rate of positives in the tenth of rows with the highest scores over the rate
      of all rows; rows that tie at the border count in proportion.

    The ranking metrics (``auroc``, ``average_precision``, ``lift_at_10``) are NaN where only one
    class has weight, all metrics where there is no weight at all.

    Args:
        label: (N,) 0 or 1.
        probability: (N,) of label 1.

    Raises:
        ValueError: If a probability is not finite.
    """

    metrics = tuple(HIGHER_IS_BETTER)

    def __init__(self, label: NDArray[Any], probability: NDArray[Any]) -> None:
        probability = np.asarray(probability, dtype=np.float64)
        if not np.isfinite(probability).all():
            raise ValueError("a probability is not finite")
        self._order = np.argsort(-probability, kind="stable")
        self._probability = probability[self._order]
        self._label = np.asarray(label, dtype=np.float64)[self._order]
        steps = np.flatnonzero(np.diff(self._probability))
        self._ends = np.append(steps, len(probability) - 1)  # last row of each group of ties
        clipped = np.clip(self._probability, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
        self._log_loss = -np.where(self._label > 0, np.log(clipped), np.log1p(-clipped))
        self._squared_error = (self._probability - self._label) ** 2

    def __len__(self) -> int:
        return len(self._order)

    def evaluate(self, weight: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """All metrics, in the order of `metrics`.

        Args:
            weight: (N,) non-negative multiplicities, in the order of the rows given; None: all 1.
        """
        if len(self) == 0:
            return np.full(len(self.metrics), np.nan)
        weight = np.ones(len(self)) if weight is None else weight[self._order]
        total = np.cumsum(weight)[self._ends]
        n_rows = total[-1]
        if n_rows <= 0:
            return np.full(len(self.metrics), np.nan)
        positive = np.cumsum(weight * self._label)[self._ends]
        predicted = np.cumsum(weight * self._probability)[self._ends]
        auroc, average_precision, lift = _ranking(positive, total)
        bounds = equal_mass_bounds(total, CALIBRATION_BINS)
        excess = np.concatenate(([0.0], predicted - positive))[bounds]
        return np.array(
            [
                auroc,
                average_precision,
                weight @ self._log_loss / n_rows,
                weight @ self._squared_error / n_rows,
                np.abs(np.diff(excess)).sum() / n_rows,
                lift,
            ]
        )

    def influence(self, metric: str) -> Influence | None:
        """See `resampling.Scores`; for ``auroc``, ``log_loss`` and ``brier``.

        Of the AUROC: the placement values of DeLong, DeLong and Clarke-Pearson (Biometrics 1988).
        """
        if metric == "auroc":
            found = self._placements()
        elif metric in ("log_loss", "brier"):
            found = mean_influence(self._log_loss if metric == "log_loss" else self._squared_error)
        else:
            return None
        rows = np.empty(len(self))
        rows[self._order] = found.rows
        return Influence(found.estimate, rows)

    def _placements(self) -> Influence:
        n_positive = self._label.sum()
        n_negative = len(self) - n_positive
        if n_positive == 0 or n_negative == 0:
            return Influence(np.nan, np.full(len(self), np.nan))
        group = np.concatenate(([0], np.cumsum(np.diff(self._probability) != 0)))
        in_group = np.bincount(group, self._label)
        others = np.bincount(group, 1 - self._label)
        # Share of the negatives below a positive row, and of the positives above a negative one.
        below = (n_negative - np.cumsum(others) + others / 2)[group] / n_negative
        above = (np.cumsum(in_group) - in_group / 2)[group] / n_positive
        auroc = float(self._label @ below / n_positive)
        rows = np.where(self._label > 0, (below - auroc) / n_positive, (above - auroc) / n_negative)
        return Influence(auroc, rows)


def _ranking(
    positive: NDArray[np.float64], total: NDArray[np.float64]
) -> tuple[float, float, float]:
    """AUROC, average precision and lift, from cumulative weights at the ends of tied groups."""
    n_positive, n_rows = positive[-1], total[-1]
    n_negative = n_rows - n_positive
    if n_positive <= 0 or n_negative <= 0:
        return np.nan, np.nan, np.nan
    in_group = np.diff(positive, prepend=0.0)
    rows_in_group = np.diff(total, prepend=0.0)
    above = positive - in_group / 2
    auroc = (rows_in_group - in_group) @ above / (n_positive * n_negative)
    precision = positive / np.where(total > 0, total, 1.0)
    average_precision = in_group @ precision / n_positive

    wanted = LIFT_SHARE * n_rows
    border = int(np.searchsorted(total, wanted))  # has weight, because total rises to >= wanted
    share = 1 - (total[border] - wanted) / rows_in_group[border]
    hits = positive[border] - (1 - share) * in_group[border]
    return float(auroc), float(average_precision), float(hits / wanted / (n_positive / n_rows))


def binary_metrics(
    label: NDArray[Any], probability: NDArray[Any], weight: NDArray[np.float64] | None = None
) -> dict[str, float]:
    """All metrics of `BinaryScores` by name.

    Args:
        label: (N,) 0 or 1.
        probability: (N,) of label 1.
        weight: (N,) non-negative multiplicities; None: all 1.
    """
    scores = BinaryScores(label, probability)
    return dict(zip(scores.metrics, scores.evaluate(weight).tolist(), strict=True))
