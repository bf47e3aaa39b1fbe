"""Stage 4: the flat columns of a store, filled shard by shard, each at its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.data.engine.shard_file import ShardSize
from seqmarket.data.texts import to_bytes
from seqmarket.schema import EventArrays, SequenceSpec

_OF_EVENTS = ("time", "channel", "event_type", "purchase", "value", "categorical", "features")
_OF_CUSTOMERS = ("static_categorical", "static_features")


@dataclass(frozen=True)
class Place:
    """Where a shard begins in a store: counts of all shards before it."""

    customers: int
    events: int
    id_bytes: int

    def after(self, size: ShardSize) -> Place:
        """The place behind a shard of this size."""
        return Place(
            self.customers + size.customers,
            self.events + size.events,
            self.id_bytes + size.id_bytes,
        )


@dataclass(frozen=True)
class ColumnFiles:
    """The column files of a store that is being built.

    Attributes:
        folder: The store's folder.
        data_start: File -> where its data begin, behind NumPy's header.
    """

    folder: Path
    data_start: Mapping[str, int]

    @classmethod
    def create(cls, folder: Path, spec: SequenceSpec, end: Place) -> ColumnFiles:
        """Makes empty files of the full size.

        Args:
            folder: The store's folder.
            spec: Gives the widths.
            end: The place behind the last shard.
        """
        e, c = end.events, end.customers
        shapes: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
            "offsets": ((c + 1,), np.int64),
            "time": ((e,), np.int64),
            "channel": ((e,), np.int32),
            "event_type": ((e,), np.int32),
            "purchase": ((e,), np.bool_),
            "value": ((e,), np.float32),
            "categorical": ((e, len(spec.categorical)), np.int32),
            "features": ((e, spec.n_features), np.float32),
            "static_categorical": ((c, len(spec.static_categorical)), np.int32),
            "static_features": ((c, spec.n_static_features), np.float32),
            "customer_id_offsets": ((c + 1,), np.int64),
            "customer_id_bytes": ((end.id_bytes,), np.uint8),
        }
        starts = {}
        for name, (shape, dtype) in shapes.items():
            with (folder / f"{name}.npy").open("wb") as file:
                starts[name] = _write_header(file, shape, dtype)
        return cls(folder, starts)

    def write(self, arrays: EventArrays, customer_id: pl.Series, place: Place) -> None:
        """Writes the arrays of one shard; several processes may write different shards at once."""
        bounds, content = to_bytes(customer_id)
        for name in _OF_EVENTS:
            self._put(name, getattr(arrays, name), place.events)
        for name in _OF_CUSTOMERS:
            self._put(name, getattr(arrays, name), place.customers)
        # Each shard writes the bound at its end; the first bound is 0 in an empty file.
        self._put("offsets", arrays.offsets[1:] + place.events, place.customers + 1)
        self._put("customer_id_offsets", bounds[1:] + place.id_bytes, place.customers + 1)
        self._put("customer_id_bytes", content, place.id_bytes)

    def _put(self, name: str, rows: NDArray[Any], first: int) -> None:
        width = rows.itemsize * int(np.prod(rows.shape[1:]))
        with (self.folder / f"{name}.npy").open("r+b") as file:
            file.seek(self.data_start[name] + first * width)
            file.write(np.ascontiguousarray(rows).data)


def _write_header(file: BinaryIO, shape: tuple[int, ...], dtype: type[np.generic]) -> int:
    """Writes NumPy's header and reserves the space; returns where the data begin."""
    plain = np.dtype(dtype)
    header = {"descr": plain.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_2_0(file, header)
    start = file.tell()
    file.truncate(start + plain.itemsize * int(np.prod(shape)))
    return start
