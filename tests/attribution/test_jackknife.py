"""Intervals by leaving out groups of customers: by hand, and how often they hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from seqmarket.attribution import jackknife as module
from seqmarket.attribution.attributor import Attribution, Evidence, by_customer
from seqmarket.attribution.jackknife import jackknife_interval
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.linear import Linear
from seqmarket.attribution.summary import resample
from seqmarket.errors import SeqmarketError

Make = Callable[..., Journeys]
RandomLog = Callable[[int], list[list[tuple[Any, ...]]]]
Mutant = Callable[[pytest.MonkeyPatch], None]
STUDENT_9 = 1.8331
"""The 95 % quantile of Student's t with 9 degrees of freedom, from a printed table."""


def replicates_of(sample: Floats, groups: int) -> Floats:
    """The mean without each group."""
    group = np.arange(len(sample)) % groups
    return np.array([sample[group != g].mean(axis=0) for g in range(groups)])


def interval_is_students(interval: Any = jackknife_interval) -> None:
    """Of a mean of ten, each in a group of its own, it is the one of every textbook."""
    sample = np.random.default_rng(0).normal(size=(10, 3))
    found = interval(sample.mean(axis=0), replicates_of(sample, 10), 0.9)
    reach = STUDENT_9 * sample.std(axis=0, ddof=1) / np.sqrt(10)
    expected = np.stack([sample.mean(axis=0) - reach, sample.mean(axis=0) + reach])
    assert found == pytest.approx(expected, rel=1e-4)


def test_the_interval_of_a_mean_is_students() -> None:
    interval_is_students()


def coverage(interval: Any = jackknife_interval) -> float:
    """Share of the intervals of 80 % that hold the true mean, of skewed samples of 200."""
    random = np.random.default_rng(1)
    inside = []
    for _ in range(1_500):
        sample = random.exponential(size=200)
        low, high = interval(sample.mean(), replicates_of(sample, 10), 0.8)
        inside.append(low < 1 < high)
    return float(np.mean(inside))


def intervals_hold_as_often_as_they_say(interval: Any = jackknife_interval) -> None:
    assert coverage(interval) == pytest.approx(0.8, abs=0.03)


def test_intervals_hold_as_often_as_they_say() -> None:
    intervals_hold_as_often_as_they_say()


def as_of_a_bootstrap(estimate: Floats, replicates: Floats, level: float) -> Floats:
    """Replicates share most of the customers, and lie closer together than resamples."""
    tail = (1 - level) / 2
    return np.asarray(np.quantile(replicates, [tail, 1 - tail], axis=0))


def both_tails_in_one(estimate: Floats, replicates: Floats, level: float) -> Floats:
    return jackknife_interval(estimate, replicates, 2 * level - 1)


@pytest.mark.parametrize("check", [interval_is_students, intervals_hold_as_often_as_they_say])
@pytest.mark.parametrize("wrong", [as_of_a_bootstrap, both_tails_in_one])
def test_intervals_that_are_too_narrow_are_noticed(
    check: Callable[[Any], None], wrong: Callable[..., Floats]
) -> None:
    with pytest.raises(AssertionError):
        check(wrong)


def everybody_is_left_out_once(journeys: Journeys, groups: int) -> None:
    """Each replicate is what the others have, as learnt from them, brought to the size of all."""
    every = Linear().attribute(Evidence(journeys, journeys))
    weights: list[Floats] = []

    def credit_with(weight: Floats) -> Attribution:
        weights.append(weight)
        return replace(every, credit=every.credit * weight.sum())

    found = module.with_replicates(journeys, credit_with, groups=groups, seed=3)
    n = journeys.n_customers
    assert (weights[0] == 1).all()
    left_out = 1 - np.stack(weights[1:])
    assert len(left_out) == groups
    assert (left_out.sum(axis=0) == 1).all()
    assert set(np.unique(left_out)) == {0, 1}
    sizes = left_out.sum(axis=1)
    assert sizes.max() - sizes.min() <= 1
    assert (np.diff(left_out.argmax(axis=0)) != 1).any()  # by lot, not in the order of the log
    assert found.replicates is not None
    assert found.replicates.shape == (groups, len(journeys.channels) + 1)
    each = by_customer(journeys, every.credit)
    for weight, row in zip(weights[1:], found.replicates, strict=True):
        stays = weight > 0
        credit = each[stays].sum(axis=0) * weight.sum()
        expected = np.append(credit, every.organic[stays].sum()) * groups / (groups - 1)
        assert row == pytest.approx(expected)
    assert found.credit == pytest.approx(every.credit * n)


@pytest.mark.parametrize("groups", [2, 7])
def test_everybody_is_left_out_once(make: Make, random_log: RandomLog, groups: int) -> None:
    everybody_is_left_out_once(make(random_log(4)), groups)


def draws_the_groups_one_by_one(patch: pytest.MonkeyPatch) -> None:
    class Loose:
        def __init__(self, seed: int) -> None:
            self._random = generator(seed)

        def permutation(self, group: Any) -> Any:
            return self._random.integers(group.max() + 1, size=len(group))

    generator = np.random.default_rng
    patch.setattr(module.np.random, "default_rng", Loose)


def counts_those_who_are_left_out(patch: pytest.MonkeyPatch) -> None:
    """They are left out of what is learnt, but not of what is counted."""
    honest = module.by_customer

    def counted(journeys: Journeys, credit: Floats) -> Floats:
        return honest(journeys, np.where(credit == 0, 1.0, credit))

    patch.setattr(module, "by_customer", counted)


def keeps_the_smaller_size(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        module,
        "replace",
        lambda found, replicates: replace(found, replicates=replicates * 6 / 7),
    )


@pytest.mark.parametrize(
    "mutant",
    [draws_the_groups_one_by_one, counts_those_who_are_left_out, keeps_the_smaller_size],
)
def test_wrong_replicates_are_noticed(
    make: Make, random_log: RandomLog, mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    journeys = make(random_log(4))
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        everybody_is_left_out_once(journeys, 7)


def test_without_groups_nothing_is_learnt_twice(make: Make) -> None:
    journeys = make([[(1.0, "mail"), (2.0, "buy")]])
    every = Linear().attribute(Evidence(journeys, journeys))
    weights: list[Floats] = []
    found = module.with_replicates(
        journeys, lambda weight: (weights.append(weight), every)[1], groups=0, seed=1
    )
    assert found.replicates is None
    assert len(weights) == 1


def test_the_summary_takes_replicates_for_what_they_are(make: Make, random_log: RandomLog) -> None:
    """Of all customers, the bounds are those of the jackknife around the estimate."""
    journeys = make(random_log(4))
    every = Linear().attribute(Evidence(journeys, journeys))
    found = module.with_replicates(journeys, lambda weight: every, groups=10, seed=1)
    shares = resample(journeys, found)
    assert (shares.jackknife, resample(journeys, every).jackknife) == (True, False)
    assert shares.credit == pytest.approx(resample(journeys, every).credit)
    low, high = shares.credit_interval(0.9)
    assert (low + high) / 2 == pytest.approx(shares.credit)
    # Here nothing was learnt, so that customers are drawn in both ways.
    wide = resample(journeys, every, n_resamples=2_000).draws.std(axis=0)
    ratio = (high - low)[wide > 0] / (2 * STUDENT_9 * wide[wide > 0])
    assert ratio.mean() == pytest.approx(1, abs=0.3)
    low, high = shares.share_interval(0.9)
    assert (low + high) / 2 == pytest.approx(shares.share()[0])


def test_a_period_without_purchases_is_refused(make: Make) -> None:
    module.check_purchases(make([[(1.0, "mail"), (2.0, "buy")]]), "regression")
    with pytest.raises(SeqmarketError, match="no purchase in the training period"):
        module.check_purchases(make([[(1.0, "mail")]]), "regression")
