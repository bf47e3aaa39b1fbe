"""Sizes of journeys: exact quantiles, and a rule for those no person makes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqmarket.data.quality.sizes import doubling, quantile, suspects


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.floats(0, 1))
def test_quantiles_are_those_of_numpy(sizes: list[int], share: float) -> None:
    assert quantile(Counter(sizes), share) == pytest.approx(np.quantile(sizes, share))


def test_nine_thousand_events_among_journeys_of_250() -> None:
    found = suspects(Counter([250] * 499 + [9_000]))
    assert found is not None
    assert (found.customers, found.events, found.largest, found.above) == (1, 9_000, 9_000, 2_500)


def test_nine_thousand_events_among_journeys_of_all_lengths() -> None:
    lengths = np.ceil(np.random.default_rng(0).lognormal(np.log(20), 1.16, 50_000)).astype(int)
    assert suspects(Counter(lengths.tolist())) is None
    found = suspects(Counter([*lengths.tolist(), 9_000]))
    assert found is not None
    assert found.customers == 1


@pytest.mark.parametrize("lengths", [[], [1], [1] * 100 + [200], list(range(1, 400))])
def test_no_suspects(lengths: list[int]) -> None:
    assert suspects(Counter(lengths)) is None


def test_ranges_double() -> None:
    assert doubling(Counter([1, 1, 2, 3, 9])) == ((1, 1, 2), (2, 3, 2), (4, 7, 0), (8, 15, 1))
    assert doubling({}) == ()
