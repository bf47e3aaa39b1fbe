"""Gamma-Gamma against its story, against its source, and the sums against simulated ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import gamma

from seqmarket.nn.repurchase import BetaGeometric, Histories
from seqmarket.nn.spend import GammaGamma

# Of 946 customers of CDNOW: the source's own estimates, from their repeat purchases.
PUBLISHED = GammaGamma(p=6.25, q=3.74, gamma=15.44)
BUYING = BetaGeometric(r=1.5, alpha=6.0, a=0.9, b=4.0)


def test_the_likelihood_is_the_integral_of_the_story() -> None:
    count, mean = np.array([1, 4]), np.array([20.0, 41.0])
    found = np.exp(PUBLISHED.log_likelihoods(count, mean))
    for i, n in enumerate(count):

        def story(scale: float, n: int = int(n), y: float = float(mean[i])) -> float:
            amounts = gamma.pdf(y, PUBLISHED.p * n, scale=1 / (scale * n))
            return float(amounts * gamma.pdf(scale, PUBLISHED.q, scale=1 / PUBLISHED.gamma))

        assert found[i] == pytest.approx(quad(story, 0, 5, epsabs=1e-12)[0], rel=1e-5)


def test_the_expectations_of_the_source() -> None:
    count, total = np.array([2, 1, 0]), np.array([44.70, 11.77, 0.0])
    expected = PUBLISHED.expected(count, total)
    assert expected == pytest.approx([24.66, 18.92, 35.22], abs=0.01)


def test_parameters_are_recovered_in_any_currency() -> None:
    rng = np.random.default_rng(2)
    count = rng.integers(1, 6, 40_000)
    rate = rng.gamma(PUBLISHED.q, 1 / PUBLISHED.gamma, len(count))
    mean = rng.gamma(PUBLISHED.p * count, 1 / rate) / count
    found, in_cents = GammaGamma.fit(count, mean), GammaGamma.fit(count, 100 * mean)
    assert found.p == pytest.approx(PUBLISHED.p, rel=0.08)
    assert found.q == pytest.approx(PUBLISHED.q, rel=0.08)
    assert found.gamma == pytest.approx(PUBLISHED.gamma, rel=0.15)
    assert in_cents.p == pytest.approx(found.p, rel=1e-3)
    assert in_cents.gamma == pytest.approx(100 * found.gamma, rel=1e-3)


def test_no_likelihood_is_higher_than_that_of_the_fit() -> None:
    rng = np.random.default_rng(3)
    count, mean = rng.integers(1, 9, 3_000), rng.gamma(3.0, 12.0, 3_000)
    best = GammaGamma.fit(count, mean)
    highest = best.log_likelihoods(count, mean).sum()
    for name in ("p", "q", "gamma"):
        for factor in (0.98, 1.02):
            other = replace(best, **{name: factor * getattr(best, name)})
            assert other.log_likelihoods(count, mean).sum() < highest


SEEN = Histories(
    days=np.array([1, 4, 9, 30, 0]),
    repeats=np.array([0.0, 3.0, 8.0, 29.0, 0.0]),
    last=np.array([0.0, 25.0, 29.0, 30.0, 0.0]),
    age=np.array([2.0, 26.0, 30.0, 30.0, 1.0]),
)
TOTAL = np.array([12.0, 220.0, 180.0, 900.0, 0.0])


def sums_of(row: int, n: int, days: float) -> np.ndarray:
    """What customers with one history spend, as the two stories say."""
    rng = np.random.default_rng(row)
    alive = rng.random(n) < BUYING.alive(SEEN)[row]
    rate = rng.gamma(BUYING.r + SEEN.repeats[row], 1 / (BUYING.alpha + SEEN.age[row]), n)
    leaves = rng.beta(BUYING.a, BUYING.b + SEEN.repeats[row], n)
    shape = PUBLISHED.q + PUBLISHED.p * SEEN.days[row]
    spending = rng.gamma(shape, 1 / (PUBLISHED.gamma + TOTAL[row]), n)
    now, summed = np.zeros(n), np.zeros(n)
    while alive.any():
        now = now + rng.exponential(1 / rate)
        alive &= now <= days
        summed += np.where(alive, rng.gamma(PUBLISHED.p, 1 / spending), 0.0)
        alive &= rng.random(n) >= leaves
    return summed


def assert_medians(median: np.ndarray, days: float) -> None:
    for row in range(len(TOTAL)):
        summed = sums_of(row, 40_000, days)
        low, high = np.quantile(summed, [0.485, 0.515])
        assert low <= median[row] <= high


@pytest.mark.parametrize("days", [5.0, 40.0])
def test_half_of_the_simulated_sums_lie_below_the_median(days: float) -> None:
    median = PUBLISHED.median_of_sum(BUYING, SEEN, TOTAL, days)
    assert (median > 0).any()
    assert_medians(median, days)


def test_a_number_of_purchases_times_an_amount_is_no_median() -> None:
    mutant = BUYING.expected(SEEN, 40.0) * PUBLISHED.expected(SEEN.days, TOTAL)
    with pytest.raises(AssertionError):
        assert_medians(mutant, 40.0)


def test_sums_have_the_expectation_of_number_times_amount() -> None:
    expected = BUYING.expected(SEEN, 40.0) * PUBLISHED.expected(SEEN.days, TOTAL)
    for row in range(len(TOTAL)):
        summed = sums_of(row, 100_000, 40.0)
        assert expected[row] == pytest.approx(summed.mean(), rel=0.03)


def test_who_will_rather_buy_nothing_has_a_median_of_zero() -> None:
    median = PUBLISHED.median_of_sum(BUYING, SEEN, TOTAL, 1.0)
    nothing = BUYING.buys(SEEN, 1.0) < 0.5
    assert nothing.any()
    assert (median[nothing] == 0).all()
    assert (median[~nothing] > 0).all()
