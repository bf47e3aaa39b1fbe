"""A shard as a file: its arrays one after the other, each in NumPy's own format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqmarket.data.chunk import code_type
from seqmarket.data.files import read_array, write_array
from seqmarket.data.shard import Shard
from seqmarket.data.texts import from_bytes, to_bytes


@dataclass(frozen=True)
class ShardColumns:
    """The names of a shard's columns, in the order of its file."""

    codes: tuple[str, ...]
    numbers: tuple[str, ...]
    static_codes: tuple[str, ...]
    static_numbers: tuple[str, ...]

    def to_dict(self) -> dict[str, list[str]]:
        """Plain containers, ready for JSON."""
        return {name: list(getattr(self, name)) for name in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Sequence[str]]) -> ShardColumns:
        """The inverse of `to_dict`."""
        return cls(**{name: tuple(plain[name]) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class ShardSize:
    """What a shard holds: customers, events, bytes of identifiers, and its stretch of time."""

    customers: int
    events: int
    id_bytes: int
    first_time: int
    last_time: int


def write_shard(path: Path, shard: Shard) -> ShardSize:
    """Writes a shard; its columns are in the order of `ShardColumns`."""
    bounds, content = to_bytes(shard.customer_id)
    arrays: tuple[NDArray[Any], ...] = (
        bounds,
        content,
        shard.offsets,
        shard.time,
        *map(_narrow, shard.codes.values()),
        *shard.numbers.values(),
        *map(_narrow, shard.static_codes.values()),
        *shard.static_numbers.values(),
    )
    with path.open("wb") as file:
        for array in arrays:
            write_array(file, array)
    first, last = (int(shard.time.min()), int(shard.time.max())) if shard.n_events else (0, 0)
    return ShardSize(shard.n_customers, shard.n_events, len(content), first, last)


def read_shard(path: Path, columns: ShardColumns) -> Shard:
    """Reads a shard that `write_shard` wrote."""
    with path.open("rb") as file:
        bounds, content = read_array(file), read_array(file)
        return Shard(
            from_bytes(bounds, content),
            read_array(file),
            read_array(file),
            {name: read_array(file).astype(np.int32) for name in columns.codes},
            {name: read_array(file) for name in columns.numbers},
            {name: read_array(file).astype(np.int32) for name in columns.static_codes},
            {name: read_array(file) for name in columns.static_numbers},
        )


def _narrow(codes: NDArray[np.int32]) -> NDArray[Any]:
    return codes.astype(code_type(int(codes.max(initial=0))))
