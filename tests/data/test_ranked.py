"""Order statistics must be exact, and the same however the values are divided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from seqmarket.data import ranked
from seqmarket.data.ranked import SortedPieces

Divided = Callable[[Sequence[NDArray[np.float64]]], SortedPieces]

values = st.lists(
    st.floats(allow_nan=False, allow_infinity=False).map(lambda x: x + 0.0), min_size=1, max_size=60
) | st.lists(st.integers(0, 3).map(float), min_size=1, max_size=60)

check = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, derandomize=True
)


def every_rank(sorted_pieces: Divided, numbers: list[float], n: int) -> None:
    pieces = sorted_pieces(np.array_split(np.array(numbers), n))
    assert len(pieces) == len(numbers)
    assert [pieces.at(rank) for rank in range(len(numbers))] == sorted(numbers)


@pytest.mark.parametrize("stride", [1, 3, 256])
def test_every_rank_is_that_of_the_sorted_values(
    stride: int, sorted_pieces: Divided, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranked, "_STRIDE", stride)

    @check
    @given(values, st.integers(1, 9))
    def agrees(numbers: list[float], n: int) -> None:
        every_rank(sorted_pieces, numbers, n)

    agrees()


@pytest.mark.parametrize("bound", ["_at_most_below", "_at_least_up_to"])
def test_a_bound_that_is_off_is_caught(
    bound: str, sorted_pieces: Divided, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutants: a stride is left out of one bound, or counted twice in the other."""
    true: Any = getattr(SortedPieces, bound)
    off = -3 if bound == "_at_most_below" else 3
    monkeypatch.setattr(ranked, "_STRIDE", 3)
    monkeypatch.setattr(SortedPieces, bound, lambda self, value: true(self, value) + off)
    numbers = np.random.default_rng(1).permutation(50).astype(float).tolist()
    with pytest.raises(AssertionError):
        every_rank(sorted_pieces, numbers, 4)


def test_little_of_many_values_is_read(
    sorted_pieces: Divided, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = np.random.default_rng(2).normal(size=40_000).round(2)
    pieces = sorted_pieces(np.array_split(numbers, 4))
    read: list[int] = []
    true = ranked.read_raw

    def counting(file: Any, dtype: Any, count: int) -> NDArray[Any]:
        read.append(count)
        return true(file, dtype, count)

    monkeypatch.setattr(ranked, "read_raw", counting)
    for rank in (0, 10_000, 20_000, 39_999):
        assert pieces.at(rank) == np.sort(numbers)[rank]
    assert sum(read) < 4 * 4 * 4 * 256


@pytest.mark.parametrize("share", [0.0, 0.005, 0.25, 0.5, 0.75, 1.0])
def test_quantiles_lie_where_numpy_puts_them(share: float, sorted_pieces: Divided) -> None:
    numbers = np.random.default_rng(3).normal(size=101)
    low, high, weight = sorted_pieces(np.array_split(numbers, 4)).around(share)
    assert low + (high - low) * weight == pytest.approx(np.quantile(numbers, share))


def test_an_empty_piece_is_no_piece(sorted_pieces: Divided) -> None:
    pieces = sorted_pieces([np.empty(0), np.array([2.0])])
    assert pieces.around(0.5) == (2.0, 2.0, 0.0)
