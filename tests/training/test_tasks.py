"""The tasks: in a fixed order, with the rules that are configured, in words; their predictions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import numpy as np
import pytest
from pydantic import ValidationError

from seqmarket.schema import (
    EVERY_EVENT,
    MICROSECONDS_PER_DAY,
    PURCHASES,
    EventFilter,
    NextRule,
    WindowRule,
)
from seqmarket.training.task_settings import (
    ChurnTask,
    CustomTask,
    NextTask,
    PurchaseTask,
    TasksConfig,
    TimeToNextTask,
    ValueTask,
)
from seqmarket.training.tasks import Task, make_tasks


def test_predictions(tasks: Mapping[str, Task]) -> None:
    logits = np.array([-2.0, 0.0, 60.0], dtype=np.float32)
    binary = tasks["churn"].predictions(logits)
    assert binary == pytest.approx(1 / (1 + np.exp(-logits.astype(float))))
    assert binary.dtype == np.float64
    scores = np.array([[0.0, 0.0, 0.0], [90.0, 0.0, -90.0]], dtype=np.float32)
    shares = tasks["next_channel"].predictions(scores)
    assert shares.sum(axis=1) == pytest.approx([1, 1], abs=1e-15)
    assert shares[0] == pytest.approx([1 / 3] * 3)
    assert 0 < shares[1, 2] < shares[1, 1] < 1e-30
    for name in ("value", "time_to_next"):
        assert (tasks[name].predictions(scores) == scores).all()


def test_tasks_stand_in_a_fixed_order() -> None:
    every = {
        "churn": ChurnTask(),
        "next_channel": NextTask(),
        "purchase": PurchaseTask(),
    }
    assert list(make_tasks(TasksConfig.model_validate(every))) == [
        "next_channel",
        "purchase",
        "churn",
    ]
    assert list(make_tasks(TasksConfig(churn=ChurnTask()))) == ["churn"]
    for name, task in make_tasks(TasksConfig.model_validate(every)).items():
        assert task.name == name


def test_rules_hold_what_is_configured() -> None:
    config = TasksConfig(
        next_channel=NextTask(weight=0.25),
        purchase=PurchaseTask(
            horizon=timedelta(days=3), active_within=timedelta(days=10), active_by="event"
        ),
        churn=ChurnTask(window=timedelta(hours=12), weight=2.0, positive_weight=5.0),
    )
    tasks = make_tasks(config)
    day = MICROSECONDS_PER_DAY
    assert tasks["next_channel"].rule == NextRule("next_channel", "channel")
    assert tasks["purchase"].rule == WindowRule(
        "purchase", 3 * day, "happens", PURCHASES, 10 * day, EVERY_EVENT
    )
    assert tasks["churn"].rule == WindowRule(
        "churn", day // 2, "absent", PURCHASES, 56 * day, PURCHASES
    )
    assert [task.weight for task in tasks.values()] == [0.25, 1.0, 2.0]
    assert [task.positive_weight for task in tasks.values()] == [1.0, 1.0, 5.0]
    assert [task.kind for task in tasks.values()] == ["categorical", "binary", "binary"]


def test_definitions_in_words() -> None:
    tasks = make_tasks(
        TasksConfig(
            next_channel=NextTask(),
            purchase=PurchaseTask(horizon=timedelta(days=1)),
            churn=ChurnTask(window=timedelta(hours=12), active_by="event"),
        )
    )
    assert tasks["purchase"].definition == (
        "a purchase in the 1 day after the prediction time, "
        "for customers with a purchase in the 56 days before it"
    )
    assert tasks["churn"].definition == (
        "no purchase in the 12 hours after the prediction time, "
        "for customers with an event in the 56 days before it"
    )
    assert "next event" in tasks["next_channel"].definition
    week = timedelta(days=7)
    assert tasks["churn"].as_of(week) == "Asked every 7 days, from the events up to then"
    assert tasks["churn"].as_of(week / 7).startswith("Asked every 1 day,")
    assert tasks["next_channel"].as_of(week).startswith("Asked right after each event")


def test_ends_in_words() -> None:
    tasks = make_tasks(
        TasksConfig(
            next_channel=NextTask(end="learnt", min_events=2),
            next_event_type=NextTask(end="scored"),
        )
    )
    assert tasks["next_channel"].rule == NextRule("next_channel", "channel", (), "learnt", 2)
    assert tasks["next_channel"].definition == (
        "the channel of the customer's next event, asked right after each event; <end> where "
        "there is none, which is not scored; scored from the customer's event 2 on"
    )
    assert tasks["next_event_type"].definition.endswith("each event; <end> where there is none")


def test_an_end_has_no_time() -> None:
    time = TimeToNextTask(min_events=3)
    with pytest.raises(ValidationError, match="nothing comes after an end"):
        TasksConfig(next_channel=NextTask(end="scored"), time_to_next=time)
    tasks = make_tasks(TasksConfig(next_channel=NextTask(), time_to_next=time))
    assert tasks["time_to_next"].rule == NextRule("time_to_next", "time", min_events=3)


def test_tasks_of_the_users_own() -> None:
    config = TasksConfig(
        next_event_type=NextTask(not_scored=("end",)),
        time_to_next=TimeToNextTask(),
        value=ValueTask(window=timedelta(days=14)),
        custom={
            "coupon": CustomTask(event_type=("redemption",), channel=("app", "mail")),
            "big_spend": CustomTask(purchase=True, least_value=50, outcome="value"),
        },
    )
    tasks = make_tasks(config)
    assert list(tasks) == ["next_event_type", "time_to_next", "value", "coupon", "big_spend"]
    assert [task.kind for task in tasks.values()] == [
        "categorical",
        "duration",
        "amount",
        "binary",
        "amount",
    ]
    day = MICROSECONDS_PER_DAY
    target = EventFilter(channel=("app", "mail"), event_type=("redemption",))
    assert tasks["coupon"].rule == WindowRule(
        "coupon", 28 * day, "happens", target, 56 * day, EVERY_EVENT
    )
    assert tasks["coupon"].definition == (
        "an event of type redemption through app or mail in the 28 days after the prediction "
        "time, for customers with an event in the 56 days before it"
    )
    assert tasks["big_spend"].definition.startswith(
        "the summed value of every purchase of at least 50 in the 28 days"
    )
    assert "events that are end are not scored" in tasks["next_event_type"].definition
    assert tasks["time_to_next"].definition.startswith("the days until the customer's next event")
