"""Tasks that a log cannot answer are refused before anything is trained, with what would help."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from seqmarket.cli.compose import load_config
from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.data.splits import FOLDS, Period
from seqmarket.data.store import SequenceStore
from seqmarket.errors import SeqmarketError
from seqmarket.schema import MICROSECONDS_PER_DAY, CategoricalFeature
from seqmarket.training.askable import check_rows, tasks_without_rows
from seqmarket.training.config import TrainingConfig
from seqmarket.training.objectives import make_objectives
from seqmarket.training.task_settings import TasksConfig
from seqmarket.training.tasks import make_tasks


def check(store: SequenceStore, tasks: Mapping[str, Any], without: Any = None) -> None:
    made = make_tasks(TasksConfig.model_validate(tasks))
    objectives = make_objectives(made, TrainingConfig())
    data = JourneyDataModule(
        store,
        {name: task.rule for name, task in made.items()},
        {name: objective.points for name, objective in objectives.items()},
        batch_size=16,
        eval_tokens=400,
        seed=1,
    )
    check_rows(data, without)


def refused(store: SequenceStore, tasks: Mapping[str, Any], without: Any = None) -> SeqmarketError:
    with pytest.raises(SeqmarketError) as caught:
        check(store, tasks, without)
    return caught.value


def without_values(store: SequenceStore) -> SequenceStore:
    nothing = np.zeros_like(store.events.value)
    return replace(store, events=replace(store.events, value=nothing))


def without_purchases(store: SequenceStore) -> SequenceStore:
    nothing = np.zeros_like(store.events.purchase)
    return replace(store, events=replace(store.events, purchase=nothing))


def of_one_channel(store: SequenceStore) -> SequenceStore:
    only = CategoricalFeature("channel", store.spec.channel.categories[:1])
    return replace(store, spec=replace(store.spec, channel=only))


def test_every_task_can_be_asked_of_a_whole_log(
    store: SequenceStore, caplog: pytest.LogCaptureFixture
) -> None:
    channel = store.spec.channel.categories[0]
    tasks: dict[str, Any] = {name: {} for name in ("next_channel", "time_to_next", "value")}
    tasks["custom"] = {
        "comes": {"channel": [channel]},
        "spends": {"least_value": 0.01, "outcome": "value"},
    }
    with caplog.at_level(logging.INFO, logger="seqmarket"):
        check(store, tasks)
    said = [record.getMessage().split()[:2] for record in caplog.records]
    names = ["next_channel", "time_to_next", "value", "comes", "spends"]
    assert said == [[fold, name] for fold in ("train", "validation", "test") for name in names]


@pytest.mark.parametrize(
    "tasks", [{"value": {}}, {"custom": {"worth": {"purchase": True, "outcome": "value"}}}]
)
def test_a_log_without_values_has_none_to_sum(store: SequenceStore, tasks: dict[str, Any]) -> None:
    error = refused(without_values(store), tasks)
    name = "value" if "value" in tasks else "worth"
    assert error.what == (f"the task {name} needs values, and none of the events it sums has one")
    assert error.where == "data.columns.value"
    assert f"~task.{name}" in (error.fix or "")


@pytest.mark.parametrize("task", ["purchase", "churn", "value"])
def test_a_log_without_purchases(store: SequenceStore, task: str) -> None:
    error = refused(without_purchases(store), {task: {}})
    assert error.what == f"the task {task} needs purchases, and no event of the log is one"
    assert store.spec.event_type.categories[0] in (error.fix or "")


def test_a_task_of_the_users_own_may_ask_about_buyers(store: SequenceStore) -> None:
    channel = store.spec.channel.categories[0]
    buyers = {"custom": {"comes": {"channel": [channel], "active_by": "purchase"}}}
    check(store, buyers)
    assert "needs purchases" in refused(without_purchases(store), buyers).what


@pytest.mark.parametrize("column", ["channel", "event_type"])
def test_an_unknown_name_is_told_the_nearest(store: SequenceStore, column: str) -> None:
    known = getattr(store.spec, column).categories
    wrong = known[0] + "x"
    error = refused(store, {"custom": {"mine": {column: [known[-1], wrong]}}})
    assert f"the task mine waits for the {column.replace('_', ' ')} {wrong!r}" in error.what
    assert error.where == f"task.custom.mine.{column}"
    assert error.fix == f"did you mean {known[0]!r}?"


def test_conditions_that_no_event_fulfils(store: SequenceStore) -> None:
    error = refused(store, {"custom": {"mine": {"least_value": 1e12}}})
    assert error.what == "the task mine waits for events that the log does not have"
    assert error.where == "task.custom.mine"


def test_one_class_cannot_be_told_apart(store: SequenceStore) -> None:
    error = refused(of_one_channel(store), {"next_channel": {}})
    assert "next_channel needs two channels at least in the training period; there is 1" in (
        error.what
    )
    check(of_one_channel(store), {"time_to_next": {}, "next_event_type": {}})


@pytest.mark.parametrize("task", ["churn", "value"])
def test_a_window_that_is_longer_than_a_period(store: SequenceStore, task: str) -> None:
    error = refused(store, {task: {"window": "60d"}})
    assert f"the task {task} has no rows in the validation period" in error.what
    assert "it is not longer than the task's window of 60 days" in error.what


def leaves_out_what_is_not_scored(store: SequenceStore, ignored: tuple[str, ...]) -> None:
    rule = make_tasks(TasksConfig.model_validate({"next_channel": {"not_scored": ignored}}))
    data = JourneyDataModule(
        store, {"next_channel": rule["next_channel"].rule}, {}, batch_size=4, eval_tokens=99, seed=1
    )
    label = data.tables("test")["next_channel"].label
    scored = {store.spec.channel.categories[i] for i in np.unique(label)}
    assert not scored & {store.spec.channel.categories[0]}
    assert len(scored) > 1


def test_what_is_not_scored_has_no_rows(store: SequenceStore) -> None:
    first = store.spec.channel.categories[0]
    leaves_out_what_is_not_scored(store, (first,))
    with pytest.raises(AssertionError):
        leaves_out_what_is_not_scored(store, ())


def test_what_is_not_scored_has_to_occur(store: SequenceStore) -> None:
    known = store.spec.event_type.categories
    error = refused(store, {"next_event_type": {"not_scored": [known[1], known[0] + "s"]}})
    assert f"the event type '{known[0]}s', which is not to be scored, does not occur" in error.what
    assert error.where == "task.next_event_type.not_scored"
    assert error.fix == f"did you mean {known[0]!r}?"


@pytest.mark.parametrize("end", ["learnt", "scored"])
def test_an_end_needs_customers_that_are_divided(store: SequenceStore, end: str) -> None:
    error = refused(store, {"next_event_type": {"end": end}})
    assert "known at the end of the observation only" in error.what
    assert error.where == "task.next_event_type.end"
    check(of_cohorts(store), {"next_event_type": {"end": end}})


def test_a_class_that_is_called_as_the_end_is(store: SequenceStore) -> None:
    named = CategoricalFeature("channel", ("<end>", *store.spec.channel.categories[1:]))
    there = replace(of_cohorts(store), spec=replace(store.spec, channel=named))
    error = refused(there, {"next_channel": {"end": "scored"}})
    assert error.what == "the log has a class <end> of its own"
    check(there, {"next_channel": {"not_scored": ["<end>"]}})


def of_cohorts(store: SequenceStore) -> SequenceStore:
    period = Period(store.split.periods["train"].start, store.split.periods["test"].end)
    folds = (np.arange(store.events.n_customers) % 3).astype(np.int8)
    split = replace(store.split, periods=dict.fromkeys(FOLDS, period), customer_fold=folds)
    return replace(store, split=split)


Change = Callable[[SequenceStore], SequenceStore]


@pytest.mark.parametrize("change", [without_values, without_purchases, of_one_channel])
def test_no_message_names_a_customer(store: SequenceStore, change: Change) -> None:
    every = {name: {} for name in ("next_channel", "purchase", "churn", "value")}
    text = str(refused(change(store), every))
    assert not any(name in text for name in store.customer_ids())


LONG = {"purchase": {"horizon": "200d"}, "custom": {"soon": {"purchase": True, "window": "7d"}}}


def without_rows(model: str, calibration: str, tasks: Mapping[str, Any]) -> dict[Any, Any]:
    overrides = ["data=synthetic", f"model={model}", f"training.calibration={calibration}"]
    config = load_config(overrides)
    return tasks_without_rows(config, make_tasks(TasksConfig.model_validate(tasks)))


def test_a_hazard_may_look_further_than_the_periods_are_long(
    store: SequenceStore, caplog: pytest.LogCaptureFixture
) -> None:
    test_end = store.split.periods["test"].end + 200 * MICROSECONDS_PER_DAY
    periods = {**store.split.periods, "test": Period(store.split.periods["test"].start, test_end)}
    longer = replace(store, split=replace(store.split, periods=periods))
    check(longer, LONG, without_rows("gru", "none", LONG))
    assert "purchase: no whole window fits into the training period" in caplog.text
    assert "the epoch is chosen by the other tasks" in caplog.text
    assert "in the train period" in refused(longer, LONG, without_rows("gru", "platt", LONG)).what
    # Something has to choose the epoch, and the test has to be whole.
    alone = {"purchase": LONG["purchase"]}
    spared = without_rows("gru", "none", alone)
    assert "in the validation period" in refused(longer, alone, spared).what
    assert "in the test period" in refused(store, LONG, without_rows("gru", "none", LONG)).what


@pytest.mark.parametrize(
    ("model", "tasks", "spared"),
    [
        ("gru", {"purchase": {}, "value": {}, "next_channel": {}}, {"purchase"}),
        ("bg_nbd", {"purchase": {}, "value": {}}, {"purchase", "value"}),
        ("majority", {"purchase": {}, "value": {}}, set()),
    ],
)
def test_who_can_do_without_training_rows(
    model: str, tasks: dict[str, Any], spared: set[str]
) -> None:
    assert without_rows(model, "none", tasks)["train"] == spared
    assert without_rows(model, "platt", tasks) == {}
