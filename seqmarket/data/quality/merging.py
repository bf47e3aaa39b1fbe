"""Adding up what two parts of a log were counted to hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray


class Mergeable(Protocol):
    """Statistics of a part: `merge` gives those of both, whatever the order."""

    def merge(self, other: Self) -> Self:
        """The statistics of both parts together."""
        ...


M = TypeVar("M", bound=Mergeable)
K = TypeVar("K")


def merge_by_key(one: Mapping[K, M], other: Mapping[K, M]) -> dict[K, M]:
    """Merges what stands under the same key; what only one has is kept as it is."""
    merged = dict(one)
    for key, statistics in other.items():
        merged[key] = merged[key].merge(statistics) if key in merged else statistics
    return merged


def merge_sparse(
    key: NDArray[np.int64],
    count: NDArray[np.int64],
    other_key: NDArray[np.int64],
    other_count: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Adds two sets of counts.

    Args:
        key: (n,) ascending.
        count: (n, ...) of each key.
        other_key: (m,) ascending.
        other_count: (m, ...), of the same further shape as `count`.

    Returns:
        The keys of either, ascending, and their counts.
    """
    keys = np.union1d(key, other_key)
    counts = np.zeros((len(keys), *count.shape[1:]), dtype=np.int64)
    counts[np.searchsorted(keys, key)] += count
    counts[np.searchsorted(keys, other_key)] += other_count
    return keys, counts
