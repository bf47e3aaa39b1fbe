"""A small encoded log and every built-in task, shared by the tests of the training."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.data.event_log import EventLog
from seqmarket.data.settings import EncodingSettings, SplitSettings
from seqmarket.data.sources.synthetic import SyntheticJourneys
from seqmarket.data.store import SequenceStore, open_store
from seqmarket.data.store_writing import write_store
from seqmarket.training.config import TrainingConfig
from seqmarket.training.objectives import Trained, make_objectives
from seqmarket.training.task_settings import (
    ChurnTask,
    NextTask,
    PurchaseTask,
    TasksConfig,
    TimeToNextTask,
    ValueTask,
)
from seqmarket.training.tasks import Task, make_tasks


@pytest.fixture(scope="session")
def tasks() -> Mapping[str, Task]:
    config = TasksConfig(
        next_channel=NextTask(),
        next_event_type=NextTask(),
        time_to_next=TimeToNextTask(weight=0.5),
        purchase=PurchaseTask(),
        churn=ChurnTask(weight=0.5),
        value=ValueTask(),
    )
    return make_tasks(config)


@pytest.fixture(scope="session")
def objectives(tasks: Mapping[str, Task]) -> Mapping[str, Trained]:
    return make_objectives(tasks, TrainingConfig())


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
def data(
    store: SequenceStore, tasks: Mapping[str, Task], objectives: Mapping[str, Trained]
) -> JourneyDataModule:
    rules = {name: task.rule for name, task in tasks.items()}
    points = {name: objective.points for name, objective in objectives.items()}
    return JourneyDataModule(store, rules, points, batch_size=16, eval_tokens=400, seed=1)
