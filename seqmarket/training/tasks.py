"""The tasks: what is predicted, of whom and as of when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
from numpy.typing import NDArray

from seqmarket.schema import (
    END,
    EventFilter,
    NextRule,
    SequenceSpec,
    TaskKind,
    TaskRule,
    WindowRule,
)
from seqmarket.training.rules import task_rules
from seqmarket.training.task_settings import TasksConfig


@dataclass(frozen=True)
class Task:
    """One thing that is predicted.

    Attributes:
        name: Key in the configuration, in every metric name and in every table.
        rule: How it is labelled.
        weight: Weight of its loss among the tasks.
        positive_weight: Weight of a positive row in the training loss of a logistic head.
        definition: The task in words, for the model card.
    """

    name: str
    rule: TaskRule
    weight: float
    positive_weight: float
    definition: str

    @property
    def kind(self) -> TaskKind:
        """What is predicted: a class, a yes or no, an amount or a duration."""
        return self.rule.kind

    def classes(self, spec: SequenceSpec) -> tuple[str, ...]:
        """The classes of a categorical task; none of any other."""
        return self.rule.classes(spec) if isinstance(self.rule, NextRule) else ()

    def as_of(self, cutoff_every: timedelta) -> str:
        """When the task is asked, in words, for the model card."""
        if isinstance(self.rule, NextRule):
            return "Asked right after each event whose successor lies in the period"
        return f"Asked every {_in_words(cutoff_every)}, from the events up to then"

    def predictions(self, answers: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities from a model's logits; amounts and durations as they are."""
        values = torch.from_numpy(answers).double()
        if self.kind == "binary":
            values = values.sigmoid()
        elif self.kind == "categorical":
            values = values.softmax(dim=-1)
        return values.numpy()


def make_tasks(config: TasksConfig) -> dict[str, Task]:
    """The configured tasks, by name, in a fixed order."""
    return {name: _task(rule, config) for name, rule in task_rules(config).items()}


def _task(rule: TaskRule, config: TasksConfig) -> Task:
    settings = config.custom.get(rule.task) or getattr(config, rule.task)
    return Task(
        name=rule.task,
        rule=rule,
        weight=settings.weight,
        positive_weight=getattr(settings, "positive_weight", 1.0),
        definition=_next_in_words(rule) if isinstance(rule, NextRule) else _window_in_words(rule),
    )


def _next_in_words(rule: NextRule) -> str:
    what = {"time": "days until", "channel": "channel of", "event_type": "type of"}[rule.of]
    text = f"the {what} the customer's next event, asked right after each event"
    if rule.not_scored:
        text += f"; events that are {' or '.join(rule.not_scored)} are not scored"
    if rule.end != "none":
        text += f"; {END} where there is none"
    if rule.end == "learnt":
        text += ", which is not scored"
    if rule.min_events > 1:
        text += f"; scored from the customer's event {rule.min_events} on"
    return text


def _window_in_words(rule: WindowRule) -> str:
    event = _event_in_words(rule.target)
    what = {
        "happens": f"{event}",
        "absent": f"no {event.removeprefix('a ').removeprefix('an ')}",
        "value": f"the summed value of every {event.removeprefix('a ').removeprefix('an ')}",
    }[rule.outcome]
    doing = "with a purchase" if rule.active.purchase else "with an event"
    within = _in_words(timedelta(microseconds=rule.active_within))
    return (
        f"{what} in the {_in_words(timedelta(microseconds=rule.window))} after the prediction "
        f"time, for customers {doing} in the {within} before it"
    )


def _event_in_words(target: EventFilter) -> str:
    text = "a purchase" if target.purchase else "an event"
    if target.event_type:
        text += f" of type {' or '.join(target.event_type)}"
    if target.channel:
        text += f" through {' or '.join(target.channel)}"
    if target.least_value is not None:
        text += f" of at least {target.least_value:g}"
    return text


def _in_words(duration: timedelta) -> str:
    days = duration / timedelta(days=1)
    count, unit = (days, "day") if days >= 1 else (days * 24, "hour")
    return f"{count:g} {unit}" if count == 1 else f"{count:g} {unit}s"
