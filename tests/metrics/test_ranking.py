"""Categorical metrics against scikit-learn and torchmetrics, with weights and ties."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from torchmetrics.functional.classification import multiclass_f1_score
from torchmetrics.functional.retrieval import retrieval_reciprocal_rank

from seqmarket.metrics.ranking import HIGHER_IS_BETTER, CategoricalScores, categorical_metrics

K = 5


def sample(seed: int, n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(K), n)
    label = np.array([rng.choice(K, p=row) for row in probabilities])
    return label, probabilities, rng.integers(0, 4, n).astype(np.float64)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_scikit_learn(seed: int, weighted: bool) -> None:
    label, p, weight = sample(seed)
    if not weighted:
        weight = np.ones_like(weight)
    ours = categorical_metrics(label, p, weight if weighted else None)
    best = p.argmax(axis=1)
    expected = {
        "accuracy": reference.accuracy_score(label, best, sample_weight=weight),
        "top_3": reference.top_k_accuracy_score(label, p, k=3, sample_weight=weight),
        "mrr": reference.label_ranking_average_precision_score(
            np.eye(K)[label], p, sample_weight=weight
        ),
        "macro_f1": reference.f1_score(label, best, average="macro", sample_weight=weight),
        "log_loss": reference.log_loss(label, p, sample_weight=weight),
    }
    assert ours == pytest.approx(expected)


def test_equals_torchmetrics() -> None:
    label, p, _ = sample(5)
    ours = categorical_metrics(label, p)
    scores, target = torch.from_numpy(p), torch.from_numpy(label)
    f1 = multiclass_f1_score(scores, target, num_classes=K, average="macro").item()
    assert ours["macro_f1"] == pytest.approx(f1, abs=1e-6)
    ranks = [
        retrieval_reciprocal_rank(row, torch.arange(K) == own).item()
        for row, own in zip(scores, target, strict=True)
    ]
    assert ours["mrr"] == pytest.approx(np.mean(ranks), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_a_weight_equals_a_repetition(seed: int) -> None:
    label, p, weight = sample(seed)
    p = np.round(p, 1)  # ties
    rows = np.repeat(np.arange(len(label)), weight.astype(np.int64))
    repeated = categorical_metrics(label[rows], p[rows])
    assert categorical_metrics(label, p, weight) == pytest.approx(repeated)


def test_tied_classes_earn_their_expectation() -> None:
    rng = np.random.default_rng(0)
    p = np.array([0.3, 0.3, 0.3, 0.1])
    for label in range(4):
        orders = list(itertools.permutations(range(4)))
        ranks = [1 + sorted(range(4), key=lambda k: (-p[k], o[k])).index(label) for o in orders]
        ours = categorical_metrics(np.array([label]), p[None])
        assert ours["accuracy"] == pytest.approx(np.mean([rank == 1 for rank in ranks]))
        assert ours["top_3"] == pytest.approx(np.mean([rank <= 3 for rank in ranks]))
        assert ours["mrr"] == pytest.approx(np.mean([1 / rank for rank in ranks]))
    # A constant prediction is worth what chance is worth, wherever the labels are.
    label = rng.integers(0, 2, 50)
    assert categorical_metrics(label, np.full((50, K), 1 / K))["accuracy"] == pytest.approx(1 / K)


def test_macro_f1_leaves_out_classes_that_do_not_occur() -> None:
    label = np.array([0, 0, 1, 1])
    p = np.eye(K)[[0, 0, 1, 1]]
    assert categorical_metrics(label, p)["macro_f1"] == pytest.approx(1.0)
    # A class predicted in vain counts as 0.
    p = np.eye(K)[[0, 0, 1, 2]]
    expected = np.mean([1.0, 2 / 3, 0.0])
    assert categorical_metrics(label, p)["macro_f1"] == pytest.approx(expected)


def test_no_rows_or_no_weight_is_undefined() -> None:
    label, p, weight = sample(0)
    for result in (
        categorical_metrics(label[:0], p[:0]),
        categorical_metrics(label, p, np.zeros_like(weight)),
    ):
        assert list(result) == list(HIGHER_IS_BETTER)
        assert all(math.isnan(value) for value in result.values())


def test_a_label_of_probability_zero_costs_much_but_not_infinitely() -> None:
    ours = categorical_metrics(np.array([0]), np.array([[0.0, 1.0]]))
    assert 30 < ours["log_loss"] < 40


def test_a_probability_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        CategoricalScores(np.array([0]), np.array([[np.nan, 1.0]]))
