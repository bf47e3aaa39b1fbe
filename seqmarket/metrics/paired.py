"""Whether one model is better than another on the same rows: paired, clustered, and corrected."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from seqmarket.metrics.resampling import Bootstrap

POWER = 0.8
"""How often a difference of the smallest size that a test set can show would be found."""


@dataclass(frozen=True)
class Member:
    """One of the runs that stand for a model: a seed.

    Attributes:
        name: Of its scores in a `Bootstrap`.
        seeds: Names of all scores that differ from it by the seed only, itself included: what is
            known of how much a seed moves the metric.
    """

    name: str
    seeds: tuple[str, ...]


@dataclass(frozen=True)
class PairedDifference:
    """A metric of one model minus that of another.

    Attributes:
        estimate: On all rows, the mean over the seeds of each.
        low: Lower bound of the percentile interval.
        high: Upper bound.
        error: Standard error, over customers and, where there are several, over seeds.
        p_value: Two-sided, of no difference.
        freedom: Degrees of freedom of the test; infinite where only customers vary.
        better: Share of the resamples in which the model is better, ties one half.
        seeds_vary: Whether the variance over seeds is known, and part of all of these.
    """

    estimate: float
    low: float
    high: float
    error: float
    p_value: float
    freedom: float
    better: float
    seeds_vary: bool

    def detectable(self, level: float, n_comparisons: int = 1) -> float:
        """The smallest difference that this test would find four times out of five.

        Args:
            level: Confidence level of the test, as 0.95.
            n_comparisons: Comparisons that share its error (Bonferroni).
        """
        tail = (1 - level) / max(1, n_comparisons) / 2
        quantiles = student.isf([tail, 1 - POWER], self.freedom)
        return float(quantiles.sum() * self.error)


def paired_difference(
    drawn: Bootstrap,
    metric: str,
    model: Sequence[Member],
    other: Sequence[Member],
    *,
    higher_is_better: bool,
) -> PairedDifference:
    """Compares the mean of a model's seeds with that of another's, on the same resamples.

    Where nothing is known of other seeds only the customers vary, and interval and p-value are the
    bootstrap's percentiles, with a normal tail where no resample crosses 0. Otherwise the variance
    between seeds joins that over the resamples, and both are Student's t with the degrees of
    freedom of Satterthwaite (Biometrics Bulletin 1946), few where it is the seeds that matter (two
    sources of variance: Bouthillier et al., "Accounting for variance in machine learning
    benchmarks", MLSys 2021).

    Args:
        drawn: The metrics of all runs on the same resamples.
        metric: One of its metrics.
        model: The runs that stand for the model.
        other: The same of what it is compared with.
        higher_is_better: Whether a larger value is better.
    """
    place = drawn.metrics.index(metric)

    def gap(of: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        ours, theirs = (
            np.mean([of[member.name][..., place] for member in members], axis=0)
            for members in (model, other)
        )
        return np.asarray(ours - theirs)

    estimate = float(gap(drawn.estimates))
    draws = gap(drawn.draws)
    draws = draws[~np.isnan(draws)]
    estimates = {name: float(values[place]) for name, values in drawn.estimates.items()}
    spreads = seed_variances(estimates, (model, other))
    if len(draws) < 2 or math.isnan(estimate):
        unknown = math.nan
        return PairedDifference(
            estimate, unknown, unknown, unknown, unknown, unknown, unknown, bool(spreads)
        )
    sampling = float(draws.var(ddof=1))
    tail = (1 - drawn.level) / 2
    error, freedom = total_error(sampling, spreads)
    if spreads:
        reach = float(student.isf(tail, freedom)) * error
        low, high = estimate - reach, estimate + reach
        score = estimate / error if error > 0 else 0.0
        p_value = float(2 * student.sf(abs(score), freedom))
        above = float(student.cdf(score, freedom))
    else:
        low, high = (float(bound) for bound in np.quantile(draws, [tail, 1 - tail]))
        beyond = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
        p_value = min(1.0, 2 * (beyond + 1) / (len(draws) + 1))
        if beyond == 0 and error > 0:  # farther out than resamples can count
            p_value = min(p_value, float(2 * student.sf(abs(estimate) / error, freedom)))
        above = float(((draws > 0) + (draws == 0) / 2).mean())
    better = above if higher_is_better else 1 - above
    return PairedDifference(estimate, low, high, error, p_value, freedom, better, bool(spreads))


def seed_variances(
    estimates: Mapping[str, float], sides: Sequence[Sequence[Member]]
) -> list[tuple[float, int]]:
    """Variance that each set of seeds adds to a difference, and its degrees of freedom.

    Both sides may be of the same set, whose variance is then known once only.

    Args:
        estimates: The metric by the name of the scores.
        sides: The runs that stand for each model.

    Returns:
        Nothing where there is one seed of each.
    """
    found: dict[frozenset[str], float] = {}
    for members in sides:
        seeds = frozenset(name for member in members for name in member.seeds)
        values = np.array([estimates[name] for name in sorted(seeds)])
        if len(values) > 1 and not np.isnan(values).any():
            share = float(values.var(ddof=1)) / len(members)
            found[seeds] = found.get(seeds, 0.0) + share
    return [(variance, len(seeds) - 1) for seeds, variance in found.items()]


def total_error(sampling: float, spreads: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """Standard error and Satterthwaite's degrees of freedom of a difference.

    Args:
        sampling: Variance over customers, of whom there are many.
        spreads: Of `seed_variances`.
    """
    variance = sampling + sum(spread for spread, _ in spreads)
    if variance == sampling:
        return math.sqrt(sampling), math.inf
    return math.sqrt(variance), variance**2 / sum(spread**2 / f for spread, f in spreads)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number, under any dependence; NaN stays, and is not counted.

    Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        adjusted[i] = largest
    return adjusted
