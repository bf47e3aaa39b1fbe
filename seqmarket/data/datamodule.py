"""Feeds a store to Lightning: training draws anew in each epoch, evaluation asks fixed rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from seqmarket.data.batch import (
    Targets,
    TaskBatch,
    Windows,
    collate,
    make_points,
    plan_windows,
)
from seqmarket.data.labels import (
    DenseNextChannel,
    DenseWindow,
    Draw,
    Neighbours,
    WindowRule,
    next_channel_table,
    window_table,
)
from seqmarket.data.sampler import Batches, evaluation_batches, shard, training_batches
from seqmarket.data.splits import Fold
from seqmarket.data.store import SequenceStore
from seqmarket.schema import EventArrays, LabelTable

TaskRule = WindowRule | None
"""How a task is labelled: a window rule, or None for the next channel."""


class TrainingSet(Dataset[TaskBatch]):
    """The batches of one epoch; every event of the training period is asked about once."""

    def __init__(
        self,
        events: EventArrays,
        windows: Windows,
        batches: Batches,
        draws: Mapping[str, Draw],
        target_start: NDArray[np.int64],
    ) -> None:
        self._events = events
        self._windows = windows
        self._batches = batches
        self._draws = draws
        self._target_start = target_start

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> TaskBatch:
        chosen = self._batches[index]
        windows = self._windows.take(chosen)
        first = self._target_start[chosen]
        asked = windows.stop - first
        row = np.repeat(np.arange(len(windows)), asked)
        event = np.arange(len(row)) - np.repeat(np.cumsum(asked) - asked, asked) + first[row]
        targets = {}
        for task, draw in self._draws.items():
            valid = draw.weight[event] > 0
            rows, at = row[valid], event[valid]
            targets[task] = Targets(
                points=make_points(windows, rows, at, draw.time[at]),
                label=torch.from_numpy(draw.label[at]),
                weight=torch.from_numpy(draw.weight[at]),
                table_row=torch.empty(0, dtype=torch.long),
            )
        return TaskBatch(collate(self._events, windows), targets)


class EvaluationSet(Dataset[TaskBatch]):
    """Label tables in batches: windows are shared by all rows, of all tasks, that see the same."""

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
        self._events = events
        self._tables = dict(tables)
        customer = np.concatenate([table.customer for table in tables.values()])
        event = np.concatenate([table.event for table in tables.values()])
        self._windows, window = plan_windows(events, customer, event, max_length)
        self._batches = shard(
            evaluation_batches(self._windows.length, tokens, at_least=world_size),
            rank,
            world_size,
            even=False,
        )
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
                label=torch.from_numpy(table.label[rows]),
                weight=torch.ones(len(rows)),
                table_row=torch.from_numpy(rows),
            )
        return TaskBatch(collate(self._events, windows), targets)


def _rows_by_window(
    window: NDArray[np.int64], n_windows: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row indices sorted by window, and the bounds of each window in them."""
    order = np.argsort(window, kind="stable").astype(np.int64)
    bounds = np.searchsorted(window[order], np.arange(n_windows + 1)).astype(np.int64)
    return order, bounds


class JourneyDataModule(LightningDataModule):
    """All that is asked of a store's journeys, by fold and task.

    Args:
        store: The encoded log.
        rules: The rule of each task, in the order of the tasks.
        batch_size: Journeys per training batch.
        eval_tokens: Padded positions per evaluation batch.
        seed: Seed of the order and of the drawn prediction times.
        num_workers: Loader processes; 0 loads in the training process, which is the fastest.
    """

    def __init__(
        self,
        store: SequenceStore,
        rules: Mapping[str, TaskRule],
        *,
        batch_size: int,
        eval_tokens: int,
        seed: int,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.store = store
        self.rules = dict(rules)
        self.batch_size = batch_size
        self.eval_tokens = eval_tokens
        self.seed = seed
        self.num_workers = num_workers
        self._near = Neighbours(store.events)
        self._tables: dict[Fold, dict[str, LabelTable]] = {}
        self._dense: dict[str, DenseWindow | DenseNextChannel] = {}

    def tables(self, fold: Fold) -> dict[str, LabelTable]:
        """The label table of each task in a fold; computed once."""
        if fold not in self._tables:
            split = self.store.split
            self._tables[fold] = {
                task: next_channel_table(self._near, split, fold)
                if rule is None
                else window_table(self._near, split, fold, rule)
                for task, rule in self.rules.items()
            }
        return self._tables[fold]

    def train_dataloader(self) -> DataLoader[Any]:
        """The batches of the trainer's current epoch; a pure function of seed, epoch and rank."""
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        return self._loader(self.training_set(epoch, *self._rank()))

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation rows of all tasks, each of them once over all processes."""
        rank, world_size = self._rank()
        dataset = EvaluationSet(
            self.store.events,
            self.tables("validation"),
            self.store.spec.max_length,
            self.eval_tokens,
            rank=rank,
            world_size=world_size,
        )
        return self._loader(dataset)

    def training_set(self, epoch: int, rank: int = 0, world_size: int = 1) -> TrainingSet:
        """The training batches of an epoch."""
        split, events = self.store.split, self.store.events
        if not self._dense:
            self._dense = {
                task: DenseNextChannel(self._near, split)
                if rule is None
                else DenseWindow(self._near, split, rule)
                for task, rule in self.rules.items()
            }
            taking_part = split.customers("train", events.n_customers)[self._near.customer]
            asked = np.flatnonzero(taking_part & (events.time < split.periods["train"].end))
            self._windows, window = plan_windows(
                events, self._near.customer[asked], asked, self.store.spec.max_length
            )
            self._target_start = asked[np.searchsorted(window, np.arange(len(self._windows)))]
        rng = np.random.default_rng((self.seed, epoch, 1))
        draws = {task: dense.draw(rng) for task, dense in self._dense.items()}
        batches = training_batches(
            self._windows.length, self.batch_size, seed=self.seed, epoch=epoch
        )
        batches = shard(batches, rank, world_size, even=True)
        return TrainingSet(events, self._windows, batches, draws, self._target_start)

    def _rank(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _loader(self, dataset: Dataset[TaskBatch]) -> DataLoader[Any]:
        # `batch_size=None`: an item already is a batch. Polars hangs in a forked process.
        workers = self.num_workers
        return DataLoader(
            dataset,
            batch_size=None,
            num_workers=workers,
            multiprocessing_context="forkserver" if workers else None,
            timeout=120 if workers else 0,
            pin_memory=torch.cuda.is_available(),
        )
