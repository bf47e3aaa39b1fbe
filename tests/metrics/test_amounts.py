"""Metrics of amounts and durations against plain formulas, with weights, ties and lone values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from seqmarket.metrics.amounts import (
    AMOUNT_METRICS,
    DURATION_METRICS,
    AmountScores,
    DurationScores,
)
from seqmarket.schema import QUANTILES


def amounts(
    label: np.ndarray, prediction: np.ndarray, weight: np.ndarray | None = None
) -> dict[str, float]:
    values = AmountScores(label, prediction).evaluate(weight)
    return dict(zip(AmountScores.metrics, values.tolist(), strict=True))


def durations(
    label: np.ndarray, prediction: np.ndarray, weight: np.ndarray | None = None
) -> dict[str, float]:
    values = DurationScores(label, prediction).evaluate(weight)
    return dict(zip(DurationScores.metrics, values.tolist(), strict=True))


def sample(
    seed: int, n: int = 200, digits: int = 0, returns: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Amounts, many of them 0, predictions (rounded, so that many tie) and multiplicities."""
    rng = np.random.default_rng(seed)
    label = np.round(rng.gamma(1.0, 20.0, n), digits) * (rng.random(n) < 0.6)
    if returns:
        label[rng.random(n) < 0.1] *= -0.5
    expected = np.round(0.3 * label + rng.gamma(2.0, 5.0, n), digits)
    median = np.round(0.5 * expected, digits)
    return label, np.stack([expected, median], axis=1), rng.integers(0, 4, n).astype(np.float64)


def quantiles(seed: int, n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Durations, quantiles of another distribution each, and multiplicities."""
    rng = np.random.default_rng(seed)
    scale = rng.gamma(2.0, 3.0, n)
    label = np.round(rng.exponential(scale), 1)
    answer = -np.log1p(-np.array(QUANTILES)) * rng.gamma(5.0, 0.2, n)[:, None] * scale[:, None]
    return label, np.round(answer, 1), rng.integers(0, 4, n).astype(np.float64)


def gini_by_pairs(label: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
    """How many of the pairs are ordered as they should be, by how far they are apart."""
    pairs = weight[:, None] * weight * (label[:, None] - label)
    found = (pairs * np.sign(score[:, None] - score)).sum()
    return float(found / (pairs * np.sign(label[:, None] - label)).sum())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("returns", [False, True])
def test_amounts_equal_plain_formulas(seed: int, weighted: bool, returns: bool) -> None:
    label, prediction, weight = sample(seed, returns=returns)
    if not weighted:
        weight = np.ones_like(weight)
    expected, median = prediction.T
    assert len(np.unique(expected)) < len(expected)
    squared = reference.mean_squared_error(label, expected, sample_weight=weight)
    assert amounts(label, prediction, weight if weighted else None) == pytest.approx(
        {
            "mean_absolute_error": reference.mean_absolute_error(
                label, median, sample_weight=weight
            ),
            "gini": gini_by_pairs(label, expected, weight),
            "root_mean_squared_error": math.sqrt(squared),
            "total_error": abs((weight * expected).sum() / (weight * label).sum() - 1),
        }
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_gini_of_a_yes_or_no_is_that_of_the_roc_curve(seed: int) -> None:
    label, prediction, weight = sample(seed)
    label = (label > 10).astype(np.float64)
    auroc = reference.roc_auc_score(label, prediction[:, 0], sample_weight=weight)
    assert amounts(label, prediction, weight)["gini"] == pytest.approx(2 * auroc - 1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("digits", [-1, 0, 6])
def test_a_weight_equals_a_repetition_of_amounts(seed: int, digits: int) -> None:
    label, prediction, weight = sample(seed, digits=digits)
    rows = np.repeat(np.arange(len(label)), weight.astype(np.int64))
    repeated = amounts(label[rows], prediction[rows])
    assert amounts(label, prediction, weight) == pytest.approx(repeated)


@pytest.mark.parametrize("seed", range(3))
def test_a_weight_equals_a_repetition_of_durations(seed: int) -> None:
    label, prediction, weight = quantiles(seed)
    rows = np.repeat(np.arange(len(label)), weight.astype(np.int64))
    repeated = durations(label[rows], prediction[rows])
    assert durations(label, prediction, weight) == pytest.approx(repeated)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    label, prediction, weight = sample(seed)
    rows = np.random.default_rng(seed).permutation(len(label))
    mixed = amounts(label[rows], prediction[rows], weight[rows])
    assert mixed == pytest.approx(amounts(label, prediction, weight))


def test_the_gini_of_perfect_constant_and_reversed_orders() -> None:
    label, _, weight = sample(0)

    def gini(score: np.ndarray) -> float:
        return amounts(label, np.stack([score, score], axis=1), weight)["gini"]

    assert gini(label) == pytest.approx(1.0)
    assert gini(3 * label + 7) == pytest.approx(1.0)  # only the order counts
    assert gini(np.full_like(label, 4.0)) == 0.0
    assert gini(-label) == pytest.approx(-1.0)


def test_a_random_order_has_no_gini() -> None:
    rng = np.random.default_rng(5)
    label = rng.gamma(1.0, 20.0, 20_000)
    score = rng.random((20_000, 2))
    assert abs(amounts(label, score)["gini"]) < 0.03


def test_the_median_and_the_mean_are_what_their_errors_ask_for() -> None:
    label, _, weight = sample(1)
    rows = np.repeat(label, weight.astype(np.int64))
    mean, median = rows.mean(), np.median(rows)
    constant = np.ones_like(label)

    def scores(expected: float, middle: float) -> dict[str, float]:
        answer = np.stack([expected * constant, middle * constant], axis=1)
        return amounts(label, answer, weight)

    best = scores(mean, median)
    assert best["total_error"] == pytest.approx(0.0, abs=1e-12)
    for other in (0.0, median - 2, median + 2, mean):
        assert best["mean_absolute_error"] < scores(mean, other)["mean_absolute_error"]
    for other in (0.0, mean - 2, mean + 2, median):
        error = scores(other, median)["root_mean_squared_error"]
        assert best["root_mean_squared_error"] < error


def test_amounts_that_cannot_be_ordered_or_sum_to_nothing() -> None:
    prediction = np.random.default_rng(0).random((3, 2))
    for n in (2, 3, 59):  # sums of as many tenths are not exact
        alike = amounts(np.full(n, 0.1), np.random.default_rng(0).random((n, 2)))
        assert math.isnan(alike["gini"])
        assert math.isfinite(alike["total_error"])
    # Alike are also those that are left when the others have no weight.
    label, weight = np.array([0.7, 0.1, 0.1, 0.1]), np.array([0.0, 1.0, 2.0, 1.0])
    left = amounts(label, np.random.default_rng(0).random((4, 2)), weight)
    assert math.isnan(left["gini"])
    nothing = amounts(np.zeros(3), prediction)
    assert math.isnan(nothing["gini"])
    assert math.isnan(nothing["total_error"])
    assert math.isfinite(nothing["mean_absolute_error"])
    assert math.isfinite(nothing["root_mean_squared_error"])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("weighted", [False, True])
def test_durations_equal_plain_formulas(seed: int, weighted: bool) -> None:
    label, prediction, weight = quantiles(seed)
    if not weighted:
        weight = np.ones_like(weight)
    pinball = [
        reference.mean_pinball_loss(label, prediction[:, i], alpha=share, sample_weight=weight)
        for i, share in enumerate(QUANTILES)
    ]
    inside = [row[0] <= days <= row[-1] for days, row in zip(label, prediction, strict=True)]
    assert durations(label, prediction, weight if weighted else None) == pytest.approx(
        {
            "mean_absolute_error": reference.mean_absolute_error(
                label, prediction[:, 4], sample_weight=weight
            ),
            "pinball_loss": np.mean(pinball),
            "coverage_error": abs(np.average(inside, weights=weight) - 0.8),
        }
    )


def test_true_quantiles_cover_and_cost_least() -> None:
    rng = np.random.default_rng(2)
    label = rng.exponential(5.0, 20_000)
    true = np.tile(-np.log1p(-np.array(QUANTILES)) * 5.0, (len(label), 1))
    best = durations(label, true)
    assert best["coverage_error"] < 4 * math.sqrt(0.8 * 0.2 / len(label))
    for share in (0.5, 4.0):
        other = durations(label, true * share)
        assert other["coverage_error"] > 0.05
        assert other["pinball_loss"] > best["pinball_loss"]
        assert other["mean_absolute_error"] > best["mean_absolute_error"]


def test_the_borders_of_the_quantiles_are_covered() -> None:
    answer = np.tile(np.arange(1.0, 10.0), (4, 1))
    covered = durations(np.array([1.0, 9.0, 0.9, 9.1]), answer)
    assert covered["coverage_error"] == pytest.approx(0.3)


def test_no_rows_or_no_weight_is_undefined() -> None:
    label, prediction, weight = sample(0)
    for result in (
        amounts(label[:0], prediction[:0]),
        amounts(label, prediction, np.zeros_like(weight)),
    ):
        assert list(result) == list(AMOUNT_METRICS)
        assert all(math.isnan(value) for value in result.values())
    label, prediction, weight = quantiles(0)
    for result in (
        durations(label[:0], prediction[:0]),
        durations(label, prediction, np.zeros_like(weight)),
    ):
        assert list(result) == list(DURATION_METRICS)
        assert all(math.isnan(value) for value in result.values())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_prediction_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        AmountScores(np.array([0.0]), np.array([[1.0, bad]]))
    with pytest.raises(ValueError, match="not finite"):
        DurationScores(np.array([0.0]), np.full((1, len(QUANTILES)), bad))
