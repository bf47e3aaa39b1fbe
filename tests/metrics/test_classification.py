"""Binary metrics against scikit-learn and torchmetrics, with weights, ties and single classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from seqmarket.metrics.classification import (
    HIGHER_IS_BETTER,
    BinaryScores,
    binary_metrics,
    equal_mass_bounds,
)


def sample(seed: int, n: int = 400, digits: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities (rounded, so that many tie) and multiplicities with zeros."""
    rng = np.random.default_rng(seed)
    probability = np.round(rng.beta(2, 3, n), digits)
    label = (rng.random(n) < probability).astype(np.int64)
    return label, probability, rng.integers(0, 4, n).astype(np.float64)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_scikit_learn(seed: int, weighted: bool) -> None:
    label, probability, weight = sample(seed)
    if not weighted:
        weight = np.ones_like(weight)
    ours = binary_metrics(label, probability, weight if weighted else None)
    expected = {
        "auroc": reference.roc_auc_score(label, probability, sample_weight=weight),
        "average_precision": reference.average_precision_score(
            label, probability, sample_weight=weight
        ),
        "log_loss": reference.log_loss(label, probability, sample_weight=weight),
        "brier": reference.brier_score_loss(label, probability, sample_weight=weight),
    }
    assert {name: ours[name] for name in expected} == pytest.approx(expected)


def test_equals_torchmetrics() -> None:
    label, probability, _ = sample(7)
    ours = binary_metrics(label, probability)
    scores, target = torch.from_numpy(probability), torch.from_numpy(label)
    assert ours["auroc"] == pytest.approx(binary_auroc(scores, target).item(), abs=1e-6)
    precision = binary_average_precision(scores, target).item()
    assert ours["average_precision"] == pytest.approx(precision, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("digits", [1, 2, 8])
def test_a_weight_equals_a_repetition(seed: int, digits: int) -> None:
    label, probability, weight = sample(seed, digits=digits)
    rows = np.repeat(np.arange(len(label)), weight.astype(np.int64))
    repeated = binary_metrics(label[rows], probability[rows])
    assert binary_metrics(label, probability, weight) == pytest.approx(repeated)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    label, probability, weight = sample(seed)
    rows = np.random.default_rng(seed).permutation(len(label))
    mixed = binary_metrics(label[rows], probability[rows], weight[rows])
    assert mixed == pytest.approx(binary_metrics(label, probability, weight))


def test_calibration_error_of_known_bins() -> None:
    # 15 bins of 2 rows; in bin i the mean probability is p and the rate is 0, 1/2 or 1.
    probability = np.repeat(np.linspace(0.02, 0.98, 15), 2)
    label = np.tile([0, 1, 0, 0, 1, 1], 5)
    rate = label.reshape(15, 2).mean(axis=1)
    expected = np.abs(rate - probability[::2]).mean()
    assert binary_metrics(label, probability)["calibration_error"] == pytest.approx(expected)


def test_calibration_error_of_a_constant_is_the_distance_to_the_rate() -> None:
    label = np.array([0, 0, 0, 1])
    ours = binary_metrics(label, np.full(4, 0.6))
    assert ours["calibration_error"] == pytest.approx(0.35)
    assert ours["auroc"] == 0.5
    assert ours["average_precision"] == pytest.approx(0.25)
    assert ours["lift_at_10"] == pytest.approx(1.0)


def test_bins_have_equal_mass_and_do_not_split_ties() -> None:
    np.testing.assert_array_equal(equal_mass_bounds(np.arange(1.0, 10.0), 3), [0, 3, 6, 9])
    # One group holds 8 of 10 rows: it is a bin of its own.
    np.testing.assert_array_equal(equal_mass_bounds(np.array([1.0, 9.0, 10.0]), 3), [0, 1, 2, 3])
    np.testing.assert_array_equal(equal_mass_bounds(np.array([5.0]), 15), [0, 1])


def test_lift_counts_the_best_tenth() -> None:
    label = np.zeros(100, dtype=np.int64)
    label[:20] = 1  # of the 10 best rows all are positive, of all rows one in five
    probability = np.linspace(0.9, 0.1, 100)
    assert binary_metrics(label, probability)["lift_at_10"] == pytest.approx(5.0)
    assert binary_metrics(label[::-1], probability)["lift_at_10"] == pytest.approx(0.0)


def test_lift_shares_the_border_among_ties() -> None:
    # 5 sure hits, then 20 tied rows with 10 hits: 5 of them fit, half of which hit.
    probability = np.concatenate([np.full(5, 0.9), np.full(20, 0.5), np.full(75, 0.1)])
    label = np.concatenate([np.ones(5), np.ones(10), np.zeros(10), np.zeros(75)]).astype(int)
    expected = (5 + 2.5) / 10 / 0.15
    assert binary_metrics(label, probability)["lift_at_10"] == pytest.approx(expected)


@pytest.mark.parametrize("only", [0, 1])
def test_one_class_leaves_ranking_undefined(only: int) -> None:
    label, probability, _ = sample(0)
    ours = binary_metrics(np.full_like(label, only), probability)
    for name in ("auroc", "average_precision", "lift_at_10"):
        assert math.isnan(ours[name])
    for name in ("log_loss", "brier", "calibration_error"):
        assert math.isfinite(ours[name])


def test_no_rows_or_no_weight_is_undefined() -> None:
    label, probability, weight = sample(0)
    for result in (
        binary_metrics(label[:0], probability[:0]),
        binary_metrics(label, probability, np.zeros_like(weight)),
    ):
        assert list(result) == list(HIGHER_IS_BETTER)
        assert all(math.isnan(value) for value in result.values())


def test_certain_and_wrong_costs_much_but_not_infinitely() -> None:
    ours = binary_metrics(np.array([0, 1]), np.array([1.0, 0.0]))
    assert 30 < ours["log_loss"] < 40


def test_a_probability_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        BinaryScores(np.array([0, 1]), np.array([0.5, np.nan]))


def test_shuffled_labels_rank_at_chance() -> None:
    rng = np.random.default_rng(3)
    probability = rng.random(20_000)
    label = rng.integers(0, 2, 20_000)
    # Standard error of AUROC without signal: sqrt((n + 1) / (12 n1 n0)), here .0041.
    assert binary_metrics(label, probability)["auroc"] == pytest.approx(0.5, abs=4 * 0.0041)
