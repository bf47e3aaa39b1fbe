"""Exact order statistics of values that lie in several sorted pieces, on disk or in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_SIGN = 1 << 63


class SortedPieces:
    """The union of sorted arrays, asked for the value at a rank.

    The value is found by bisection of the 64-bit images of the floats, whose order is that of the
    floats: at most 64 rounds of binary searches, whatever the number of values, and the same
    answer however they are divided into pieces.

    Args:
        pieces: Each (n,) float64, ascending, finite, without -0.0; may be memory-mapped.
    """

    def __init__(self, pieces: Sequence[NDArray[np.float64]]) -> None:
        self._pieces = [piece for piece in pieces if len(piece)]
        self._n = sum(len(piece) for piece in self._pieces)

    def __len__(self) -> int:
        return self._n

    def at(self, rank: int) -> float:
        """The value with so many values before it.

        >>> SortedPieces([np.array([1.0, 4.0]), np.array([-2.0, 3.0])]).at(2)
        3.0
        """
        low = min(_image(float(piece[0])) for piece in self._pieces)
        high = max(_image(float(piece[-1])) for piece in self._pieces)
        while low < high:
            middle = (low + high) // 2
            value = _value(middle)
            below = sum(int(np.searchsorted(piece, value, "right")) for piece in self._pieces)
            if below > rank:
                high = middle
            else:
                low = middle + 1
        return _value(low)

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


def _image(value: float) -> int:
    """An integer whose order is that of the floats."""
    bits = int(np.float64(value).view(np.uint64))
    return bits ^ (2 * _SIGN - 1) if bits & _SIGN else bits | _SIGN


def _value(image: int) -> float:
    bits = image ^ _SIGN if image & _SIGN else image ^ (2 * _SIGN - 1)
    return float(np.uint64(bits).view(np.float64))
