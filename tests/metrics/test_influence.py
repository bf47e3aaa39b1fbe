"""The influence of rows gives the metric, its standard error, and that of a paired difference."""

from __future__ import annotations

import numpy as np
import pytest

from seqmarket.metrics.amounts import AmountScores, DurationScores
from seqmarket.metrics.classification import BinaryScores
from seqmarket.metrics.influence import clustered_error, mean_influence
from seqmarket.metrics.ranking import CategoricalScores, RankedScores
from seqmarket.metrics.resampling import Scores, bootstrap_metrics
from seqmarket.schema import QUANTILES


def binary(n: int = 400, seed: int = 0, digits: int = 2) -> BinaryScores:
    numbers = np.random.default_rng(seed)
    probability = numbers.random(n).round(digits)  # with ties
    return BinaryScores(numbers.random(n) < probability, probability)


def every_kind() -> list[tuple[Scores, str]]:
    numbers = np.random.default_rng(1)
    classes = CategoricalScores(numbers.integers(4, size=300), numbers.dirichlet(np.ones(4), 300))
    amounts = AmountScores(numbers.random(300), numbers.random((300, 2)))
    days = DurationScores(numbers.random(300), np.sort(numbers.random((300, len(QUANTILES)))))
    return [
        *((binary(300), metric) for metric in ("auroc", "log_loss", "brier")),
        *((classes, metric) for metric in ("accuracy", "top_3", "mrr", "log_loss")),
        (amounts, "mean_absolute_error"),
        *((days, metric) for metric in ("mean_absolute_error", "pinball_loss")),
    ]


@pytest.mark.parametrize(("scores", "metric"), every_kind())
def test_the_estimate_is_the_metric_and_the_rows_sum_to_nothing(scores, metric) -> None:
    found = scores.influence(metric)
    assert found.estimate == pytest.approx(scores.evaluate()[scores.metrics.index(metric)])
    assert found.rows.sum() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("scores", "metric"), every_kind())
def test_the_error_is_that_of_the_cluster_bootstrap(scores, metric) -> None:
    customer = np.repeat(np.arange(100), 3)
    drawn = bootstrap_metrics(customer, {"own": scores}, n_resamples=600)
    spread = drawn.draws["own"][:, scores.metrics.index(metric)].std()
    assert clustered_error(scores.influence(metric).rows, customer) == pytest.approx(
        spread, rel=0.15
    )


def test_the_error_of_an_auroc_is_the_one_of_delong() -> None:
    numbers = np.random.default_rng(3)
    label = numbers.random(80) < 0.4
    probability = numbers.random(80).round(1)
    above, below = probability[label], probability[~label]
    wins = (above[:, None] > below) + 0.5 * (above[:, None] == below)
    variance = wins.mean(axis=1).var(ddof=1) / len(above) + wins.mean(axis=0).var(ddof=1) / len(
        below
    )
    rows = BinaryScores(label, probability).influence("auroc").rows
    assert clustered_error(rows, np.arange(80)) == pytest.approx(np.sqrt(variance), rel=0.02)


def test_rows_that_say_the_same_are_counted_once() -> None:
    """As they are where rows of one customer are summed; a mutant that takes rows as customers."""
    values = np.repeat(np.random.default_rng(0).random(50), 4)
    once = clustered_error(mean_influence(values[::4]).rows, np.arange(50))
    rows = mean_influence(values).rows
    assert clustered_error(rows, np.repeat(np.arange(50), 4)) == pytest.approx(once)
    assert clustered_error(rows, np.arange(200)) < 0.6 * once


def test_what_is_undefined_stays_so() -> None:
    assert np.isnan(BinaryScores(np.ones(4), np.linspace(0, 1, 4)).influence("auroc").estimate)
    assert np.isnan(mean_influence(np.empty(0)).estimate)
    assert np.isnan(clustered_error(np.ones(3), np.zeros(3)))
    assert binary().influence("average_precision") is None


def test_ranks_say_the_same_as_all_probabilities() -> None:
    numbers = np.random.default_rng(5)
    label = numbers.integers(5, size=200)
    probabilities = numbers.dirichlet(np.ones(5), 200).round(1) + 1e-3  # with ties below the first
    probabilities[np.arange(200), numbers.integers(5, size=200)] += 1
    own = probabilities[np.arange(200), label]
    ranked = RankedScores(
        label,
        above=(probabilities > own[:, None]).sum(axis=1),
        ties=(probabilities == own[:, None]).sum(axis=1),
        probability=own,
        votes=(np.arange(200), probabilities.argmax(axis=1), np.ones(200)),
    )
    np.testing.assert_allclose(
        ranked.evaluate(), CategoricalScores(label, probabilities).evaluate()
    )
