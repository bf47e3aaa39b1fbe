"""Feeds a store to Lightning: training draws anew in each epoch, evaluation asks fixed rows."""

from __future__ import annotations

import copy
import multiprocessing
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from seqmarket.data.batch import TrainingPlan, plan_training
from seqmarket.data.datasets import (
    EvaluationSet,
    MappedColumns,
    TrainingEpoch,
    TrainingOrder,
    TrainingSet,
)
from seqmarket.data.dense import Objective
from seqmarket.data.labels import Neighbours, label_table, newest_event
from seqmarket.data.sampler import POOL
from seqmarket.data.splits import Fold
from seqmarket.data.store import SequenceStore
from seqmarket.errors import SeqmarketError
from seqmarket.schema import LabelTable, TaskRule

_PATIENCE_SECONDS = 300
"""So long may a loader process take over a batch, its own start included."""


class JourneyDataModule(LightningDataModule):
    """All that is asked of a store's journeys, by fold and task.

    Args:
        store: The encoded log.
        rules: The rule of each task, in the order of the tasks.
        objectives: What is trained on.
        batch_size: Journeys per training batch.
        eval_tokens: Padded positions per evaluation batch.
        seed: Seed of the order and of the drawn prediction times.
        batch_tokens: Padded positions per training batch, in place of `batch_size`.
        length_pool: Training batches among which journeys are sorted by length; 1: random batches.
        history: Which windows of a long journey are trained on; see `plan_training`.
        num_workers: Processes that load training batches; 0 loads in the training process. Which
            batches there are, and what is in them, does not depend on it.
        worker_start: How loader processes are started. Never by `fork`: Polars hangs in them.
        prefetch: Batches that each loader process keeps ready.
    """

    def __init__(
        self,
        store: SequenceStore,
        rules: Mapping[str, TaskRule],
        objectives: Mapping[str, Objective],
        *,
        batch_size: int,
        eval_tokens: int,
        seed: int,
        batch_tokens: int | None = None,
        length_pool: int = POOL,
        history: Literal["newest", "windows"] = "windows",
        num_workers: int = 0,
        worker_start: Literal["forkserver", "spawn"] = "forkserver",
        prefetch: int = 4,
    ) -> None:
        super().__init__()
        self.store = store
        self.rules = dict(rules)
        self.batch_size = batch_size
        self.eval_tokens = eval_tokens
        self.seed = seed
        self.batch_tokens = batch_tokens
        self.length_pool = length_pool
        self.history = history
        self.num_workers = num_workers
        self.worker_start = worker_start
        self.prefetch = prefetch
        columns = MappedColumns(store.events)
        self._near = Neighbours(columns.events, store.spec)
        self._training = TrainingSet(columns, store.spec, store.split, objectives, seed, self._near)
        self._tables: dict[Fold, dict[str, LabelTable]] = {}
        self._plan: TrainingPlan | None = None
        self._train_loader: DataLoader[Any] | None = None
        self._order: TrainingOrder | None = None
        self._val_loader: DataLoader[Any] | None = None
        self._resumed: dict[str, int] = {}

    def with_seed(self, seed: int) -> JourneyDataModule:
        """The same journeys and questions, in another order and with other drawn moments."""
        other = copy.copy(self)
        other.seed = seed
        other._training = self._training.with_seed(seed)
        other._train_loader, other._order, other._resumed = None, None, {}
        return other

    def tables(self, fold: Fold) -> dict[str, LabelTable]:
        """The label table of each task in a fold; computed once."""
        if fold not in self._tables:
            split = self.store.split
            self._tables[fold] = {
                task: label_table(self._near, split, fold, rule)
                for task, rule in self.rules.items()
            }
        return self._tables[fold]

    def training_points(self) -> dict[str, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
        """Per objective, the labels, amounts and weights of the first epoch's points."""
        return {
            name: (draw.label[chosen], draw.amount[chosen], draw.weight[chosen])
            for name, draw in self._training.draws_of(0).items()
            for chosen in (draw.weight > 0,)
        }

    def usual_weight(self) -> dict[str, float]:
        """Per objective, what the points of a training batch weigh on average."""
        batches = len(self._training_order(0, 1))
        windows, first = self._training_plan()
        weights = {}
        for name, draw in self._training.draws_of(0).items():
            up_to = np.concatenate(([0.0], np.cumsum(draw.weight, dtype=np.float64)))
            weights[name] = float((up_to[windows.stop] - up_to[first]).sum()) / batches
        return weights

    def train_dataloader(self) -> DataLoader[Any]:
        """The batches of the trainer's current epoch; a pure function of seed, epoch and rank.

        It is the same loader in each epoch, so that its processes live on.
        """
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        if self._order is None or self._train_loader is None:
            self._order = self._training_order(*self._rank())
            self._train_loader = self._loader(self._training, self._order)
        done = self._resumed["batches"] if epoch == self._resumed.get("epoch") else 0
        self._order.begin(epoch, done)
        return self._train_loader

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation rows of all tasks, each of them once over all processes."""
        if self._val_loader is None:
            rank, world_size = self._rank()
            dataset = EvaluationSet(
                self.store.events,
                self.tables("validation"),
                self.store.spec.max_length,
                self.eval_tokens,
                rank=rank,
                world_size=world_size,
            )
            self._val_loader = DataLoader(
                dataset, batch_size=None, pin_memory=self._trains_on_cuda()
            )
        return self._val_loader

    def training_set(self, epoch: int, rank: int = 0, world_size: int = 1) -> TrainingEpoch:
        """The training batches of an epoch, as one process of several is given them."""
        order = self._training_order(rank, world_size)
        order.begin(epoch)
        return TrainingEpoch(self._training, order)

    def state_dict(self) -> dict[str, Any]:
        """Where in an epoch the trainer stands; nothing where it stands at the end of one."""
        if self.trainer is None:
            return {}
        batches = self.trainer.fit_loop.batch_idx + 1
        if not 0 < batches < self.trainer.num_training_batches:
            return {}
        return {"epoch": self.trainer.current_epoch, "batches": batches, **self._dealing()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on where a checkpoint stands, with the batches that its epoch has left.

        Raises:
            SeqmarketError: The batches of that epoch were dealt out with other settings.
        """
        for name, value in self._dealing().items():
            if state_dict[name] != value:
                raise SeqmarketError(
                    "this checkpoint was made in the middle of an epoch that was dealt out with "
                    f"{name} {state_dict[name]}, not {value}",
                    where="ckpt_path",
                    fix=f"use the same {name}, or go on from an end of an epoch (ckpt_path=best)",
                )
        self._resumed = {"epoch": state_dict["epoch"], "batches": state_dict["batches"]}

    def _dealing(self) -> dict[str, Any]:
        """All that decides which batches an epoch has, and which of them this process gets."""
        return {
            "seed": self.seed,
            "training.batch_size": self.batch_size,
            "training.batch_tokens": self.batch_tokens,
            "training.length_pool": self.length_pool,
            "data.encoding.history": self.history,
            "trainer.devices x trainer.num_nodes": self._rank()[1],
        }

    def _training_plan(self) -> TrainingPlan:
        if self._plan is None:
            split, events = self.store.split, self._near.events
            newest = newest_event(events, split.periods["train"].end - 1)
            newest[~split.customers("train", events.n_customers)] = -1
            self._plan = plan_training(events, newest, self.store.spec.max_length, self.history)
        return self._plan

    def _training_order(self, rank: int, world_size: int) -> TrainingOrder:
        return TrainingOrder(
            self._training_plan(),
            batch_size=self.batch_size,
            batch_tokens=self.batch_tokens,
            length_pool=self.length_pool,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
        )

    def _rank(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _trains_on_cuda(self) -> bool:
        """Whether batches go to a GPU, which reads page-locked memory while it computes."""
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    def _loader(self, dataset: TrainingSet, order: TrainingOrder) -> DataLoader[Any]:
        context = None
        if self.num_workers:
            context = multiprocessing.get_context(self.worker_start)
            if self.worker_start == "forkserver":
                # What the server has imported, the processes that it forks need not import again.
                # Polars stays out of it.
                context.set_forkserver_preload(["torch", "seqmarket.data.batch"])
        # `batch_size=None`: an item already is a batch.
        return DataLoader(
            dataset,
            batch_size=None,
            sampler=order,
            num_workers=self.num_workers,
            multiprocessing_context=context,
            persistent_workers=context is not None,
            prefetch_factor=None if context is None else self.prefetch,
            timeout=0 if context is None else _PATIENCE_SECONDS,
            pin_memory=self._trains_on_cuda(),
        )
