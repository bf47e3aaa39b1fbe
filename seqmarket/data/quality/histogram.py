"""Counts of numbers in bins that are fixed beforehand, so that counts of two parts add up.

A bin holds the numbers with the same sign, the same power of two and the same first three binary
digits after the leading one: eight bins from a number to its double, whose width is an eighth of
that number. The bin of a number is read off its bits, without a logarithm or a search.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqmarket.data.quality.merging import merge_sparse
from seqmarket.data.quality.stretches import stretches

_SHIFT = np.uint64(49)  # what is left of 64 bits: the sign, 11 of the exponent, 3 of the fraction
_NEGATIVE = 1 << 14
_NOT_FINITE = 0x7FF << 3


@dataclass(frozen=True)
class LogHistogram:
    """How many numbers fall into each bin.

    Attributes:
        bin: (n,) int64 ascending, so are the numbers in them; 0 holds zero, negative bins negative
            numbers.
        count: (n,) int64, all above 0.
    """

    bin: NDArray[np.int64]
    count: NDArray[np.int64]

    @classmethod
    def of(cls, values: NDArray[np.float64] | NDArray[np.int64]) -> LogHistogram:
        """Counts the finite ones of some numbers; NaN are left out."""
        counts = np.zeros(2 * _NEGATIVE, dtype=np.int64)
        for part in stretches(len(values)):
            bits = values[part].astype(np.float64).view(np.uint64)
            np.add.at(counts, (bits >> _SHIFT).view(np.int64), 1)
        counts[_NOT_FINITE:_NEGATIVE] = 0
        counts[_NEGATIVE + _NOT_FINITE :] = 0
        negative = np.flatnonzero(counts[_NEGATIVE:])[::-1]
        positive = np.flatnonzero(counts[:_NEGATIVE])
        return cls(
            np.concatenate([-1 - negative, positive]),
            np.concatenate([counts[_NEGATIVE + negative], counts[positive]]),
        )

    @property
    def total(self) -> int:
        """How many numbers were counted."""
        return int(self.count.sum())

    @property
    def lower(self) -> NDArray[np.float64]:
        """(n,) lower bound of each bin."""
        return np.where(self.bin >= 0, _edge(self.bin), -_edge(-self.bin))

    @property
    def upper(self) -> NDArray[np.float64]:
        """(n,) upper bound of each bin."""
        return np.where(self.bin >= 0, _edge(self.bin + 1), -_edge(-self.bin - 1))

    def merge(self, other: LogHistogram) -> LogHistogram:
        """The counts of both."""
        return LogHistogram(*merge_sparse(self.bin, self.count, other.bin, other.count))

    def quantile(self, share: float) -> float:
        """A quantile of the numbers, off by less than an eighth; NaN if there are none.

        Within a bin, numbers are taken to lie evenly.
        """
        if self.total == 0:
            return float("nan")
        rank = share * (self.total - 1)
        until = np.cumsum(self.count)
        place = int(np.searchsorted(until, rank, side="right"))
        if self.bin[place] == 0:
            return 0.0
        before = until[place] - self.count[place]
        within = (rank - before + 0.5) / self.count[place]
        lower, upper = self.lower[place], self.upper[place]
        return float(lower + min(within, 1.0) * (upper - lower))

    def between(self, edges: NDArray[np.float64]) -> NDArray[np.int64]:
        """Counts in coarser bins; of a bin that an edge cuts, all is above that edge.

        So is a number that lies at an edge; one just below it may be, too.

        Args:
            edges: (m,) ascending.

        Returns:
            (m + 1,) counts below the first edge, from it to the next, and from the last one on.
        """
        place = np.searchsorted(edges, self.upper)
        counts = np.zeros(len(edges) + 1, dtype=np.int64)
        np.add.at(counts, place, self.count)
        return counts

    def octaves(self) -> tuple[int, ...]:
        """Counts of the positive numbers per power of two, from the lowest to the highest."""
        positive = self.bin > 0
        if not positive.any():
            return ()
        power = self.bin[positive] >> 3
        counts = np.zeros(int(power[-1] - power[0]) + 1, dtype=np.int64)
        np.add.at(counts, power - power[0], self.count[positive])
        return tuple(counts.tolist())


def _edge(key: NDArray[np.int64]) -> NDArray[np.float64]:
    bits: NDArray[np.int64] = np.maximum(key, 0) << int(_SHIFT)
    return bits.view(np.float64)
