"""Which windows go into a batch together: length buckets, in an order fixed by seed and epoch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqmarket.errors import SeqmarketError

Batches = list[NDArray[np.int64]]

POOL = 50
"""Windows are sorted by length within pools of that many batches: enough for little padding, few
enough that the companions of a window change from epoch to epoch."""


def training_batches(
    length: NDArray[np.int64],
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    tokens: int | None = None,
    pool: int = POOL,
    world_size: int = 1,
) -> Batches:
    """Shuffled batches of windows of similar length; a pure function of its arguments.

    The batches are meant to be dealt out in turn: in each step, the processes get neighbours in
    length, so that none waits long for the others.

    Args:
        length: (W,) number of events in each window.
        batch_size: Windows per batch; the last one of a pool may be smaller.
        seed: The run's seed.
        epoch: The epoch, from 0.
        tokens: Most padded positions in a batch (or one window), in place of `batch_size`.
        pool: Batches among which windows are sorted by length; 1: batches are random.
        world_size: Number of processes; the number of batches is a multiple of it.

    Returns:
        Arrays of window indices; together they hold every window once.

    Raises:
        SeqmarketError: There are fewer windows than processes.
    """
    rng = np.random.default_rng((seed, epoch, 0))
    order = rng.permutation(len(length))
    batches: Batches = []
    if tokens is None:
        size = batch_size * pool
        for first in range(0, len(order), size):
            alike = order[first : first + size]
            alike = alike[np.argsort(length[alike], kind="stable")]
            batches += [alike[i : i + batch_size] for i in range(0, len(alike), batch_size)]
    else:
        number = np.cumsum(length[order]) // (tokens * pool)
        for alike in np.split(order, np.flatnonzero(np.diff(number)) + 1):
            batches += _within_budget(alike, length, tokens)
    if world_size > 1:
        batches = sorted(_divisible(batches, world_size), key=lambda b: int(length[b].max()))
    steps = rng.permutation(len(batches) // world_size)
    return [batches[step * world_size + rank] for step in steps for rank in range(world_size)]


def evaluation_batches(length: NDArray[np.int64], tokens: int, *, at_least: int = 1) -> Batches:
    """Batches by falling length, each of at most `tokens` padded positions (or one window).

    Args:
        length: (W,) number of events in each window.
        tokens: Most positions in a batch, padding included.
        at_least: Number of batches that are wanted, as far as there are windows: one for each of
            several processes.
    """
    if at_least > 1:
        tokens = min(tokens, max(int(length.sum()) // at_least, 1))
    return _within_budget(np.arange(len(length)), length, tokens)


def _within_budget(members: NDArray[np.int64], length: NDArray[np.int64], tokens: int) -> Batches:
    members = members[np.argsort(-length[members], kind="stable")]
    batches: Batches = []
    first = 0
    while first < len(members):
        count = max(tokens // int(length[members[first]]), 1)
        batches.append(members[first : first + count])
        first += count
    return batches


def _divisible(batches: Batches, world_size: int) -> Batches:
    """As many batches for each process, by halving the largest: no window twice, none left out.

    Gradients are synchronised in each step, so no process may have a step more than the others.
    """
    batches = list(batches)
    while len(batches) % world_size:
        largest = max(range(len(batches)), key=lambda i: len(batches[i]))
        windows = batches[largest]
        if len(windows) == 1:
            # Nothing is left to halve: a few processes get two windows at once instead.
            each = len(batches) // world_size
            if each == 0:
                raise SeqmarketError(
                    f"{world_size} processes cannot share {len(batches)} training journeys",
                    where="trainer.devices, trainer.num_nodes",
                    fix="train with fewer processes",
                )
            return np.array_split(np.concatenate(batches), each * world_size)
        half = len(windows) // 2
        batches[largest : largest + 1] = [windows[:half], windows[half:]]
    return batches
