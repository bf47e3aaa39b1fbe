"""Which windows go into a batch together: length buckets, in an order fixed by seed and epoch."""

from __future__ import annotations

from itertools import cycle, islice

import numpy as np
from numpy.typing import NDArray

Batches = list[NDArray[np.int64]]

_BATCHES_PER_BUCKET_POOL = 16
"""Windows are sorted by length within pools of that many batches: long enough for little padding,
short enough that the companions of a window change from epoch to epoch."""


def training_batches(
    length: NDArray[np.int64], batch_size: int, *, seed: int, epoch: int
) -> Batches:
    """Shuffled batches of windows of similar length; a pure function of its arguments.

    Args:
        length: (W,) number of events in each window.
        batch_size: Windows per batch; the last one of a pool may be smaller.
        seed: The run's seed.
        epoch: The epoch, from 0.

    Returns:
        Arrays of window indices; together they hold every window once.
    """
    rng = np.random.default_rng((seed, epoch, 0))
    order = rng.permutation(len(length))
    pool = batch_size * _BATCHES_PER_BUCKET_POOL
    batches: Batches = []
    for first in range(0, len(order), pool):
        members = order[first : first + pool]
        members = members[np.argsort(length[members], kind="stable")]
        batches += [members[i : i + batch_size] for i in range(0, len(members), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def evaluation_batches(length: NDArray[np.int64], tokens: int, *, at_least: int = 1) -> Batches:
    """Batches by falling length, each of at most `tokens` padded positions (or one window).

    Args:
        length: (W,) number of events in each window.
        tokens: Most positions in a batch, padding included.
        at_least: Number of batches that are wanted, as far as there are windows: one for each of
            several processes.
    """
    order = np.argsort(-length, kind="stable")
    if at_least > 1:
        tokens = min(tokens, max(int(length.sum()) // at_least, 1))
    batches: Batches = []
    first = 0
    while first < len(order):
        count = max(tokens // int(length[order[first]]), 1)
        batches.append(order[first : first + count])
        first += count
    return batches


def shard(batches: Batches, rank: int, world_size: int, *, even: bool) -> Batches:
    """The batches of one process of several.

    Args:
        batches: All batches, in the same order in every process.
        rank: This process.
        world_size: Number of processes.
        even: Whether every process needs the same number of steps, as gradient synchronisation
            does; the first batches are then repeated at the end.
    """
    if even and batches:
        missing = -len(batches) % world_size
        batches = batches + list(islice(cycle(batches), missing))
    return batches[rank::world_size]
