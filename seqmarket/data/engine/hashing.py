"""A stable 64-bit hash of customers' identifiers: their place in a store, whatever runs where.

Polars' and Python's own hashes change with the version or the process. This one is fixed by the
few lines below: the bytes of a text, as little-endian 64-bit words with its length at the end, are
mixed in one after the other with the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast
splittable pseudorandom number generators", OOPSLA 2014). It is no cryptographic hash: two
identifiers with the same one are noticed, and refused, where customers are put in order.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.data.texts import to_bytes

_WORD = 8
_SEED = np.uint64(0x9E3779B97F4A7C15)


def stable_hash(texts: pl.Series) -> NDArray[np.uint64]:
    """The hash of each text, the same on every machine and in every version.

    Args:
        texts: (n,) String without nulls.

    Returns:
        (n,) uint64.

    >>> import polars as pl
    >>> stable_hash(pl.Series(["", "c1", "c1 "])).tolist()
    [7960286522194355700, 15540672500195342533, 15173521932862547070]
    """
    offsets, content = to_bytes(texts)
    length = np.diff(offsets)
    padded = np.concatenate([content, np.zeros(_WORD, dtype=np.uint8)])
    state = _mix(length.astype(np.uint64) + _SEED)
    left = np.arange(len(length))  # the texts that have a further word
    at = 0
    while len(left := left[length[left] > at]):
        first = offsets[left] + at
        # Eight bytes from any position, those behind the end of the text taken as 0.
        word = np.zeros(len(left), dtype=np.uint64)
        for byte in range(_WORD):
            inside = length[left] > at + byte
            value = np.where(inside, padded[first + byte], 0).astype(np.uint64)
            word |= value << np.uint64(8 * byte)
        state[left] = _mix(state[left] ^ word)
        at += _WORD
    return state


def shard_of(hashes: NDArray[np.uint64], n_shards: int) -> NDArray[np.int64]:
    """The shard of each hash, a range of hashes: the shards one after the other are in its order.

    Args:
        hashes: (n,) uint64.
        n_shards: At most 2 ** 31.
    """
    return ((hashes >> np.uint64(32)) * np.uint64(n_shards) >> np.uint64(32)).astype(np.int64)


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = state + _SEED
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
