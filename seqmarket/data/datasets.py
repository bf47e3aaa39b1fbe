"""What loader processes work on: journeys and what is asked about them, batch by batch.

A dataset travels to a loader process as a description: memory-mapped columns as the place of their
file, and whatever can be computed again is left behind. Neither Polars nor Lightning is needed.
"""

from __future__ import annotations

import copy
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from seqmarket.data.batch import (
    Targets,
    TaskBatch,
    TrainingPlan,
    collate,
    make_points,
    plan_windows,
)
from seqmarket.data.dense import Dense, Draw, Objective
from seqmarket.data.labels import Neighbours
from seqmarket.data.sampler import Batches, evaluation_batches, training_batches
from seqmarket.data.splits import Split
from seqmarket.schema import EventArrays, LabelTable, SequenceSpec


class MappedColumns:
    """The events of a store, plain where they are used, and by their place where they are sent.

    Args:
        events: The events. Columns that are memory-mapped are opened anew by the receiver of a
            pickle; others are sent by value.
    """

    def __init__(self, events: EventArrays) -> None:
        self._origin = events
        # A memmap pays for each indexing in Python; a plain view of the same memory does not.
        self.events = EventArrays(
            **{f.name: np.asarray(getattr(events, f.name)) for f in fields(events)}
        )

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: _place(getattr(self._origin, f.name)) for f in fields(EventArrays)}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        columns = {
            name: place.open() if isinstance(place, _Place) else place
            for name, place in state.items()
        }
        MappedColumns.__init__(self, EventArrays(**columns))


class _Place(NamedTuple):
    file: Path
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, ...]

    def open(self) -> NDArray[Any]:
        return np.memmap(self.file, self.dtype, "r", self.offset, self.shape)


def _place(column: NDArray[Any]) -> _Place | NDArray[Any]:
    # A slice of a memmap has the file of the whole, and its offset too: only wholes have a place.
    if isinstance(column, np.memmap) and isinstance(column.base, mmap.mmap):
        return _Place(Path(column.filename), column.dtype, column.offset, column.shape)
    return column


class TrainingRequest(NamedTuple):
    """One training batch, before anything is read.

    Attributes:
        epoch: The epoch whose draws are used.
        journeys: The windows, and which of their events are asked about.
    """

    epoch: int
    journeys: TrainingPlan


class TrainingOrder:
    """The requests of one process for one epoch after the other: the sampler of a loader.

    Args:
        plan: The windows of the training period.
        batch_size: Journeys per batch.
        batch_tokens: Padded positions per batch instead.
        length_pool: Batches among which journeys are sorted by length.
        seed: The run's seed.
        rank: This process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        *,
        batch_size: int,
        batch_tokens: int | None,
        length_pool: int,
        seed: int,
        rank: int,
        world_size: int,
    ) -> None:
        self._plan = plan
        self._batch_size = batch_size
        self._batch_tokens = batch_tokens
        self._length_pool = length_pool
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self.begin(0)

    def begin(self, epoch: int, done: int = 0) -> None:
        """Turns to an epoch, of which this process has seen a number of batches already."""
        self._epoch, self._done = epoch, done
        batches = training_batches(
            self._plan.windows.length,
            self._batch_size,
            tokens=self._batch_tokens,
            pool=self._length_pool,
            seed=self._seed,
            epoch=epoch,
            world_size=self._world_size,
        )
        self._batches: Batches = batches[self._rank :: self._world_size]

    def __len__(self) -> int:
        """Number of batches in the epoch, those that were seen included."""
        return len(self._batches)

    def __iter__(self) -> Iterator[TrainingRequest]:
        return (self[index] for index in range(self._done, len(self)))

    def __getitem__(self, index: int) -> TrainingRequest:
        return TrainingRequest(self._epoch, self._plan.take(self._batches[index]))


class TrainingSet(Dataset[TaskBatch]):
    """Training batches by request; an asked event gives one drawn point per objective and epoch.

    Args:
        columns: The events.
        spec: How they were encoded.
        split: Where the training period is, and who takes part.
        objectives: What is trained on, in a fixed order.
        seed: Seed of the drawn prediction times.
        near: What is known around each event; None: computed when it is needed.
    """

    def __init__(
        self,
        columns: MappedColumns,
        spec: SequenceSpec,
        split: Split,
        objectives: Mapping[str, Objective],
        seed: int,
        near: Neighbours | None = None,
    ) -> None:
        self._columns = columns
        self._spec = spec
        self._split = split
        self._objectives = dict(objectives)
        self._seed = seed
        self._near = near
        self._dense: dict[str, Dense] = {}
        self._draws: dict[str, Draw] = {}
        self._drawn_epoch = -1

    def with_seed(self, seed: int) -> TrainingSet:
        """The same points, drawn at other moments; what is known of the log is shared."""
        other = copy.copy(self)
        other._seed, other._draws, other._drawn_epoch = seed, {}, -1
        return other

    def __getstate__(self) -> dict[str, Any]:
        """Without what is as long as the log; the receiver computes it from the columns."""
        return {**self.__dict__, "_near": None, "_dense": {}, "_draws": {}, "_drawn_epoch": -1}

    def __getitem__(self, request: TrainingRequest) -> TaskBatch:
        windows, first = request.journeys
        asked = windows.stop - first
        row = np.repeat(np.arange(len(windows)), asked)
        event = np.arange(len(row)) + (first - np.cumsum(asked) + asked)[row]
        targets = {}
        for name, draw in self.draws_of(request.epoch).items():
            weight = draw.weight[event]
            valid = np.flatnonzero(weight > 0)
            at = event[valid]
            targets[name] = Targets(
                points=make_points(windows, row[valid], at, draw.time[at]),
                label=torch.from_numpy(draw.label[at]),
                amount=torch.from_numpy(draw.amount[at]),
                weight=torch.from_numpy(weight[valid]),
                table_row=torch.empty(0, dtype=torch.long),
            )
        events = int(windows.length.sum())
        return TaskBatch(collate(self._columns.events, windows), targets, events)

    def draws_of(self, epoch: int) -> dict[str, Draw]:
        """An epoch's points of all events, by objective."""
        if epoch != self._drawn_epoch:
            self._draws = {}
            rng = np.random.default_rng((self._seed, epoch, 1))
            self._draws = {name: dense.draw(rng) for name, dense in self._dense_points().items()}
            self._drawn_epoch = epoch
        return self._draws

    def _dense_points(self) -> dict[str, Dense]:
        if not self._dense:
            near = self._near or Neighbours(self._columns.events, self._spec)
            self._dense = {
                name: objective.points(near, self._split)
                for name, objective in self._objectives.items()
            }
        return self._dense


class TrainingEpoch:
    """The batches of one epoch, by their number.

    Args:
        dataset: What makes a batch.
        order: The epoch's requests.
    """

    def __init__(self, dataset: TrainingSet, order: TrainingOrder) -> None:
        self._dataset = dataset
        self._order = order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> TaskBatch:
        return self._dataset[self._order[index]]


class EvaluationSet(Dataset[TaskBatch]):
    """Label tables in batches: windows are shared by all rows, of all tasks, that see the same.

    Args:
        events: The store's events.
        tables: The rows, by task.
        max_length: Most events in a window.
        tokens: Padded positions per batch.
        rank: This process.
        world_size: Number of processes, which have each row once between them.
    """

    def __init__(
        self,
        events: EventArrays,
        tables: Mapping[str, LabelTable],
        max_length: int,
        tokens: int,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._columns = MappedColumns(events)
        self._tables = dict(tables)
        customer = np.concatenate([table.customer for table in tables.values()])
        event = np.concatenate([table.event for table in tables.values()])
        self._windows, window = plan_windows(self._columns.events, customer, event, max_length)
        batches = evaluation_batches(self._windows.length, tokens, at_least=world_size)
        self._batches = batches[rank::world_size]
        splits = np.cumsum([len(table) for table in tables.values()])[:-1]
        self._rows = {
            task: _rows_by_window(part, len(self._windows))
            for task, part in zip(tables, np.split(window, splits), strict=True)
        }

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> TaskBatch:
        chosen = self._batches[index]
        windows = self._windows.take(chosen)
        targets = {}
        for task, table in self._tables.items():
            order, bounds = self._rows[task]
            count = bounds[chosen + 1] - bounds[chosen]
            row = np.repeat(np.arange(len(chosen)), count)
            within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
            rows = order[bounds[chosen][row] + within]
            targets[task] = Targets(
                points=make_points(windows, row, table.event[rows], table.time[rows]),
                label=torch.from_numpy(table.label[rows].astype(np.int64)),
                amount=torch.from_numpy(table.label[rows].astype(np.float32)),
                weight=torch.ones(len(rows)),
                table_row=torch.from_numpy(rows),
            )
        events = int(windows.length.sum())
        return TaskBatch(collate(self._columns.events, windows), targets, events)


def _rows_by_window(
    window: NDArray[np.int64], n_windows: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row indices sorted by window, and the bounds of each window in them."""
    order = np.argsort(window, kind="stable").astype(np.int64)
    bounds = np.searchsorted(window[order], np.arange(n_windows + 1)).astype(np.int64)
    return order, bounds
