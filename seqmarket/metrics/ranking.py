"""Metrics of a categorical task, evaluated fast under many weightings of the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqmarket.metrics.influence import Influence, mean_influence

HIGHER_IS_BETTER: Mapping[str, bool] = {
    "accuracy": True,
    "top_3": True,
    "mrr": True,
    "macro_f1": True,
    "log_loss": False,
}
"""Every categorical metric, in the order in which `CategoricalScores.evaluate` returns them."""

SMALLEST_PROBABILITY = float(np.finfo(np.float64).eps)


class RankedScores:
    """One model's answers to labelled rows, as the place that each true class had.

    Classes that tie share what is at stake: every metric but ``log_loss`` is its expected value
    when ties are broken at random, so a constant prediction earns what chance would.

    - ``accuracy``, ``top_3``: share of rows whose label is among the 1 or 3 most probable classes.
    - ``mrr``: mean reciprocal rank of the label.
    - ``macro_f1``: unweighted mean of the F1 scores of the classes that occur or are predicted.
    - ``log_loss``: mean negative log likelihood in nats.

    All are NaN where no row has weight.

    Args:
        label: (N,) classes from 0.
        above: (N,) classes that are likelier than the true one.
        ties: (N,) classes as likely as the true one, itself included.
        probability: (N,) of the true class.
        votes: Row, class and share of each class that is predicted; the shares of a row sum to 1.

    Raises:
        ValueError: If a probability is not finite.
    """

    metrics = tuple(HIGHER_IS_BETTER)

    def __init__(
        self,
        label: NDArray[Any],
        above: NDArray[Any],
        ties: NDArray[Any],
        probability: NDArray[Any],
        votes: tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]],
    ) -> None:
        if not np.isfinite(probability).all():
            raise ValueError("a probability is not finite")
        self._label = np.asarray(label, dtype=np.int64)
        self._row, self._predicted, self._share = votes
        places = int((above + ties).max(initial=1))
        harmonic = np.concatenate(([0.0], np.cumsum(1.0 / np.arange(1, places + 1))))
        self._per_row = np.stack(
            [
                np.clip(1 - above, 0, ties) / ties,
                np.clip(3 - above, 0, ties) / ties,
                (harmonic[above + ties] - harmonic[above]) / ties,
                -np.log(np.clip(probability.astype(np.float64), SMALLEST_PROBABILITY, None)),
            ],
            axis=1,
        )  # (N, 4)
        classes = (int(found.max(initial=-1)) for found in (self._label, self._predicted))
        self._n_classes = max(classes) + 1

    def __len__(self) -> int:
        return len(self._label)

    def evaluate(self, weight: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """All metrics, in the order of `metrics`.

        Args:
            weight: (N,) non-negative multiplicities, in the order of the rows given; None: all 1.
        """
        weight = np.ones(len(self)) if weight is None else weight
        total = weight.sum()
        if total <= 0:
            return np.full(len(self.metrics), np.nan)
        accuracy, top_3, mrr, log_loss = weight @ self._per_row / total
        return np.array([accuracy, top_3, mrr, self._macro_f1(weight), log_loss])

    def influence(self, metric: str) -> Influence | None:
        """See `resampling.Scores`: every metric but ``macro_f1`` is a mean over rows."""
        place = {"accuracy": 0, "top_3": 1, "mrr": 2, "log_loss": 3}.get(metric)
        return None if place is None else mean_influence(self._per_row[:, place])

    def _macro_f1(self, weight: NDArray[np.float64]) -> float:
        votes = weight[self._row] * self._share
        hit = self._predicted == self._label[self._row]
        occurs = np.bincount(self._label, weight, self._n_classes)
        predicted = np.bincount(self._predicted, votes, self._n_classes)
        correct = np.bincount(self._predicted, votes * hit, self._n_classes)
        seen = occurs + predicted > 0
        return float((2 * correct[seen] / (occurs + predicted)[seen]).mean())


class CategoricalScores(RankedScores):
    """The same from the probabilities of all classes.

    Args:
        label: (N,) classes from 0.
        probabilities: (N, K), rows sum to one.

    Raises:
        ValueError: If a probability is not finite.
    """

    def __init__(self, label: NDArray[Any], probabilities: NDArray[Any]) -> None:
        if not np.isfinite(probabilities).all():
            raise ValueError("a probability is not finite")
        own = probabilities[np.arange(len(probabilities)), np.asarray(label, dtype=np.int64)]
        best = probabilities == probabilities.max(axis=1, keepdims=True, initial=0.0)
        row, predicted = np.nonzero(best)
        super().__init__(
            label,
            above=(probabilities > own[:, None]).sum(axis=1),
            ties=(probabilities == own[:, None]).sum(axis=1),
            probability=own,
            votes=(row, predicted, 1.0 / best.sum(axis=1)[row]),
        )


def categorical_metrics(
    label: NDArray[Any], probabilities: NDArray[Any], weight: NDArray[np.float64] | None = None
) -> dict[str, float]:
    """All metrics of `CategoricalScores` by name.

    Args:
        label: (N,) classes from 0.
        probabilities: (N, K), rows sum to one.
        weight: (N,) non-negative multiplicities; None: all 1.
    """
    scores = CategoricalScores(label, probabilities)
    return dict(zip(scores.metrics, scores.evaluate(weight).tolist(), strict=True))
