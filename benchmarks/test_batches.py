"""An epoch of batches: gathered from flat arrays, beside what peers do with a list of journeys.

The log has the shape of a retailer's: 50,000 customers, 1.9 million events, median 20, 99th
percentile about 300. Everyone is shown the newest 128 events of each customer.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from seqmarket.data.batch import Windows, collate
from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.data.datasets import MappedColumns
from seqmarket.data.sampler import Batches, training_batches
from seqmarket.data.store import SequenceStore
from seqmarket.schema import MICROSECONDS_PER_DAY, EventArrays
from seqmarket.training.config import TrainingConfig
from seqmarket.training.objectives import make_objectives
from seqmarket.training.task_settings import ChurnTask, NextTask, PurchaseTask, TasksConfig
from seqmarket.training.tasks import make_tasks

BATCH, MAX_LENGTH = 128, 128
Journey = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> EventArrays:
    """Memory-mapped, as a store's events are."""
    rng = np.random.default_rng(1)
    lengths = np.exp(rng.normal(np.log(20), 1.16, 50_000)).astype(np.int64).clip(1)
    n = int(lengths.sum())
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    since = np.cumsum((rng.exponential(4, n) * MICROSECONDS_PER_DAY).astype(np.int64))
    columns: dict[str, NDArray[Any]] = {
        "offsets": offsets,
        "time": since - np.repeat(since[offsets[:-1]], lengths),
        "channel": rng.integers(2, 10, n).astype(np.int32),
        "event_type": rng.integers(2, 6, n).astype(np.int32),
        "purchase": rng.random(n) < 0.2,
        "value": rng.random(n).astype(np.float32),
        "categorical": rng.integers(1, 50, (n, 1)).astype(np.int32),
        "features": rng.random((n, 2)).astype(np.float32),
        "static_categorical": rng.integers(1, 5, (50_000, 1)).astype(np.int32),
        "static_features": rng.random((50_000, 1)).astype(np.float32),
    }
    folder = tmp_path_factory.mktemp("columns")
    for name, column in columns.items():
        np.save(folder / f"{name}.npy", column)
    return EventArrays(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in columns})


def newest(events: EventArrays, max_length: int) -> Windows:
    offsets = np.asarray(events.offsets)
    start = np.maximum(offsets[:-1], offsets[1:] - max_length)
    return Windows(start, offsets[1:], np.arange(events.n_customers))


def all_windows(store: SequenceStore) -> Windows:
    return newest(store.events, store.spec.max_length)


def report(benchmark: BenchmarkFixture, length: NDArray[np.int64], batches: Batches) -> None:
    padded = sum(int(length[b].max()) * len(b) for b in batches)
    benchmark.extra_info["real_share"] = round(float(length.sum() / padded), 3)
    rate = length.sum() / benchmark.stats["median"] / 1e6
    benchmark.extra_info["million_events_per_second"] = round(float(rate), 2)


@pytest.mark.parametrize(
    "dealt", [{"batch_size": BATCH}, {"batch_size": 16}, {"tokens": 8_192}, {"tokens": 16_384}]
)
def test_flat_arrays_in_length_buckets(
    benchmark: BenchmarkFixture, events: EventArrays, dealt: dict[str, int]
) -> None:
    """Ours: the order of the epoch, and its batches."""
    windows = newest(events, MAX_LENGTH)
    plain = MappedColumns(events).events

    def epoch() -> Batches:
        batches = training_batches(
            windows.length, dealt.get("batch_size", 1), tokens=dealt.get("tokens"), seed=1, epoch=0
        )
        for chosen in batches:
            collate(plain, windows.take(chosen))
        return batches

    batches = benchmark.pedantic(epoch, rounds=7, warmup_rounds=1)
    report(benchmark, windows.length, batches)


def test_flat_arrays_in_random_batches(benchmark: BenchmarkFixture, events: EventArrays) -> None:
    windows = newest(events, MAX_LENGTH)
    plain = MappedColumns(events).events
    batches = random_batches(len(windows))

    def epoch() -> None:
        for chosen in batches:
            collate(plain, windows.take(chosen))

    benchmark.pedantic(epoch, rounds=7, warmup_rounds=1)
    report(benchmark, windows.length, batches)


def random_batches(n: int) -> Batches:
    order = np.random.default_rng(1).permutation(n)
    return [order[first : first + BATCH] for first in range(0, n, BATCH)]


def journeys_of(events: EventArrays) -> list[Journey]:
    """A dictionary of arrays per customer, which is where the peers' loading starts."""
    columns: Journey = {
        "event_time": np.array(events.time),
        "channel": np.array(events.channel),
        "event_type": np.array(events.event_type),
        "category": np.array(events.categorical[:, 0]),
        "value": np.array(events.value),
        "feature_0": np.array(events.features[:, 0]),
        "feature_1": np.array(events.features[:, 1]),
    }
    bounds = zip(events.offsets[:-1], events.offsets[1:], strict=True)
    return [{name: column[a:b] for name, column in columns.items()} for a, b in bounds]


def test_dictionaries_and_pad_sequence(benchmark: BenchmarkFixture, events: EventArrays) -> None:
    """The way of pytorch-lifestream: a dictionary of tensors per item, padded feature by feature.

    As its `MemoryMapDataset` with `SeqLenLimit` and `collate_feature_dict` do it.
    """
    records = [
        {name: torch.from_numpy(column) for name, column in journey.items()}
        for journey in journeys_of(events)
    ]
    windows = newest(events, MAX_LENGTH)
    batches = random_batches(len(records))

    def item(index: int) -> dict[str, Tensor]:
        return {name: column[-MAX_LENGTH:] for name, column in records[index].items()}

    def collated(items: list[dict[str, Tensor]]) -> tuple[dict[str, Tensor], Tensor]:
        columns = defaultdict(list)
        for one in items:
            for name, column in one.items():
                columns[name].append(column)
        lengths = torch.LongTensor([len(column) for column in columns["event_time"]])
        padded = {name: pad_sequence(c, batch_first=True) for name, c in columns.items()}
        return padded, lengths

    def epoch() -> None:
        for chosen in batches:
            collated([item(i) for i in chosen.tolist()])

    benchmark.pedantic(epoch, rounds=3, warmup_rounds=1)
    report(benchmark, windows.length, batches)


def test_item_by_item_with_masks(benchmark: BenchmarkFixture, events: EventArrays) -> None:
    """The way of ebes: each item is cut, cast, stacked and masked on its own, then padded."""
    journeys = journeys_of(events)
    windows = newest(events, MAX_LENGTH)
    batches = random_batches(len(journeys))
    numeric = ("value", "feature_0", "feature_1")
    categories = ("channel", "event_type", "category")

    def item(index: int) -> dict[str, Tensor]:
        one = {name: column[-MAX_LENGTH:] for name, column in journeys[index].items()}
        numbers = torch.tensor(np.stack([one[name] for name in numeric], axis=1))
        ids = torch.tensor(np.stack([one[name] for name in categories], axis=1).astype(np.int64))
        time = torch.tensor(one["event_time"].astype(np.float64) / MICROSECONDS_PER_DAY)
        missing = torch.isnan(numbers)
        return {
            "time": time,
            "numeric": torch.nan_to_num(numbers),
            "numeric_mask": ~missing,
            "categorical": ids,
            "categorical_mask": ids != 0,
        }

    def epoch() -> None:
        for chosen in batches:
            items = [item(i) for i in chosen.tolist()]
            torch.tensor([len(one["time"]) for one in items])
            for name in items[0]:
                pad_sequence([one[name] for one in items], batch_first=True)

    benchmark.pedantic(epoch, rounds=3, warmup_rounds=1)
    report(benchmark, windows.length, batches)


def test_with_training_targets(benchmark: BenchmarkFixture, store: SequenceStore) -> None:
    """On the smaller log: an epoch's draws for three tasks, and its batches with what is asked."""
    config = TasksConfig(next_channel=NextTask(), purchase=PurchaseTask(), churn=ChurnTask())
    tasks = make_tasks(config)
    rules = {name: task.rule for name, task in tasks.items()}
    objectives = make_objectives(tasks, TrainingConfig())
    points = {name: objective.points for name, objective in objectives.items()}
    data = JourneyDataModule(store, rules, points, batch_size=64, eval_tokens=32_768, seed=1)
    epochs = iter(range(1_000))

    def epoch() -> int:
        training = data.training_set(next(epochs))
        return sum(int(training[i].journeys.mask.sum()) for i in range(len(training)))

    events = benchmark.pedantic(epoch, rounds=5, warmup_rounds=1)
    benchmark.extra_info["events_per_second"] = round(events / benchmark.stats["median"])
