"""The hash that divides customers among shards must never change: stores are ordered by it."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqmarket.data.engine.hashing import shard_of, stable_hash
from seqmarket.data.texts import from_bytes, to_bytes

_MASK = 2**64 - 1


def plain_hash(text: str) -> int:
    """The same in plain Python, one text at a time."""

    def mix(state: int) -> int:
        state = (state + 0x9E3779B97F4A7C15) & _MASK
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _MASK
        return state ^ (state >> 31)

    content = text.encode()
    state = mix((len(content) + 0x9E3779B97F4A7C15) & _MASK)
    for at in range(0, len(content), 8):
        state = mix(state ^ int.from_bytes(content[at : at + 8], "little"))
    return state


@given(st.lists(st.text(max_size=40), max_size=20))
def test_is_what_plain_python_makes_of_each_text(texts: list[str]) -> None:
    hashes = stable_hash(pl.Series(texts, dtype=pl.String))
    assert hashes.tolist() == [plain_hash(text) for text in texts]


def test_does_not_depend_on_the_company() -> None:
    texts = pl.Series([f"customer-{i}" for i in range(100)])
    assert (stable_hash(texts)[40:60] == stable_hash(texts[40:60])).all()


def test_spreads_neighbours() -> None:
    hashes = stable_hash(pl.Series([str(i) for i in range(20_000)]))
    assert len(np.unique(hashes)) == 20_000
    per_shard = np.bincount(shard_of(hashes, 16), minlength=16)
    assert per_shard.min() > 1_000


@pytest.mark.parametrize("n_shards", [1, 2, 3, 64])
def test_shards_are_ranges_of_the_hash(n_shards: int) -> None:
    hashes = np.sort(stable_hash(pl.Series([str(i) for i in range(1_000)])))
    shards = shard_of(hashes, n_shards)
    assert (np.diff(shards) >= 0).all()
    assert shards.min() >= 0
    assert shards.max() < n_shards


@given(st.lists(st.text(max_size=12), max_size=20))
def test_texts_survive_as_bytes(texts: list[str]) -> None:
    series = pl.Series(texts, dtype=pl.String)
    assert from_bytes(*to_bytes(series)).to_list() == texts
    assert from_bytes(*to_bytes(series[1:4])).to_list() == texts[1:4]
