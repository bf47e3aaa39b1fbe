"""An epoch of batches: gathered from flat arrays, beside a list of tensors that is padded."""

from __future__ import annotations

import numpy as np
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch.nn.utils.rnn import pad_sequence

from seqmarket.data.batch import Windows, collate
from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.data.sampler import training_batches
from seqmarket.data.store import SequenceStore
from seqmarket.training.config import ChurnTask, NextChannelTask, PurchaseTask, TasksConfig
from seqmarket.training.tasks import make_tasks

BATCH = 64


def all_windows(store: SequenceStore) -> Windows:
    offsets = store.events.offsets
    start = np.maximum(offsets[:-1], offsets[1:] - store.spec.max_length)
    return Windows(start, offsets[1:], np.arange(store.events.n_customers))


def report(benchmark: BenchmarkFixture, windows: Windows) -> None:
    events = int(windows.length.sum())
    benchmark.extra_info["events_per_second"] = round(events / benchmark.stats["median"])


def test_flat_arrays_in_length_buckets(benchmark: BenchmarkFixture, store: SequenceStore) -> None:
    windows = all_windows(store)
    batches = training_batches(windows.length, BATCH, seed=1, epoch=0)

    def epoch() -> None:
        for chosen in batches:
            collate(store.events, windows.take(chosen))

    benchmark.pedantic(epoch, rounds=5)
    padded = sum(int(windows.length[b].max()) * len(b) for b in batches)
    benchmark.extra_info["real_share"] = round(float(windows.length.sum() / padded), 3)
    report(benchmark, windows)


def test_with_training_targets(benchmark: BenchmarkFixture, store: SequenceStore) -> None:
    config = TasksConfig(next_channel=NextChannelTask(), purchase=PurchaseTask(), churn=ChurnTask())
    rules = {name: task.rule for name, task in make_tasks(config).items()}
    data = JourneyDataModule(store, rules, batch_size=BATCH, eval_tokens=32_768, seed=1)

    def epoch() -> int:
        training = data.training_set(0)
        return sum(int(training[i].journeys.mask.sum()) for i in range(len(training)))

    events = epoch()
    benchmark.pedantic(epoch, rounds=5)
    benchmark.extra_info["events_per_second"] = round(events / benchmark.stats["median"])


def test_list_and_pad_sequence(benchmark: BenchmarkFixture, store: SequenceStore) -> None:
    windows = all_windows(store)
    events = store.events
    journeys = [
        {
            name: torch.from_numpy(np.array(getattr(events, name)[start:stop]))
            for name in ("channel", "event_type", "time", "value", "categorical", "features")
        }
        for start, stop in zip(windows.start, windows.stop, strict=True)
    ]
    order = np.random.default_rng(1).permutation(len(journeys))

    def epoch() -> None:
        for first in range(0, len(order), BATCH):
            chosen = [journeys[i] for i in order[first : first + BATCH]]
            for name in chosen[0]:
                pad_sequence([journey[name] for journey in chosen], batch_first=True)

    benchmark.pedantic(epoch, rounds=5)
    report(benchmark, windows)
