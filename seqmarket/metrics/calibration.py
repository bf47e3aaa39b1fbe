"""Calibration of probabilities and amounts on validation rows, and reliability curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import PoissonRegressor

from seqmarket.metrics.classification import CALIBRATION_BINS, equal_mass_bounds
from seqmarket.schema import TaskKind

_CLIP = 1e-12
_STEPS = 100
_RIDGE = 1e-6
_COLDEST, _HOTTEST = 0.05, 20.0


@dataclass(frozen=True)
class PlattScaling:
    """``sigmoid(a * logit(p) + b)`` with a > 0, so that the order of the rows stays.

    Source: Platt, Probabilistic outputs for support vector machines (1999), with his smoothed
    targets and the Newton iteration of Lin, Lin and Weng (2007).
    """

    a: float = 1.0
    b: float = 0.0
    method: ClassVar[str] = "platt"

    @classmethod
    def fit(cls, probability: NDArray[Any], label: NDArray[Any]) -> PlattScaling:
        """Fits to (N,) probabilities of label 1 and (N,) labels 0 or 1.

        With one class only it is the identity. Where the probabilities are all the same, only `b`
        is fitted; so it is where the best slope is not positive, because the scores then order
        the rows wrongly, which no calibration should hide.
        """
        label = np.asarray(label, dtype=np.float64)
        n_positive = label.sum()
        n_negative = len(label) - n_positive
        if n_positive == 0 or n_negative == 0:
            return cls()
        target = np.where(label > 0, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
        z = _logit(probability)
        if np.ptp(z) > 0:
            a, b = _newton(np.stack([z, np.ones_like(z)], axis=1), np.zeros_like(z), target)
            if a > 0:
                return cls(float(a), float(b))
        (b,) = _newton(np.ones((len(z), 1)), z, target)
        return cls(1.0, float(b))

    def apply(self, probability: NDArray[Any]) -> NDArray[np.float64]:
        """Calibrates probabilities of any shape."""
        return _sigmoid(self.a * _logit(probability) + self.b)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"method": self.method, **asdict(self)}


@dataclass(frozen=True)
class TemperatureScaling:
    """``softmax(log(p) / temperature)`` with one temperature for all classes.

    Source: Guo et al., On calibration of modern neural networks, ICML 2017.
    """

    temperature: float = 1.0
    method: ClassVar[str] = "temperature"

    @classmethod
    def fit(cls, probability: NDArray[Any], label: NDArray[Any]) -> TemperatureScaling:
        """Fits to (N, K) probabilities and (N,) labels, within 0.05 to 20; no rows: identity."""
        if len(label) == 0:
            return cls()
        z = _log(probability)
        own = z[np.arange(len(z)), np.asarray(label, dtype=np.int64)].mean()

        def slope(log_beta: float) -> float:
            """Of the mean negative log likelihood, which is convex, in beta = 1 / temperature."""
            return float((_softmax(np.exp(log_beta) * z) * z).sum(axis=1).mean() - own)

        low, high = -np.log(_HOTTEST), -np.log(_COLDEST)
        for _ in range(40):  # bisection to 1e-11 of the logarithm
            middle = (low + high) / 2
            if slope(middle) < 0:
                low = middle
            else:
                high = middle
        return cls(float(np.exp(-(low + high) / 2)))

    def apply(self, probability: NDArray[Any]) -> NDArray[np.float64]:
        """Calibrates (..., K) probabilities."""
        return _softmax(_log(probability) / self.temperature)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"method": self.method, **asdict(self)}


@dataclass(frozen=True)
class IsotonicScaling:
    """The rising step function that fits best, joined by straight lines.

    More flexible than Platt scaling, and for that reason in need of more rows; rows whose
    probabilities it makes equal cannot be told apart any more.

    Source: Zadrozny and Elkan, "Transforming classifier scores into accurate multiclass probability
    estimates" (2002).

    Attributes:
        before: Probabilities at the corners of the function, rising.
        after: What becomes of them.
    """

    before: tuple[float, ...] = (0.0, 1.0)
    after: tuple[float, ...] = (0.0, 1.0)
    method: ClassVar[str] = "isotonic"

    @classmethod
    def fit(cls, probability: NDArray[Any], label: NDArray[Any]) -> IsotonicScaling:
        """Fits to (N,) probabilities of label 1 and (N,) labels; one class only: the identity."""
        if len(np.unique(label)) < 2:
            return cls()
        fitted = IsotonicRegression(out_of_bounds="clip").fit(probability, label)
        # One row of each label more, so that nothing becomes impossible.
        smallest = 1.0 / (len(label) + 2)
        after = np.clip(fitted.y_thresholds_, smallest, 1.0 - smallest)
        return cls(tuple(fitted.X_thresholds_.tolist()), tuple(after.tolist()))

    def apply(self, probability: NDArray[Any]) -> NDArray[np.float64]:
        """Calibrates probabilities of any shape."""
        return np.asarray(np.interp(probability, self.before, self.after), dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"method": self.method, "before": list(self.before), "after": list(self.after)}


@dataclass(frozen=True)
class AmountScaling:
    """``exp(a * log(mean) + b)`` with a > 0 for expected amounts; medians stay as they are.

    Fitted as a Poisson regression, whatever the distribution of the amounts: of all logarithmic
    regressions, it is the one whose fitted amounts have the total of the observed ones (Gourieroux,
    Monfort and Trognon, "Pseudo maximum likelihood methods: applications to Poisson models", 1984).
    """

    a: float = 1.0
    b: float = 0.0
    method: ClassVar[str] = "amount"

    @classmethod
    def fit(cls, amounts: NDArray[Any], label: NDArray[Any]) -> AmountScaling:
        """Fits to (N, 2) means and medians, and (N,) amounts; all of them 0: the identity.

        Means of 0 stay 0, so their rows have no say. Where all others are the same, or the best
        slope is not positive, only `b` is fitted.
        """
        some = amounts[:, 0] > 0
        mean, label = amounts[some, 0], np.asarray(label, dtype=np.float64)[some]
        total = float(label.sum())
        if total <= 0:
            return cls()
        z = _log(mean)
        if np.ptp(z) > 0:
            scale = total / len(mean)
            fitted = PoissonRegressor(alpha=0.0, max_iter=1000, tol=1e-8).fit(
                z[:, None], label / scale
            )
            if fitted.coef_[0] > 0:
                return cls(float(fitted.coef_[0]), float(fitted.intercept_ + np.log(scale)))
        return cls(1.0, float(np.log(total / mean.sum())))

    def apply(self, amounts: NDArray[Any]) -> NDArray[np.float64]:
        """Calibrates (N, 2) means and medians."""
        mean = np.exp(self.a * _log(amounts[:, 0]) + self.b)
        return np.stack([np.where(amounts[:, 0] > 0, mean, 0.0), amounts[:, 1]], axis=1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"method": self.method, **asdict(self)}


Calibration = PlattScaling | TemperatureScaling | IsotonicScaling | AmountScaling

CALIBRATED: frozenset[TaskKind] = frozenset({"binary", "categorical", "amount"})
"""The kinds of tasks whose predictions are calibrated: all but durations."""


def fit_calibration(
    kind: TaskKind,
    probability: NDArray[Any],
    label: NDArray[Any],
    method: Literal["platt", "isotonic"] = "platt",
) -> Calibration:
    """Platt or isotonic scaling for a binary task; temperature and amount scaling for others."""
    if kind == "binary" and method == "isotonic":
        return IsotonicScaling.fit(probability, label)
    if kind == "binary":
        return PlattScaling.fit(probability, label)
    if kind == "amount":
        return AmountScaling.fit(probability, label)
    return TemperatureScaling.fit(probability, label)


def calibration_from_dict(plain: Mapping[str, Any]) -> Calibration:
    """The inverse of either `to_dict`.

    Raises:
        KeyError: If the method is unknown.
    """
    if plain["method"] == IsotonicScaling.method:
        return IsotonicScaling(tuple(plain["before"]), tuple(plain["after"]))
    classes: dict[str, type[PlattScaling | TemperatureScaling | AmountScaling]] = {
        AmountScaling.method: AmountScaling,
        PlattScaling.method: PlattScaling,
        TemperatureScaling.method: TemperatureScaling,
    }
    values = {key: float(value) for key, value in plain.items() if key != "method"}
    return classes[plain["method"]](**values)


class Reliability(NamedTuple):
    """A reliability curve: one point per bin, in rising order.

    Attributes:
        predicted: (bins,) mean probability.
        observed: (bins,) rate of label 1.
        n_rows: (bins,) number of rows.
    """

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    n_rows: NDArray[np.int64]


def reliability(
    label: NDArray[Any], probability: NDArray[Any], bins: int = CALIBRATION_BINS
) -> Reliability:
    """Bins (N,) probabilities by equal mass, as the calibration error does; ties stay together."""
    order = np.argsort(probability, kind="stable")
    sorted_probability = np.asarray(probability, dtype=np.float64)[order]
    sorted_label = np.asarray(label, dtype=np.float64)[order]
    if len(order) == 0:
        return Reliability(np.empty(0), np.empty(0), np.empty(0, dtype=np.int64))
    ends = np.append(np.flatnonzero(np.diff(sorted_probability)) + 1, len(order))
    bounds = equal_mass_bounds(ends.astype(np.float64), bins)
    rows = np.concatenate(([0], ends))[bounds]
    count = np.diff(rows)
    return Reliability(
        np.add.reduceat(sorted_probability, rows[:-1]) / count,
        np.add.reduceat(sorted_label, rows[:-1]) / count,
        count,
    )


def _newton(
    design: NDArray[np.float64], offset: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Logistic regression of soft targets (N,) on (N, M), by Newton steps with halving."""
    n_columns = design.shape[1]

    def loss(theta: NDArray[np.float64]) -> float:
        z = design @ theta + offset
        fit = np.mean(np.logaddexp(0.0, z) - target * z)
        return float(fit + _RIDGE / 2 * (theta @ theta))

    theta = np.zeros(n_columns)
    current = loss(theta)
    for _ in range(_STEPS):
        p = _sigmoid(design @ theta + offset)
        gradient = design.T @ (p - target) / len(p) + _RIDGE * theta
        curvature = (design * (p * (1 - p))[:, None]).T @ design / len(p)
        step = np.linalg.solve(curvature + _RIDGE * np.eye(n_columns), gradient)
        size = 1.0
        while size > _CLIP and loss(theta - size * step) > current:
            size /= 2
        updated = loss(theta - size * step)
        if size <= _CLIP or current - updated < _CLIP:
            break
        theta, current = theta - size * step, updated
    return theta


def _sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.exp(-np.logaddexp(0.0, -z)), dtype=np.float64)


def _softmax(z: NDArray[np.float64]) -> NDArray[np.float64]:
    exponential = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(exponential / exponential.sum(axis=-1, keepdims=True), dtype=np.float64)


def _log(probability: NDArray[Any]) -> NDArray[np.float64]:
    return np.log(np.clip(np.asarray(probability, dtype=np.float64), _CLIP, None))


def _logit(probability: NDArray[Any]) -> NDArray[np.float64]:
    clipped = np.clip(np.asarray(probability, dtype=np.float64), _CLIP, 1 - _CLIP)
    return np.log(clipped) - np.log1p(-clipped)
