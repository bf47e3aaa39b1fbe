"""Texts as bytes and back, so that they can lie beside other columns in a file."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray


def to_bytes(texts: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """The texts in UTF-8, one after the other.

    Args:
        texts: (n,) String without nulls.

    Returns:
        (n + 1,) int64 bounds of each text, and the bytes.
    """
    if texts.is_empty():
        return np.zeros(1, dtype=np.int64), np.empty(0, dtype=np.uint8)
    array = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, bounds, content = array.buffers()
    offsets = np.frombuffer(bounds, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(content, dtype=np.uint8)[offsets[0] : offsets[-1]]
    return offsets - offsets[0], data


def from_bytes(offsets: NDArray[np.int64], content: NDArray[np.uint8]) -> pl.Series:
    """The inverse of `to_bytes`."""
    if len(offsets) < 2:
        return pl.Series(dtype=pl.String)
    buffers = [None, pa.py_buffer(np.ascontiguousarray(offsets)), pa.py_buffer(content)]
    return pl.Series(_Exported(pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)))


class _Exported:
    """An array by Arrow's C interface alone: as one of PyArrow's, Polars would load its kernels."""

    def __init__(self, array: pa.Array) -> None:
        self.__arrow_c_array__ = array.__arrow_c_array__
