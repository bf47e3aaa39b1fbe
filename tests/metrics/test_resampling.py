"""The cluster bootstrap covers the truth, pairs its differences, and notices other rows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seqmarket.metrics.classification import BinaryScores, binary_metrics
from seqmarket.metrics.ranking import CategoricalScores
from seqmarket.metrics.resampling import bootstrap_metrics


def clustered(seed: int, n_customers: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of customers who resemble themselves: 8 rows each, all with nearly one rate."""
    rng = np.random.default_rng(seed)
    customer = np.repeat(np.arange(n_customers), 8)
    rate = rng.beta(0.5, 0.5, n_customers)[customer]
    label = (rng.random(len(customer)) < rate).astype(np.int64)
    return rng.permutation(n_customers)[customer], label, np.full(len(customer), 0.5)


def test_estimates_are_those_of_all_rows() -> None:
    customer, label, _ = clustered(0)
    probability = np.random.default_rng(0).random(len(label))
    result = bootstrap_metrics(customer, {"a": BinaryScores(label, probability)}, n_resamples=20)
    found = {name: value.estimate for name, value in result.intervals("a").items()}
    assert found == pytest.approx(binary_metrics(label, probability))
    for value in result.intervals("a").values():
        assert value.low < value.high


def brier_of_customers(seed: int, customer_wise: bool) -> bool:
    """Whether the interval of the mean squared error of ``rate`` covers its expectation."""
    rng = np.random.default_rng(seed)
    customer, label, _ = clustered(seed)
    probability = np.full(len(label), 0.3)  # then the Brier score is .09 + .4 * mean(label)
    groups = customer if customer_wise else rng.permutation(len(label))
    scores = {"a": BinaryScores(label, probability)}
    interval = bootstrap_metrics(groups, scores, n_resamples=200, seed=seed).intervals("a")["brier"]
    return interval.low <= 0.09 + 0.4 * 0.5 <= interval.high


def test_intervals_cover_the_truth_when_customers_are_drawn() -> None:
    covered = np.mean([brier_of_customers(seed, customer_wise=True) for seed in range(100)])
    assert 0.88 <= covered <= 1.0  # .95, with a standard error of .022


def test_intervals_that_draw_rows_are_caught_as_too_short() -> None:
    covered = np.mean([brier_of_customers(seed, customer_wise=False) for seed in range(100)])
    assert covered < 0.8


def test_differences_are_paired() -> None:
    rng = np.random.default_rng(0)
    customer, label, _ = clustered(0)
    good = np.clip(0.3 + 0.4 * label + rng.normal(0, 0.3, len(label)), 0.01, 0.99)
    better = np.clip(good + 0.02 * (2 * label - 1), 0.01, 0.99)
    scores = {"good": BinaryScores(label, good), "better": BinaryScores(label, better)}
    result = bootstrap_metrics(customer, scores, n_resamples=200)
    gain = result.difference("better", "good")["auroc"]
    alone = result.intervals("good")["auroc"]
    assert gain.estimate > 0
    assert gain.low > 0  # although the gain is smaller than the interval of either
    assert alone.high - alone.low > 2 * (gain.high - gain.low)
    back = result.difference("good", "better")["auroc"]
    assert (back.low, back.estimate, back.high) == pytest.approx(
        (-gain.high, -gain.estimate, -gain.low)
    )
    same = result.difference("good", "good")["auroc"]
    assert (same.low, same.estimate, same.high) == (0, 0, 0)


def test_the_seed_decides_the_draws() -> None:
    customer, label, _ = clustered(0)
    scores = {"a": BinaryScores(label, np.random.default_rng(0).random(len(label)))}
    first, again, other = (
        bootstrap_metrics(customer, scores, n_resamples=20, seed=seed).draws["a"]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_wider_level_gives_wider_intervals() -> None:
    customer, label, _ = clustered(0)
    scores = {"a": BinaryScores(label, np.random.default_rng(0).random(len(label)))}
    narrow, wide = (
        bootstrap_metrics(customer, scores, n_resamples=100, level=level).intervals("a")["auroc"]
        for level in (0.5, 0.99)
    )
    assert wide.low < narrow.low < narrow.high < wide.high


def test_categorical_scores_go_the_same_way() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 4, 500)
    p = rng.dirichlet(np.ones(4), 500)
    better = (p + np.eye(4)[label]) / 2
    scores = {"a": CategoricalScores(label, p), "b": CategoricalScores(label, better)}
    result = bootstrap_metrics(rng.integers(0, 60, 500), scores, n_resamples=50)
    assert result.difference("b", "a")["macro_f1"].low > 0
    assert result.difference("b", "a")["log_loss"].high < 0


def test_resamples_without_a_class_are_left_out() -> None:
    label = np.array([1, 0, 0, 0])
    scores = {"a": BinaryScores(label, np.array([0.9, 0.2, 0.3, 0.4]))}
    result = bootstrap_metrics(np.arange(4), scores, n_resamples=100)
    assert np.isnan(result.draws["a"][:, 0]).any()
    auroc = result.intervals("a")["auroc"]
    assert (auroc.low, auroc.high) == (1.0, 1.0)


def test_one_class_and_no_rows_give_nan_without_an_error() -> None:
    none = BinaryScores(np.zeros(3, dtype=int), np.array([0.1, 0.2, 0.3]))
    auroc = bootstrap_metrics(np.arange(3), {"a": none}, n_resamples=5).intervals("a")["auroc"]
    assert math.isnan(auroc.estimate)
    assert math.isnan(auroc.low)
    empty = BinaryScores(np.empty(0), np.empty(0))
    brier = bootstrap_metrics(np.empty(0), {"a": empty}, n_resamples=5).intervals("a")["brier"]
    assert math.isnan(brier.estimate)
    assert math.isnan(brier.high)


def test_other_rows_or_other_metrics_are_refused() -> None:
    label, p = np.array([0, 1, 0]), np.array([0.1, 0.2, 0.3])
    binary = BinaryScores(label, p)
    categorical = CategoricalScores(label, np.stack([1 - p, p], axis=1))
    with pytest.raises(ValueError, match="same rows"):
        bootstrap_metrics(np.arange(2), {"a": binary})
    with pytest.raises(ValueError, match="same metrics"):
        bootstrap_metrics(np.arange(3), {"a": binary, "b": categorical})
