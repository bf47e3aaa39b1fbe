"""From flat arrays to padded tensors: which window of a journey is shown, and how it is laid out.

The window of an event depends on its position in the journey alone, never on later events, so
that adding an event to a log changes no earlier input. Up to `max_length` events, a journey is
shown from its beginning. Beyond, windows start at multiples of half that length, so that an event
sees between half of `max_length` and `max_length` events before it, and neighbouring events share
one window instead of needing one each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqmarket.schema import MICROSECONDS_PER_DAY, EventArrays, JourneyBatch, Points


class Targets(NamedTuple):
    """What is asked about the journeys of a batch, for one task.

    Attributes:
        points: Where and as of when, N of them.
        label: (N,) int64.
        weight: (N,) float32.
        table_row: (N,) int64 row in the label table that is evaluated; empty while training.
    """

    points: Points
    label: Tensor
    weight: Tensor
    table_row: Tensor


class TaskBatch(NamedTuple):
    """Journeys, and for each task the points at which it is asked."""

    journeys: JourneyBatch
    targets: dict[str, Targets]


@dataclass(frozen=True)
class Windows:
    """Windows of events, at most one customer each.

    Attributes:
        start: (W,) int64 index of the first event shown.
        stop: (W,) int64 index behind the last event shown.
        customer: (W,) int64.
    """

    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    customer: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start)

    @property
    def length(self) -> NDArray[np.int64]:
        """(W,) number of events shown."""
        return self.stop - self.start

    def take(self, rows: NDArray[np.int64]) -> Windows:
        """The windows with these indices."""
        return Windows(self.start[rows], self.stop[rows], self.customer[rows])


def window_start(position: NDArray[np.int64], max_length: int) -> NDArray[np.int64]:
    """Position of the first event that is shown when predicting from an event at `position`."""
    stride = max_length // 2
    beyond = (position - max_length) // stride + 1
    return np.where(position < max_length, 0, beyond * stride)


def plan_windows(
    events: EventArrays,
    customer: NDArray[np.int64],
    event: NDArray[np.int64],
    max_length: int,
) -> tuple[Windows, NDArray[np.int64]]:
    """The fewest windows that show every asked event with its own history.

    Args:
        events: The store's events.
        customer: (N,) customer of each row.
        event: (N,) newest event that each row may see.
        max_length: Most events in a window.

    Returns:
        The windows, and for each row the index of its window: (N,) int64.
    """
    first = events.offsets[customer]
    start = first + window_start(event - first, max_length)
    starts, index = np.unique(start, return_inverse=True)
    stop = np.zeros(len(starts), dtype=np.int64)
    np.maximum.at(stop, index, event + 1)
    owner = np.zeros(len(starts), dtype=np.int64)
    owner[index] = customer
    return Windows(starts, stop, owner), index.astype(np.int64)


def collate(events: EventArrays, windows: Windows) -> JourneyBatch:
    """Gathers windows into one right-padded batch, as long as its longest window.

    >>> import numpy as np
    >>> from seqmarket.data.batch import Windows, collate
    >>> from seqmarket.schema import EventArrays
    >>> events = EventArrays(
    ...     offsets=np.array([0, 1, 3]), time=np.array([0, 0, 86_400_000_000]),
    ...     channel=np.array([2, 3, 2]), event_type=np.array([2, 2, 2]),
    ...     purchase=np.zeros(3, bool), value=np.ones(3, np.float32),
    ...     categorical=np.zeros((3, 0), int), features=np.ones((3, 1), np.float32),
    ...     static_categorical=np.zeros((2, 0), int), static_features=np.zeros((2, 0), np.float32))
    >>> batch = collate(events, Windows(np.array([0, 1]), np.array([1, 3]), np.array([0, 1])))
    >>> batch.channel.tolist(), batch.time.tolist(), batch.mask.tolist()
    ([[2, 0], [3, 2]], [[0.0, 0.0], [0.0, 1.0]], [[True, False], [True, True]])
    """
    length = windows.length
    step = np.arange(int(length.max()))
    mask = step < length[:, None]  # (B, T)
    # Padding repeats the window's last event, so that the time never runs backwards.
    index = np.minimum(windows.start[:, None] + step, windows.stop[:, None] - 1)  # (B, T)
    first = events.offsets[windows.customer]
    prior = events.time[windows.start] - events.time[first]

    def ids(column: NDArray[np.int32]) -> Tensor:
        values = column[index].astype(np.int64)
        values[~mask] = 0
        return torch.from_numpy(values)

    def floats(column: NDArray[np.float32]) -> Tensor:
        values = column[index]
        values[~mask] = 0
        return torch.from_numpy(values)

    return JourneyBatch(
        channel=ids(events.channel),
        event_type=ids(events.event_type),
        categorical=ids(events.categorical),
        time=torch.from_numpy(events.time[index] / MICROSECONDS_PER_DAY),
        value=floats(events.value),
        features=floats(events.features),
        static_categorical=torch.from_numpy(
            events.static_categorical[windows.customer].astype(np.int64)
        ),
        static_features=torch.from_numpy(np.array(events.static_features[windows.customer])),
        prior_days=torch.from_numpy((prior / MICROSECONDS_PER_DAY).astype(np.float32)),
        prior_events=torch.from_numpy((windows.start - first).astype(np.float32)),
        mask=torch.from_numpy(mask),
    )


def make_points(
    windows: Windows,
    row: NDArray[np.int64],
    event: NDArray[np.int64],
    time: NDArray[np.int64],
) -> Points:
    """Points of a batch, from flat event indices and times in microseconds."""
    return Points(
        row=torch.from_numpy(row),
        position=torch.from_numpy(event - windows.start[row]),
        time=torch.from_numpy(time / MICROSECONDS_PER_DAY),
    )
