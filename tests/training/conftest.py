"""A small encoded log and the three tasks, shared by the tests of the training."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.data.event_log import EventLog
from seqmarket.data.settings import EncodingSettings, SplitSettings
from seqmarket.data.sources.synthetic import SyntheticJourneys
from seqmarket.data.store import SequenceStore, open_store, write_store
from seqmarket.training.config import ChurnTask, NextChannelTask, PurchaseTask, TasksConfig
from seqmarket.training.tasks import Task, make_tasks


@pytest.fixture(scope="session")
def tasks() -> Mapping[str, Task]:
    config = TasksConfig(
        next_channel=NextChannelTask(), purchase=PurchaseTask(), churn=ChurnTask(weight=0.5)
    )
    return make_tasks(config)


@pytest.fixture(scope="session")
def store(
    read_log: Callable[..., EventLog], tmp_path_factory: pytest.TempPathFactory
) -> SequenceStore:
    path = tmp_path_factory.mktemp("data") / "store"
    log = read_log(SyntheticJourneys(n_customers=60, days=240, seed=7))
    split = SplitSettings(train_fraction=0.6, validation_fraction=0.2)
    write_store(path, log, split, EncodingSettings(max_length=16))
    return open_store(path)


@pytest.fixture
def data(store: SequenceStore, tasks: Mapping[str, Task]) -> JourneyDataModule:
    rules = {name: task.rule for name, task in tasks.items()}
    return JourneyDataModule(store, rules, batch_size=16, eval_tokens=400, seed=1)
