"""How the configured tasks are labelled. Without torch, so that a log is reported on at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from seqmarket.schema import (
    EVERY_EVENT,
    PURCHASES,
    EventFilter,
    NextRule,
    Outcome,
    TaskRule,
    WindowRule,
)
from seqmarket.training.task_settings import CustomTask, NextTask, TasksConfig, WindowTask


def task_rules(config: TasksConfig) -> dict[str, TaskRule]:
    """The rule of each configured task, by name, in a fixed order."""
    rules: list[TaskRule] = []
    if (channel := config.next_channel) is not None:
        rules.append(_next("next_channel", "channel", channel))
    if (event_type := config.next_event_type) is not None:
        rules.append(_next("next_event_type", "event_type", event_type))
    if (time := config.time_to_next) is not None:
        rules.append(
            NextRule("time_to_next", "time", min_events=time.min_events, silence=time.silence)
        )
    if (purchase := config.purchase) is not None:
        rules.append(_window("purchase", purchase, purchase.horizon, "happens", PURCHASES))
    if (churn := config.churn) is not None:
        rules.append(_window("churn", churn, churn.window, "absent", PURCHASES))
    if (value := config.value) is not None:
        rules.append(_window("value", value, value.window, "value", PURCHASES))
    for name, task in config.custom.items():
        rules.append(_window(name, task, task.window, task.outcome, _filter(task)))
    return {rule.task: rule for rule in rules}


def _next(name: str, of: Literal["channel", "event_type"], task: NextTask) -> NextRule:
    return NextRule(name, of, task.not_scored, task.end, task.min_events)


def _window(
    name: str, task: WindowTask, window: timedelta, outcome: Outcome, target: EventFilter
) -> WindowRule:
    return WindowRule(
        task=name,
        window=window // timedelta(microseconds=1),
        outcome=outcome,
        target=target,
        active_within=task.active_within // timedelta(microseconds=1),
        active=PURCHASES if task.active_by == "purchase" else EVERY_EVENT,
    )


def _filter(task: CustomTask) -> EventFilter:
    return EventFilter(task.purchase, task.channel, task.event_type, task.least_value)
