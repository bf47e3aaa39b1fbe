"""The log of `train_speed.py`, and its batches.

Made as in `test_batches.py`: 50,000 customers, 1.9 million events, lengths with a median of 20 and
a 99th percentile of 300. There is something to learn, so that a precision that learns less shows:
the next channel depends on the type of this event, on the pause after it and on a favourite that
only the history tells.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqmarket.data.batch import Windows, collate
from seqmarket.data.sampler import training_batches
from seqmarket.schema import (
    MICROSECONDS_PER_DAY,
    SPECIAL_TOKENS,
    CategoricalFeature,
    EventArrays,
    NumericFeature,
    SequenceSpec,
)
from seqmarket.tensors import JourneyBatch

BATCH, MAX_LENGTH = 128, 128
N_CUSTOMERS = 50_000
N_CHANNELS = 8
TYPES = ("touch", "view", "click", "purchase")
MEAN_GAP = 4.0
"""Days."""

SPEC = SequenceSpec(
    channel=CategoricalFeature("channel", tuple(f"channel {i}" for i in range(N_CHANNELS))),
    event_type=CategoricalFeature("event_type", TYPES),
    categorical=(),
    numeric=(NumericFeature("value", 3.0, 1.0, has_missing=True),),
    static_categorical=(),
    static_numeric=(),
    purchase_event_types=("purchase",),
    max_length=MAX_LENGTH,
    time_scale=MEAN_GAP * float(np.log(2)),
)


class Batch(NamedTuple):
    """Journeys, and what is asked about them: the next channel after every event that has one.

    Attributes:
        journeys: B journeys of up to T events.
        rows: (N,) int64 positions asked about, among the B * T.
        labels: (N,) int64 classes.
        events: Number of real events.
    """

    journeys: JourneyBatch
    rows: Tensor
    labels: Tensor
    events: int


def make_log(seed: int = 1) -> EventArrays:
    rng = np.random.default_rng(seed)
    lengths = np.exp(rng.normal(np.log(20), 1.16, N_CUSTOMERS)).astype(np.int64).clip(2)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    n = int(offsets[-1])
    gap = rng.exponential(MEAN_GAP, n)
    since = np.cumsum((gap * MICROSECONDS_PER_DAY).astype(np.int64))
    kind = rng.choice(len(TYPES), n, p=[0.5, 0.25, 0.15, 0.1])
    favourite = np.repeat(rng.integers(0, N_CHANNELS, N_CUSTOMERS), lengths)
    response = (2 * np.roll(kind, 1) + (gap > MEAN_GAP)) % N_CHANNELS
    draw = rng.random(n)
    channel = np.where(draw < 0.35, favourite, rng.integers(0, N_CHANNELS, n))
    channel = np.where(draw > 0.65, response, channel)
    purchase = kind == TYPES.index("purchase")
    value = np.where(purchase, np.exp(rng.normal(3, 1, n)), 0.0).astype(np.float32)
    scaled = np.where(purchase, np.log1p(value) - 3.0, 0.0)
    return EventArrays(
        offsets=offsets,
        time=since - np.repeat(since[offsets[:-1]], lengths),
        channel=(channel + SPECIAL_TOKENS).astype(np.int32),
        event_type=(kind + SPECIAL_TOKENS).astype(np.int32),
        purchase=purchase,
        value=value,
        categorical=np.zeros((n, 0), np.int32),
        features=np.stack([scaled, ~purchase], axis=1).astype(np.float32),
        static_categorical=np.zeros((N_CUSTOMERS, 0), np.int32),
        static_features=np.zeros((N_CUSTOMERS, 0), np.float32),
    )


def deal(events: EventArrays, n_batches: int, seed: int = 1) -> tuple[list[Batch], list[Batch]]:
    """The newest events of the same customers as random batches, and as ours in length buckets.

    With up to 50 batches, or a multiple of that, they have the lengths of a whole epoch, for the
    sampler sorts journeys by length within pools of 50 batches.
    """
    drawn = np.random.default_rng(seed).permutation(events.n_customers)[: n_batches * BATCH]
    stop = events.offsets[drawn + 1]
    windows = Windows(np.maximum(events.offsets[drawn], stop - MAX_LENGTH), stop, drawn)
    order = np.arange(len(windows)).reshape(-1, BATCH)
    buckets = training_batches(windows.length, BATCH, seed=seed, epoch=0)
    return (
        [_batch(events, windows, chosen) for chosen in order],
        [_batch(events, windows, chosen) for chosen in buckets],
    )


def _batch(events: EventArrays, windows: Windows, chosen: NDArray[Any]) -> Batch:
    journeys = collate(events, windows.take(chosen))
    asked = torch.zeros_like(journeys.mask)
    asked[:, :-1] = journeys.mask[:, 1:]
    following = journeys.channel.roll(-1, dims=1) - SPECIAL_TOKENS
    rows = asked.flatten().nonzero().squeeze(1)
    return Batch(journeys, rows, following.flatten()[rows], int(journeys.mask.sum()))


def real_share(batches: list[Batch]) -> float:
    return sum(b.events for b in batches) / sum(b.journeys.mask.numel() for b in batches)
