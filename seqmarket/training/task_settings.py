"""What can be set about the tasks: `conf/task/`. Imports nothing heavy."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from seqmarket.data.settings import PositiveDuration, Settings

_NAME = re.compile(r"[A-Za-z]\w*")


class NextTask(Settings):
    """The class of the next event, asked after every event.

    Attributes:
        weight: Of this task's loss in the sum.
        not_scored: Classes that are learnt, but whose rows are left out of every evaluation, such
            as a mark that stands at the end of each journey.
        end: Whether the end of a journey is a class, `<end>`, of what follows its last event: not
            at all, learnt but not scored, or scored as any other. With `data.split.kind=cohort`
            only. A journey that the end of the observation cut off counts as ended.
        min_events: Rows with fewer events of the customer are learnt, but not scored.
    """

    weight: float = Field(1.0, gt=0)
    not_scored: tuple[str, ...] = ()
    end: Literal["none", "learnt", "scored"] = "none"
    min_events: int = Field(1, ge=1)


class TimeToNextTask(Settings):
    """The days until the next event, asked after every event.

    Attributes:
        weight: Of this task's loss in the sum. With the weight of the others, the next channel was
            predicted worse.
        min_events: As of a `NextTask`.
        silence: Whether the time is learnt, too, from events after which nothing came within the
            training period. Without it the answer is the time given that an event comes.
    """

    weight: float = Field(0.1, gt=0)
    min_events: int = Field(1, ge=1)
    silence: bool = True


class WindowTask(Settings):
    """What all tasks about a window after the prediction time have in common.

    Attributes:
        weight: Of this task's loss in the sum. Tasks that share a hazard have one loss, with the
            mean of their weights.
        active_within: Customers with no activity in this long before the prediction time are not
            asked about.
        active_by: Whether activity means a purchase or any event.
    """

    weight: float = Field(1.0, gt=0)
    active_within: PositiveDuration = timedelta(days=56)
    active_by: Literal["purchase", "event"] = "purchase"


class BinaryTask(WindowTask):
    """A yes or no about a window.

    Attributes:
        positive_weight: Weight of a positive label in the loss; with
            `training.window_heads=logistic` only. Other than 1 it moves the
            probabilities away from the true rate, which calibration then has to undo.
    """

    positive_weight: float = Field(1.0, gt=0)


class PurchaseTask(BinaryTask):
    """Whether the customer buys within a horizon.

    Attributes:
        horizon: Length of the label window, which starts right after the prediction time.
    """

    horizon: PositiveDuration = timedelta(days=7)


class ChurnTask(BinaryTask):
    """Whether the customer buys nothing throughout a window.

    Attributes:
        window: Length of the label window, which starts right after the prediction time.
    """

    window: PositiveDuration = timedelta(days=28)


class ValueTask(WindowTask):
    """The summed value of the customer's purchases in a window.

    Attributes:
        window: Length of the window, which starts right after the prediction time.
    """

    weight: float = Field(0.1, gt=0)
    window: PositiveDuration = timedelta(days=28)


class CustomTask(BinaryTask):
    """Whether an event of the user's choice happens in a window, or what such events are worth.

    An event counts where it fulfils every condition that is given.

    Attributes:
        window: Length of the window, which starts right after the prediction time.
        outcome: Label 1 where such an event `happens` or is `absent`; or their summed `value`.
        channel: Channels that count; empty: all.
        event_type: Event types that count; empty: all.
        purchase: Whether purchases only count.
        least_value: Least value of an event that counts; null: any.
    """

    window: PositiveDuration = timedelta(days=28)
    outcome: Literal["happens", "absent", "value"] = "happens"
    channel: tuple[str, ...] = ()
    event_type: tuple[str, ...] = ()
    purchase: bool = False
    least_value: float | None = None
    active_by: Literal["purchase", "event"] = "event"

    @model_validator(mode="after")
    def _some_condition(self) -> Self:
        if not (self.channel or self.event_type or self.purchase or self.least_value is not None):
            raise ValueError("say which events count: channel, event_type, purchase or least_value")
        return self


def _names_are_usable(tasks: dict[str, CustomTask]) -> dict[str, CustomTask]:
    for name in tasks:
        if not _NAME.fullmatch(name):
            raise ValueError(f"a task's name is letters, digits and '_'; got {name!r}")
        if name in TasksConfig.model_fields:
            raise ValueError(f"{name} is a task of its own already; choose another name")
        if name in ("next", "next_event") or name.startswith("time_to_"):
            raise ValueError(f"{name} is the name of a head already; choose another name")
    return tasks


class TasksConfig(Settings):
    """What is predicted; at least one task.

    Attributes:
        next_channel: The channel of the next event; null: not asked.
        next_event_type: The type of the next event; null: not asked.
        time_to_next: The days until the next event; null: not asked.
        purchase: Null: not asked.
        churn: Null: not asked.
        value: Null: not asked.
        custom: Tasks of the user's own, by name.
    """

    next_channel: NextTask | None = None
    next_event_type: NextTask | None = None
    time_to_next: TimeToNextTask | None = None
    purchase: PurchaseTask | None = None
    churn: ChurnTask | None = None
    value: ValueTask | None = None
    custom: Annotated[dict[str, CustomTask], AfterValidator(_names_are_usable)] = Field(
        default_factory=dict
    )

    @model_validator(mode="after")
    def _at_least_one(self) -> Self:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise ValueError(
                "choose at least one of next_channel, next_event_type, time_to_next, purchase, "
                "churn, value and custom"
            )
        return self

    @model_validator(mode="after")
    def _an_end_has_no_time(self) -> Self:
        channel = self.next_channel
        if channel is not None and channel.end != "none" and self.time_to_next is not None:
            raise ValueError(
                "next_channel.end and time_to_next exclude each other, since nothing comes after "
                "an end: leave time_to_next out (~task.time_to_next), or set next_channel.end=none"
            )
        return self
