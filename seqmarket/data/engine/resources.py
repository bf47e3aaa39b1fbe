"""How much of a log is worked on at once, so that the memory stays within its bound."""

from __future__ import annotations

import math

from seqmarket.data.settings import ResourceSettings

_TEXT, _NUMBER = 28, 16
"""Bytes that reading and checking take for one text or number of a row, at the peak."""

_PER_EVENT, _PER_VALUE = 72, 20
"""Bytes that putting in order and encoding take for one event, and for each of its columns."""

_LEAST_ROWS, _MOST_ROWS = 8_192, 1 << 19
_WORTH_DIVIDING = 1 << 15
"""Rows; fewer are put in order in no time."""

_READING, _ORDERING = 0.5, 0.25
"""Shares of the memory; the rest is for readers that run ahead, and for what allocators keep."""


def chunk_rows(resources: ResourceSettings, texts: int, numbers: int) -> int:
    """Rows of a chunk of the first stage.

    Args:
        resources: The bound, and how many chunks are worked on at once.
        texts: Columns of text.
        numbers: Other columns.
    """
    row = texts * _TEXT + numbers * _NUMBER
    rows = int(resources.memory * _READING / row / (resources.threads + 1))
    return min(max(rows, _LEAST_ROWS), _MOST_ROWS)


def shard_count(resources: ResourceSettings, rows: int, columns: int) -> int:
    """Number of shards, so that as many as there are threads fit into the memory.

    Args:
        resources: The bound, and the number of shards where it is set.
        rows: Of the whole log, also where that is an estimate.
        columns: Of an event.
    """
    if resources.shards is not None:
        return resources.shards
    if rows < _WORTH_DIVIDING:
        return 1
    needed = rows * (_PER_EVENT + columns * _PER_VALUE) * resources.threads
    rounds = math.ceil(needed / (resources.memory * _ORDERING) / resources.threads)
    return min(rounds * resources.threads, 65_536)
