"""The test of a difference: its size, its power, the variance between seeds, and corrections."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from seqmarket.metrics.classification import BinaryScores
from seqmarket.metrics.paired import (
    Member,
    PairedDifference,
    holm,
    paired_difference,
    seed_variances,
)
from seqmarket.metrics.resampling import Bootstrap, bootstrap_metrics

CUSTOMERS = 150


def logistic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))


def world(
    seed: int, models: dict[str, float], *, of_customer: float = 0.5, rows_each: int = 4
) -> tuple[NDArray[np.int64], dict[str, BinaryScores]]:
    """Rows of customers who differ, and models that see their tendency with so much noise."""
    numbers = np.random.default_rng(seed)
    customer = np.repeat(np.arange(CUSTOMERS), rows_each)
    tendency = numbers.normal(0, 1.2, CUSTOMERS)[customer]
    label = numbers.random(len(customer)) < logistic(tendency)
    found = {}
    for name, noise in models.items():
        shared = numbers.normal(0, noise * of_customer, CUSTOMERS)[customer]
        own = numbers.normal(0, noise * (1 - of_customer), len(customer))
        found[name] = BinaryScores(label, logistic(tendency + shared + own))
    return customer, found


def alone(name: str) -> list[Member]:
    return [Member(name, (name,))]


def difference(seed: int, models: dict[str, float]) -> PairedDifference:
    customer, scores = world(seed, models)
    drawn = bootstrap_metrics(customer, scores, n_resamples=300, seed=seed)
    return paired_difference(drawn, "auroc", alone("a"), alone("b"), higher_is_better=True)


def found(seeds: range, models: dict[str, float]) -> int:
    return sum(difference(seed, models).p_value < 0.05 for seed in seeds)


def test_of_a_hundred_null_comparisons_at_least_ninety_show_no_difference() -> None:
    assert found(range(100), {"a": 0.8, "b": 0.8}) <= 10


def test_a_real_difference_is_found() -> None:
    assert found(range(40), {"a": 0.2, "b": 1.6}) >= 36


def test_rows_taken_for_customers_find_what_is_not_there() -> None:
    """The mutant of the null: it forgets that the rows of a customer belong together."""

    def found_by_rows(seed: int) -> bool:
        customer, scores = world(seed, {"a": 1.5, "b": 1.5}, of_customer=1.0, rows_each=12)
        rows = np.arange(len(customer))
        drawn = bootstrap_metrics(rows, scores, n_resamples=150, seed=seed)
        own = paired_difference(drawn, "auroc", alone("a"), alone("b"), higher_is_better=True)
        return own.p_value < 0.05

    assert sum(map(found_by_rows, range(60))) > 12


def test_what_is_detectable_is_detected_four_times_out_of_five() -> None:
    differences = [difference(seed, {"a": 0.7, "b": 0.95}) for seed in range(60)]
    ratio = np.mean([d.estimate for d in differences]) / np.mean(
        [d.detectable(0.95) for d in differences]
    )
    power = np.mean([d.p_value < 0.05 for d in differences])
    # The power of a normal test at this multiple of the detectable difference.
    expected = 0.5 * (1 + math.erf((2.80 * ratio - 1.96) / math.sqrt(2)))
    assert power == pytest.approx(expected, abs=0.15)


def drawn_with(seeds: dict[str, float], sampling: float = 0.01) -> Bootstrap:
    """A metric by run; customers move all alike, so that a paired difference hardly varies."""
    numbers = np.random.default_rng(0)
    moved = numbers.normal(0, sampling, 400)
    own = {name: numbers.normal(0, sampling, 400) for name in seeds}
    return Bootstrap(
        ("auroc",),
        0.95,
        {name: np.array([value]) for name, value in seeds.items()},
        {name: (value + moved + own[name])[:, None] for name, value in seeds.items()},
    )


def members(prefix: str, n: int) -> list[Member]:
    names = tuple(f"{prefix}{i}" for i in range(n))
    return [Member(name, names) for name in names]


def by_seeds(rng: np.random.Generator, compare: Callable[[Bootstrap], PairedDifference]) -> bool:
    values = {f"{side}{i}": 0.8 + rng.normal(0, 0.05) for side in "ab" for i in range(3)}
    return compare(drawn_with(values)).p_value < 0.05


def test_the_variance_between_seeds_is_part_of_the_test() -> None:
    def compare(drawn: Bootstrap) -> PairedDifference:
        return paired_difference(
            drawn, "auroc", members("a", 3), members("b", 3), higher_is_better=True
        )

    rng = np.random.default_rng(7)
    assert sum(by_seeds(rng, compare) for _ in range(100)) <= 10

    def customers_only(drawn: Bootstrap) -> PairedDifference:
        """The mutant: it takes the seeds at hand for all there are."""
        a, b = ([Member(m.name, (m.name,)) for m in members(side, 3)] for side in "ab")
        sides = [[Member(m.name, ()) for m in side] for side in (a, b)]
        return paired_difference(drawn, "auroc", sides[0], sides[1], higher_is_better=True)

    rng = np.random.default_rng(7)
    assert sum(by_seeds(rng, customers_only) for _ in range(100)) > 30


def test_two_runs_that_differ_by_the_seed_only_are_never_told_apart() -> None:
    a, b = members("a", 2)
    drawn = drawn_with({"a0": 0.70, "a1": 0.90}, sampling=1e-6)
    assert paired_difference(drawn, "auroc", [a], [b], higher_is_better=True).p_value > 0.3


def test_seeds_of_one_set_are_known_once() -> None:
    a, b = members("a", 2)
    variances = seed_variances({"a0": 1.0, "a1": 3.0}, ([a], [b]))
    assert variances == [(pytest.approx(4.0), 1)]
    apart = seed_variances(
        {"a0": 1.0, "a1": 3.0, "b0": 0.0, "b1": 0.0}, (members("a", 2), members("b", 2))
    )
    assert apart == [(pytest.approx(1.0), 1), (0.0, 1)]


def test_the_same_predictions_are_no_difference() -> None:
    customer, scores = world(0, {"a": 0.5})
    drawn = bootstrap_metrics(customer, {"a": scores["a"], "b": scores["a"]}, n_resamples=200)
    same = paired_difference(drawn, "auroc", alone("a"), alone("b"), higher_is_better=True)
    assert (same.estimate, same.p_value, same.better) == (0.0, 1.0, 0.5)


def test_lower_is_better_turns_the_probability_only() -> None:
    customer, scores = world(0, {"a": 0.2, "b": 1.5})
    drawn = bootstrap_metrics(customer, scores, n_resamples=200)
    gain, loss = (
        paired_difference(drawn, "auroc", alone("a"), alone("b"), higher_is_better=higher)
        for higher in (True, False)
    )
    assert gain.better == 1 - loss.better > 0.9
    assert gain.p_value == loss.p_value


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    adjusted = holm([0.2, math.nan, 0.9])
    assert adjusted[0] == pytest.approx(0.4)
    assert math.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.9)
    assert holm([]) == []
