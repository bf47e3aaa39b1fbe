"""From flat arrays to padded tensors: which window of a journey is shown, and how it is laid out.

The window of an event depends on its position in the journey alone, never on later events, so
that adding an event to a log changes no earlier input. Up to `max_length` events, a journey is
shown from its beginning. Beyond, windows start at multiples of half that length, so that an event
sees between half of `max_length` and `max_length` events before it, and neighbouring events share
one window instead of needing one each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqmarket.schema import MICROSECONDS_PER_DAY, EventArrays
from seqmarket.tensors import JourneyBatch, Points


class Targets(NamedTuple):
    """What is asked about the journeys of a batch, for one task or objective.

    Attributes:
        points: Where and as of when, N of them.
        label: (N,) int64; see `seqmarket.data.dense`, and `LabelTable` in an evaluation.
        amount: (N,) float32, days or a value; of a categorical or binary task in an evaluation,
            the label again.
        weight: (N,) float32.
        table_row: (N,) int64 row in the label table that is evaluated; empty while training.
    """

    points: Points
    label: Tensor
    amount: Tensor
    weight: Tensor
    table_row: Tensor


class TaskBatch(NamedTuple):
    """Journeys, and for each task or objective the points at which it is asked.

    Attributes:
        journeys: The journeys.
        targets: By task or objective.
        events: Number of events in the journeys, without padding.
    """

    journeys: JourneyBatch
    targets: dict[str, Targets]
    events: int


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


class TrainingPlan(NamedTuple):
    """The windows of the training period, and which of their events are asked about.

    Attributes:
        windows: W of them, by customer, then position.
        asked_from: (W,) int64 index of the first event that is asked about; all that follow it in
            the window are too.
    """

    windows: Windows
    asked_from: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> TrainingPlan:
        """The windows with these indices."""
        return TrainingPlan(self.windows.take(rows), self.asked_from[rows])


def plan_training(
    events: EventArrays,
    newest: NDArray[np.int64],
    max_length: int,
    history: Literal["newest", "windows"],
) -> TrainingPlan:
    """The windows in which every event is asked about with its own history, without one by one.

    Args:
        events: The store's events.
        newest: (C,) index of each customer's last event in training, -1 where there is none.
        max_length: Most events in a window.
        history: `windows`: all of them. `newest`: the last one of each customer, and the events
            that belong to it.
    """
    customer = np.flatnonzero(newest >= 0)
    first = np.asarray(events.offsets[customer])
    length = newest[customer] + 1 - first
    stride = max_length // 2
    last = window_start(length - 1, max_length) // stride
    if history == "newest":
        number, owner = last, np.arange(len(customer))
    else:
        owner = np.repeat(np.arange(len(customer)), last + 1)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(last + 1) - last - 1, last + 1)
    start = number * stride
    stop = np.minimum(start + max_length, length[owner])
    # What lies further back in a window belongs to the windows before.
    asked_from = np.where(number == 0, 0, start + max_length - stride)
    windows = Windows(first[owner] + start, first[owner] + stop, customer[owner])
    return TrainingPlan(windows, first[owner] + asked_from)


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
    start, length = windows.start, windows.length
    steps = int(length.max())
    mask = np.arange(steps) < length[:, None]  # (B, T)
    padding = np.flatnonzero(~mask)
    runs = _Runs(start, steps, events.n_events)
    first = events.offsets[windows.customer]

    def padded(column: NDArray[Any], dtype: type[np.generic]) -> Tensor:
        values = runs.of(column).astype(dtype, copy=False)
        values.reshape(mask.size, *column.shape[1:])[padding] = 0
        return torch.from_numpy(values)

    time = runs.of(events.time)
    # Padding repeats the window's last event, so that the time never runs backwards.
    time.reshape(-1)[padding] = events.time[windows.stop - 1][padding // steps]
    prior = time[:, 0] - events.time[first]
    return JourneyBatch(
        channel=padded(events.channel, np.int64),
        event_type=padded(events.event_type, np.int64),
        categorical=padded(events.categorical, np.int64),
        time=torch.from_numpy(time / MICROSECONDS_PER_DAY),
        value=padded(events.value, np.float32),
        features=padded(events.features, np.float32),
        static_categorical=torch.from_numpy(
            events.static_categorical[windows.customer].astype(np.int64)
        ),
        static_features=torch.from_numpy(np.array(events.static_features[windows.customer])),
        prior_days=torch.from_numpy((prior / MICROSECONDS_PER_DAY).astype(np.float32)),
        prior_events=torch.from_numpy((start - first).astype(np.float32)),
        mask=torch.from_numpy(mask),
    )


class _Runs:
    """B runs of consecutive rows, copied from one column after another.

    Seen as all its overlapping runs, a column is gathered by whole runs and not row by row.
    """

    def __init__(self, start: NDArray[np.int64], steps: int, n_rows: int) -> None:
        self._shape = (len(start), steps)
        self._possible = n_rows - steps + 1
        self._start = np.minimum(start, self._possible - 1)
        # Runs that would leave the column repeat its last row instead.
        self._late = np.flatnonzero(start >= self._possible)
        self._late_rows = np.minimum(start[self._late, None] + np.arange(steps), n_rows - 1)

    def of(self, column: NDArray[Any]) -> NDArray[Any]:
        """(B, T, ...) rows of a column of shape (E, ...)."""
        width = math.prod(column.shape[1:])
        view = np.ndarray(
            (self._possible, self._shape[1] * width),
            column.dtype,
            column,
            strides=(column.strides[0], column.itemsize),
        )
        values = view[self._start].reshape(*self._shape, *column.shape[1:])
        if len(self._late):
            values[self._late] = column[self._late_rows]
        return values


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
