"""Numbers are counted in fixed bins, so counts add up; quantiles are off by less than an eighth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqmarket.data.quality.histogram import LogHistogram

finite = st.floats(allow_nan=False, allow_infinity=False).map(lambda x: x + 0.0)


@given(st.lists(finite, max_size=50), st.lists(finite, max_size=50))
def test_counts_add_up(one: list[float], other: list[float]) -> None:
    both = LogHistogram.of(np.array(one + other, dtype=float))
    merged = LogHistogram.of(np.array(one)).merge(LogHistogram.of(np.array(other)))
    assert both.bin.tolist() == merged.bin.tolist() == sorted(set(both.bin.tolist()))
    assert both.count.tolist() == merged.count.tolist()
    assert both.total == len(one) + len(other)


@given(st.lists(finite, min_size=1, max_size=50))
def test_every_number_lies_in_its_bin(numbers: list[float]) -> None:
    for number in numbers:
        histogram = LogHistogram.of(np.array([number]))
        assert histogram.lower[0] <= number <= histogram.upper[0]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99, 1.0])
def test_quantiles(share: float, sign: int) -> None:
    numbers = sign * np.random.default_rng(1).lognormal(2, 1.5, 20_000)
    expected = np.quantile(numbers, share)
    assert LogHistogram.of(numbers).quantile(share) == pytest.approx(expected, rel=1 / 8)


def test_a_quantile_among_zeros_is_zero() -> None:
    histogram = LogHistogram.of(np.array([-2.0, 0.0, 0.0, 0.0, 1.5]))
    assert [histogram.quantile(share) for share in (0.25, 0.5, 0.75)] == [0.0, 0.0, 0.0]


def test_what_is_not_a_number_is_left_out() -> None:
    histogram = LogHistogram.of(np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -2.0, 3.0]))
    assert histogram.total == 3
    assert np.isnan(LogHistogram.of(np.array([np.nan])).quantile(0.5))


def test_coarser_bins() -> None:
    histogram = LogHistogram.of(np.array([0.0, 0.5, 1.0, 9.0, 100.0, 7.0, 86.0]))
    assert histogram.between(np.array([1.0, 8.0, 100.0])).tolist() == [2, 2, 2, 1]
    assert LogHistogram.of(np.array([1.0, 1.5, 4.0, -3.0, 0.0])).octaves() == (2, 0, 1)


def test_a_long_array_is_counted_whole() -> None:
    numbers = np.arange(1.0, 50_001)
    assert LogHistogram.of(numbers).total == 50_000
    assert LogHistogram.of(numbers).quantile(1.0) == pytest.approx(50_000, rel=1 / 8)
