"""What the network is fed: every row once, from its own past, the same again for the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from seqmarket.data.batch import TaskBatch
from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.data.datasets import EvaluationSet
from seqmarket.data.dense import HazardObjective, NextObjective, Objective, WindowObjective
from seqmarket.data.log_settings import LogSettings
from seqmarket.data.prepare import Workshop, prepare_store
from seqmarket.data.settings import EncodingSettings, SplitSettings
from seqmarket.data.sources.synthetic import SyntheticJourneys
from seqmarket.data.store import SequenceStore
from seqmarket.schema import (
    EVERY_EVENT,
    MICROSECONDS_PER_DAY,
    PURCHASES,
    NextRule,
    TaskRule,
    WindowRule,
)

WEEK = 7 * MICROSECONDS_PER_DAY
PURCHASE = WindowRule("purchase", WEEK, "happens", PURCHASES, 8 * WEEK, PURCHASES)
VALUE = WindowRule("value", 2 * WEEK, "value", PURCHASES, 8 * WEEK, EVERY_EVENT)
NEXT_CHANNEL = NextRule("next_channel", "channel")
RULES: dict[str, TaskRule] = {
    "next_channel": NEXT_CHANNEL,
    "next_event_type": NextRule("next_event_type", "event_type"),
    "time_to_next": NextRule("time_to_next", "time"),
    "purchase": PURCHASE,
    "value": VALUE,
}
OBJECTIVES: dict[str, Objective] = {
    "next_channel": NextObjective(NEXT_CHANNEL, censored=False),
    "next_event": NextObjective(NEXT_CHANNEL, censored=True),
    "purchase": WindowObjective(PURCHASE),
    "time_to_purchase": HazardObjective(PURCHASES, 2 * WEEK, ((EVERY_EVENT, 8 * WEEK),)),
    "value": WindowObjective(VALUE),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SequenceStore:
    return prepare_store(
        SyntheticJourneys(n_customers=80, days=150, seed=5),
        LogSettings(),
        SplitSettings(),
        EncodingSettings(max_length=12),
        Workshop(tmp_path_factory.mktemp("data")),
    )


def module(store: SequenceStore, seed: int = 1, **settings: Any) -> JourneyDataModule:
    return JourneyDataModule(
        store, RULES, OBJECTIVES, batch_size=8, eval_tokens=200, seed=seed, **settings
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
        if set(a.targets) != set(b.targets):
            return False
        for name, target in a.targets.items():
            other = b.targets[name]
            for x, y in zip(
                (*target.points, *target[1:]), (*other.points, *other[1:]), strict=True
            ):
                if not torch.equal(x, y):
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
        for name, objective in OBJECTIVES.items():
            time, days = batch.targets[name].points.time, batch.targets[name].amount
            if isinstance(objective, WindowObjective):
                days = torch.tensor(objective.rule.window / MICROSECONDS_PER_DAY)
            # Days are float32: a second is more than they are off.
            assert bool((time + days.double() < end + 1 / 86_400).all())


def test_a_batch_tells_how_many_events_it_has(store: SequenceStore) -> None:
    data = module(store)
    evaluated = EvaluationSet(store.events, data.tables("test"), store.spec.max_length, 200)
    for batch in (*batches(data, 0), *(evaluated[i] for i in range(len(evaluated)))):
        assert batch.events == int(batch.journeys.mask.sum())


def test_another_seed_asks_the_same_in_another_order(store: SequenceStore) -> None:
    data = module(store, history="newest", batch_tokens=300)
    data.tables("test")
    other = data.with_seed(2)
    assert equal(
        batches(other, 3), batches(module(store, 2, history="newest", batch_tokens=300), 3)
    )
    assert not equal(batches(other, 3), batches(data, 3))
    assert other.tables("test") is data.tables("test")


def test_the_training_points_are_those_of_the_first_epoch(store: SequenceStore) -> None:
    data = module(store)
    found = data.training_points()
    assert list(found) == list(OBJECTIVES)
    for name, (label, amount, weight) in found.items():
        fed = [batch.targets[name] for batch in batches(data, 0)]
        columns = [
            torch.cat([getattr(target, column) for target in fed]).tolist()
            for column in ("label", "amount", "weight")
        ]
        told = zip(label.tolist(), amount.tolist(), weight.tolist(), strict=True)
        assert sorted(told) == sorted(zip(*columns, strict=True))
        assert (weight > 0).all()


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
            label = tables[task].label[rows]
            if tables[task].kind in ("binary", "categorical"):
                assert (target.label.numpy() == label).all()
            assert (target.amount.numpy() == label.astype(np.float32)).all()
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
    for task, rule in RULES.items():
        train, validation, test = (data.tables(f)[task] for f in ("train", "validation", "test"))
        assert train.time.max() < validation.time.max() < test.time.max()
        if isinstance(rule, NextRule):
            assert len(np.intersect1d(train.event, test.event)) == 0


def asked(batch: TaskBatch, name: str) -> list[tuple[float, ...]]:
    """What is asked in a batch: the event's time, the drawn moment, label, amount and weight."""
    target = batch.targets[name]
    event_time = batch.journeys.time[target.points.row, target.points.position]
    columns = (event_time, target.points.time, target.label, target.amount, target.weight)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("world_size", [2, 3])
def test_several_processes_train_on_what_one_would(store: SequenceStore, world_size: int) -> None:
    data = module(store)
    parts = [data.training_set(1, rank, world_size) for rank in range(world_size)]
    assert len({len(part) for part in parts}) == 1
    for name in OBJECTIVES:
        shared = [row for part in parts for i in range(len(part)) for row in asked(part[i], name)]
        alone = [row for batch in batches(data, 1) for row in asked(batch, name)]
        assert sorted(shared) == sorted(alone)


def test_a_batch_by_tokens_keeps_to_its_budget(store: SequenceStore) -> None:
    data = module(store, batch_tokens=100)
    sizes = [batch.journeys.mask.shape for batch in batches(data, 0)]
    assert all(rows * steps <= 100 for rows, steps in sizes)
    assert len({rows for rows, _ in sizes}) > 2


def test_the_newest_history_is_one_window_of_each_customer(store: SequenceStore) -> None:
    newest = batches(module(store, history="newest"), 0)
    complete = batches(module(store), 0)
    shown = sum(int(batch.journeys.mask.sum()) for batch in newest)
    assert shown < sum(int(batch.journeys.mask.sum()) for batch in complete)
    end = store.split.periods["train"].end
    before = [
        int((store.events.time[a:b] < end).sum())
        for a, b in zip(store.events.offsets[:-1], store.events.offsets[1:], strict=True)
    ]
    told = [
        int(prior + real)
        for batch in newest
        for prior, real in zip(
            batch.journeys.prior_events, batch.journeys.mask.sum(dim=1), strict=True
        )
    ]
    # The whole number of events is told, and no customer is there twice.
    assert sorted(told) == sorted(count for count in before if count)
    # What is asked is a part of what is asked of whole histories, with the same draws.
    for name in OBJECTIVES:
        rows = [row for batch in newest for row in asked(batch, name)]
        assert set(rows) < {row for batch in complete for row in asked(batch, name)}


@pytest.mark.parametrize("history", ["windows", "newest"])
def test_the_usual_weight_is_that_of_an_average_batch(store: SequenceStore, history: Any) -> None:
    data = module(store, history=history, length_pool=3)
    for name, usual in data.usual_weight().items():
        weights = [float(batch.targets[name].weight.sum()) for batch in batches(data, 0)]
        assert usual == pytest.approx(np.mean(weights), rel=1e-5)
