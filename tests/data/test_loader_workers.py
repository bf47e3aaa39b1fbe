"""Loader processes: what they are sent, that they change nothing, and that they do not hang."""

from __future__ import annotations

import hashlib
import pickle
from itertools import cycle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from seqmarket.data.batch import TaskBatch
from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.data.datasets import MappedColumns, TrainingSet
from seqmarket.data.dense import Draw, HazardObjective, NextObjective, Objective, WindowObjective
from seqmarket.data.splits import Period, Split
from seqmarket.schema import (
    MICROSECONDS_PER_DAY,
    PURCHASES,
    CategoricalFeature,
    EventArrays,
    NextRule,
    SequenceSpec,
    TaskRule,
    WindowRule,
)

DAY = MICROSECONDS_PER_DAY
RULES: dict[str, TaskRule] = {
    "next_channel": NextRule("next_channel", "channel"),
    "purchase": WindowRule("purchase", 7 * DAY, "happens", PURCHASES, 56 * DAY, PURCHASES),
}
OBJECTIVES: dict[str, Objective] = {
    "next_event": NextObjective(NextRule("next_channel", "channel"), censored=True),
    "time_to_purchase": HazardObjective(PURCHASES, 7 * DAY, ((PURCHASES, 56 * DAY),)),
    "value": WindowObjective(WindowRule("value", 7 * DAY, "value", PURCHASES, 56 * DAY, PURCHASES)),
}

SPEC = SequenceSpec(
    channel=CategoricalFeature("channel", tuple("abcdef")),
    event_type=CategoricalFeature("event_type", ("purchase", "touch")),
    categorical=(),
    numeric=(),
    static_categorical=(),
    static_numeric=(),
    purchase_event_types=("purchase",),
    max_length=16,
    time_scale=3.0,
)


def columns(n_customers: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    lengths = rng.geometric(0.05, n_customers)
    n = int(lengths.sum())
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    gap = (rng.exponential(3, n) * DAY).astype(np.int64)
    gap[offsets[:-1]] = 0
    since = np.cumsum(gap)
    return {
        "offsets": offsets,
        "time": since - np.repeat(since[offsets[:-1]], lengths),
        "channel": rng.integers(2, 8, n).astype(np.int32),
        "event_type": rng.integers(2, 4, n).astype(np.int32),
        "purchase": rng.random(n) < 0.3,
        "value": rng.random(n).astype(np.float32),
        "categorical": rng.integers(1, 5, (n, 1)).astype(np.int32),
        "features": rng.random((n, 2)).astype(np.float32),
        "static_categorical": np.zeros((n_customers, 0), dtype=np.int32),
        "static_features": rng.random((n_customers, 1)).astype(np.float32),
    }


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> EventArrays:
    folder = tmp_path_factory.mktemp("columns")
    for name, column in columns(600).items():
        np.save(folder / f"{name}.npy", column)
    files = {name: folder / f"{name}.npy" for name in EventArrays.__dataclass_fields__}
    return EventArrays(**{name: np.load(file, mmap_mode="r") for name, file in files.items()})


def module(events: EventArrays, **settings: Any) -> JourneyDataModule:
    periods = {
        "train": Period(0, 60 * DAY),
        "validation": Period(60 * DAY, 80 * DAY),
        "test": Period(80 * DAY, 100 * DAY),
    }
    store: Any = SimpleNamespace(
        events=events,
        split=Split(periods, None, 0, 7 * DAY),
        spec=SPEC,
    )
    settings = {"batch_size": 16, "eval_tokens": 500, "seed": 1, **settings}
    return JourneyDataModule(store, RULES, OBJECTIVES, **settings)


def hashes(batches: Any) -> list[str]:
    return [digest(batch) for batch in batches]


def digest(batch: TaskBatch) -> str:
    content = hashlib.sha256()
    tensors = [*batch.journeys]
    for target in batch.targets.values():
        tensors += [*target.points, target.label, target.amount, target.weight]
    for tensor in tensors:
        content.update(str((tensor.dtype, tuple(tensor.shape))).encode())
        content.update(tensor.numpy().tobytes())
    return content.hexdigest()


def epochs_of(data: JourneyDataModule) -> list[str]:
    """Two epochs of one loader, whose processes live on between them."""
    found = []
    for epoch in (0, 1):
        loader = data.train_dataloader()
        data._order.begin(epoch)
        found += hashes(loader)
    return found


def test_a_loader_process_is_sent_a_description(mapped: EventArrays) -> None:
    data = module(mapped)
    data.training_set(0)[0]  # now it holds what is as long as the log
    sent = pickle.dumps(data._training)
    assert len(sent) < 10_000 < mapped.time.nbytes
    received: TrainingSet = pickle.loads(sent)
    for name in ("time", "channel", "features"):
        found = getattr(received._columns._origin, name)
        assert isinstance(found, np.memmap)
        assert np.array_equal(found, getattr(mapped, name))
    # What lies in memory, or is a part of a file, has no place of its own and is sent whole.
    part = EventArrays(**{**vars(mapped), "time": mapped.time[3:], "value": mapped.value * 2})
    copy: MappedColumns = pickle.loads(pickle.dumps(MappedColumns(part)))
    assert np.array_equal(copy.events.time, mapped.time[3:])
    assert np.array_equal(copy.events.value, part.value)


def served(dataset: TrainingSet, order: Any, n_processes: int) -> list[str]:
    """The epoch of an order as processes in turn would answer it, each with its own copy."""
    copies = [pickle.loads(pickle.dumps(dataset)) for _ in range(n_processes)]
    return hashes(copy[request] for copy, request in zip(cycle(copies), order, strict=False))


class RunningDraws(TrainingSet):
    """The mutant: draws follow from all draws before, in whichever process those were made."""

    def draws_of(self, epoch: int) -> dict[str, Draw]:
        if "_rng" not in vars(self):
            self._rng = np.random.default_rng(self._seed)
        return {task: dense.draw(self._rng) for task, dense in self._dense_points().items()}


@pytest.mark.parametrize("settings", [{}, {"batch_tokens": 200}])
def test_it_does_not_matter_which_process_makes_a_batch(
    mapped: EventArrays, settings: dict[str, Any]
) -> None:
    data = module(mapped, **settings)
    epoch = data.training_set(2)
    expected = hashes(epoch[i] for i in range(len(epoch)))
    assert len(set(expected)) == len(expected) > 10
    for n in (1, 2, 3):
        assert served(data._training, epoch._order, n) == expected


def test_draws_that_depend_on_the_process_are_noticed(mapped: EventArrays) -> None:
    data = module(mapped)
    mutant = RunningDraws(MappedColumns(mapped), SPEC, data.store.split, OBJECTIVES, 1, data._near)
    order = data.training_set(0)._order
    assert served(mutant, order, 1) != served(mutant, order, 2)


def test_the_loader_of_the_training_process_gives_the_epoch(mapped: EventArrays) -> None:
    data = module(mapped)
    expected = []
    for number in (0, 1):
        epoch = module(mapped).training_set(number)
        expected += hashes(epoch[i] for i in range(len(epoch)))
    assert epochs_of(data) == expected


def test_settings_of_the_loader(mapped: EventArrays) -> None:
    alone = module(mapped).train_dataloader()
    assert (alone.num_workers, alone.timeout, alone.pin_memory) == (0, 0, False)
    data = module(mapped, num_workers=2, worker_start="spawn", prefetch=3)
    loader = data.train_dataloader()
    assert loader.multiprocessing_context.get_start_method() == "spawn"
    assert (loader.num_workers, loader.prefetch_factor, loader.persistent_workers) == (2, 3, True)
    assert loader.timeout > 0
    assert data.train_dataloader() is loader  # its processes live on
    assert data.val_dataloader().num_workers == 0


@pytest.mark.parametrize(("device", "pinned"), [("cuda", True), ("cpu", False), ("mps", False)])
def test_memory_is_pinned_where_batches_go_to_cuda(
    mapped: EventArrays, device: str, pinned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the device that is used: one that is there and not used would only cost."""
    made: list[bool] = []
    original = DataLoader.__init__

    def noted(loader: DataLoader[Any], *args: Any, pin_memory: bool, **options: Any) -> None:
        made.append(pin_memory)
        original(loader, *args, **options)

    monkeypatch.setattr(DataLoader, "__init__", noted)
    data = module(mapped)
    trainer: Any = SimpleNamespace(
        strategy=SimpleNamespace(root_device=torch.device(device)),
        current_epoch=0,
        global_rank=0,
        world_size=1,
    )
    data.trainer = trainer
    data.train_dataloader()
    data.val_dataloader()
    assert made == [pinned, pinned]


@pytest.mark.slow
@pytest.mark.parametrize("start", ["forkserver", "spawn"])
def test_loader_processes_change_nothing_and_do_not_hang(mapped: EventArrays, start: str) -> None:
    expected = epochs_of(module(mapped))
    for num_workers in (1, 2, 2):
        data = module(mapped, num_workers=num_workers, worker_start=start)
        assert epochs_of(data) == expected
