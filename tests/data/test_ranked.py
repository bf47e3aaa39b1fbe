"""Order statistics must be exact, and the same however the values are divided."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqmarket.data.ranked import SortedPieces

values = st.lists(
    st.floats(allow_nan=False, allow_infinity=False).map(lambda x: x + 0.0), min_size=1, max_size=60
)


def divided(numbers: list[float], n: int) -> SortedPieces:
    return SortedPieces([np.sort(part) for part in np.array_split(np.array(numbers), n)])


@given(values, st.integers(1, 9))
def test_every_rank_is_that_of_the_sorted_values(numbers: list[float], n: int) -> None:
    pieces = divided(numbers, n)
    assert len(pieces) == len(numbers)
    assert [pieces.at(rank) for rank in range(len(numbers))] == sorted(numbers)


@pytest.mark.parametrize("share", [0.0, 0.005, 0.25, 0.5, 0.75, 1.0])
def test_quantiles_lie_where_numpy_puts_them(share: float) -> None:
    numbers = np.random.default_rng(3).normal(size=101).tolist()
    low, high, weight = divided(numbers, 4).around(share)
    assert low + (high - low) * weight == pytest.approx(np.quantile(numbers, share))


def test_an_empty_piece_is_no_piece() -> None:
    pieces = SortedPieces([np.empty(0), np.array([2.0])])
    assert pieces.around(0.5) == (2.0, 2.0, 0.0)
