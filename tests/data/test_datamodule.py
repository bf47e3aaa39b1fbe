"""What the network is fed: every row once, from its own past, the same again for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqmarket.data.batch import TaskBatch
from seqmarket.data.datamodule import EvaluationSet, JourneyDataModule
from seqmarket.data.labels import WindowRule
from seqmarket.data.settings import EncodingSettings, SplitSettings, ValidationSettings
from seqmarket.data.sources.synthetic import SyntheticJourneys
from seqmarket.data.store import SequenceStore, open_store, write_store
from seqmarket.schema import MICROSECONDS_PER_DAY

WEEK = 7 * MICROSECONDS_PER_DAY
RULES = {
    "next_channel": None,
    "purchase": WindowRule("purchase", WEEK, 1, 8 * WEEK, "purchase"),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SequenceStore:
    path = tmp_path_factory.mktemp("data") / "store"
    log = SyntheticJourneys(n_customers=80, days=150, seed=5).read(ValidationSettings(), path)
    write_store(path, log, SplitSettings(), EncodingSettings(max_length=12))
    return open_store(path)


def module(store: SequenceStore, seed: int = 1, num_workers: int = 0) -> JourneyDataModule:
    return JourneyDataModule(
        store, RULES, batch_size=8, eval_tokens=200, seed=seed, num_workers=num_workers
    )


def batches(data: JourneyDataModule, epoch: int) -> list[TaskBatch]:
    training = data.training_set(epoch)
    return [training[i] for i in range(len(training))]


def equal(left: list[TaskBatch], right: list[TaskBatch]) -> bool:
    if len(left) != len(right):
        return False
    for a, b in zip(left, right, strict=True):
        for x, y in zip(a.journeys, b.journeys, strict=True):
            if not torch.equal(x, y):
                return False
        for task in RULES:
            if not torch.equal(a.targets[task].points.time, b.targets[task].points.time):
                return False
    return True


def test_an_epoch_is_a_function_of_the_seed_and_its_number(store: SequenceStore) -> None:
    assert equal(batches(module(store), 3), batches(module(store), 3))
    assert not equal(batches(module(store), 3), batches(module(store), 4))
    assert not equal(batches(module(store), 3), batches(module(store, seed=2), 3))


def test_the_number_of_an_epoch_does_not_depend_on_those_before(store: SequenceStore) -> None:
    data = module(store)
    for epoch in range(3):
        data.training_set(epoch)
    assert equal(batches(data, 3), batches(module(store), 3))


def test_training_shows_no_event_of_a_later_period(store: SequenceStore) -> None:
    end = store.split.periods["train"].end / MICROSECONDS_PER_DAY
    for batch in batches(module(store), 0):
        assert float(batch.journeys.time.max()) < end
        for task, rule in RULES.items():
            window = 0 if rule is None else rule.window / MICROSECONDS_PER_DAY
            target = batch.targets[task]
            if len(target.label):
                assert float(target.points.time.max()) + window < end


def test_each_training_event_is_asked_about_at_most_once(store: SequenceStore) -> None:
    asked = 0
    for batch in batches(module(store), 0):
        points = batch.targets["next_channel"].points
        places = set(zip(points.row.tolist(), points.position.tolist(), strict=True))
        assert len(places) == len(points.row)
        asked += len(places)
    assert asked == len(module(store).tables("train")["next_channel"])


def test_evaluation_holds_every_row_once_and_from_its_own_past(store: SequenceStore) -> None:
    tables = module(store).tables("test")
    dataset = EvaluationSet(store.events, tables, store.spec.max_length, 200)
    seen: dict[str, list[int]] = {task: [] for task in tables}
    for i in range(len(dataset)):
        batch = dataset[i]
        for task, target in batch.targets.items():
            rows = target.table_row.numpy()
            seen[task] += rows.tolist()
            points = target.points
            # The newest visible event is the one that the table names, and it is not later.
            shown = batch.journeys.time[points.row, points.position].numpy()
            expected = store.events.time[tables[task].event[rows]] / MICROSECONDS_PER_DAY
            assert (shown == expected).all()
            assert (points.time.numpy() >= shown).all()
            assert (target.label.numpy() == tables[task].label[rows]).all()
    for task, table in tables.items():
        assert sorted(seen[task]) == list(range(len(table)))


def test_two_processes_share_the_evaluation_rows(store: SequenceStore) -> None:
    tables = module(store).tables("test")
    rows: list[int] = []
    for rank in range(2):
        dataset = EvaluationSet(
            store.events, tables, store.spec.max_length, 200, rank=rank, world_size=2
        )
        for i in range(len(dataset)):
            rows += dataset[i].targets["purchase"].table_row.tolist()
    assert sorted(rows) == list(range(len(tables["purchase"])))


def test_tables_of_the_folds_do_not_overlap(store: SequenceStore) -> None:
    data = module(store)
    for task in RULES:
        train, validation, test = (data.tables(f)[task] for f in ("train", "validation", "test"))
        assert train.time.max() < validation.time.max() < test.time.max()
        assert len(np.intersect1d(train.event, test.event)) == 0 or task != "next_channel"


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [1, 2])
def test_loader_processes_change_nothing(store: SequenceStore, num_workers: int) -> None:
    alone = list(module(store).train_dataloader())
    shared = list(module(store, num_workers=num_workers).train_dataloader())
    assert equal(alone, shared)
