"""Exact order statistics of values that lie on disk in several sorted pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqmarket.data.files import read_raw

_STRIDE = 256


@dataclass(frozen=True)
class SortedPiece:
    """Values in ascending order, finite and without -0.0, at their place in a file.

    Attributes:
        path: The file, of float64.
        first: Place of the first value in it.
        count: n, the number of values.
        sample: Every 256th value, from the first on.
    """

    path: Path
    first: int
    count: int
    sample: NDArray[np.float64]

    @classmethod
    def write(cls, path: Path, first: int, values: NDArray[np.float64]) -> SortedPiece:
        """Writes the values to their place; several processes may write theirs at once."""
        path.touch()
        with path.open("r+b") as file:
            file.seek(first * values.itemsize)
            file.write(values.data)
        return cls(path, first, len(values), values[::_STRIDE].copy())

    def read(self, start: int, stop: int) -> NDArray[np.float64]:
        """Some of the values."""
        with self.path.open("rb") as file:
            file.seek((self.first + start) * np.dtype(np.float64).itemsize)
            return read_raw(file, np.float64, stop - start)


class SortedPieces:
    """The union of sorted pieces, asked for the value at a rank.

    The samples tell between which two of them it lies. Only what is between these in each piece is
    read: little, however many values there are, and the answer is the same however they are
    divided into pieces.

    Args:
        pieces: Of any number of values.
    """

    def __init__(self, pieces: Sequence[SortedPiece]) -> None:
        self._pieces = [piece for piece in pieces if piece.count]
        self._n = sum(piece.count for piece in self._pieces)
        samples = [piece.sample for piece in self._pieces]
        self._samples = np.unique(np.concatenate([np.empty(0), *samples]))

    def __len__(self) -> int:
        return self._n

    def at(self, rank: int) -> float:
        """The value with so many values before it, of those in ascending order."""
        # Each bound below is off by less than a stride per piece.
        low = self._first(lambda value: self._at_most_below(value) > rank) - 1
        high = self._first(lambda value: self._at_least_up_to(value) > rank)
        lowest = float(self._samples[low])
        highest = float(self._samples[high]) if high < len(self._samples) else np.inf
        if lowest == highest:
            return lowest
        before, between = 0, []
        for piece in self._pieces:
            start = max(int(np.searchsorted(piece.sample, lowest, "right")) - 1, 0) * _STRIDE
            stop = min(int(np.searchsorted(piece.sample, highest, "left")) * _STRIDE, piece.count)
            before += start
            between.append(piece.read(start, stop))
        values = np.concatenate(between)
        rank -= before + int(np.count_nonzero(values <= lowest))
        if rank < 0:
            return lowest
        values = values[(values > lowest) & (values < highest)]
        return float(np.partition(values, rank)[rank]) if rank < len(values) else highest

    def around(self, share: float) -> tuple[float, float, float]:
        """The two values between which a quantile lies, and the weight of the second.

        Args:
            share: From 0 to 1; linear interpolation between the ranks ``floor`` and ``ceil`` of
                ``share * (n - 1)``.
        """
        position = share * (self._n - 1)
        rank = int(position)
        low = self.at(rank)
        weight = position - rank
        return low, self.at(rank + 1) if weight > 0 else low, weight

    def _first(self, holds: Callable[[float], bool]) -> int:
        """Index of the first of the samples for which something holds, as it does for all after."""
        low, high = 0, len(self._samples)
        while low < high:
            middle = (low + high) // 2
            if holds(float(self._samples[middle])):
                high = middle
            else:
                low = middle + 1
        return low

    def _at_most_below(self, value: float) -> int:
        """No more values than this are below a value."""
        return sum(
            min(int(np.searchsorted(piece.sample, value, "left")) * _STRIDE, piece.count)
            for piece in self._pieces
        )

    def _at_least_up_to(self, value: float) -> int:
        """No fewer values than this are at or below a value."""
        return sum(
            max((int(np.searchsorted(piece.sample, value, "right")) - 1) * _STRIDE + 1, 0)
            for piece in self._pieces
        )
