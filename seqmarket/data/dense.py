"""Dense supervision: training asks from every event, at a moment drawn anew in each epoch.

An *objective* is what a head is trained on. It need not be a task: one hazard of the next purchase
answers every task about purchases within some window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from seqmarket.data.labels import Neighbours, next_class, next_in_fold, window_label
from seqmarket.data.splits import Split
from seqmarket.schema import (
    MICROSECONDS_PER_DAY,
    EventFilter,
    NextRule,
    WindowRule,
)


class Draw(NamedTuple):
    """One prediction point per event.

    Attributes:
        time: (E,) int64 microseconds.
        label: (E,) int64 class, or 0 and 1; -1 where it is not known.
        amount: (E,) float32 days or value that belongs to the label; see each objective.
        weight: (E,) float32; 0 where the event gives no point.
    """

    time: NDArray[np.int64]
    label: NDArray[np.int64]
    amount: NDArray[np.float32]
    weight: NDArray[np.float32]


class Dense(Protocol):
    """The training points of one objective."""

    def draw(self, rng: np.random.Generator) -> Draw:
        """Draws a moment after each event, and what is known of it."""
        ...


@dataclass(frozen=True)
class NextObjective:
    """The class of the next event and the days until it comes.

    `label` is the class, -1 where the training period ends first or did not show the class;
    `amount` the days until the event, or until the end of the training period. After the end of
    a journey, where that is a class, nothing comes until then.

    Attributes:
        rule: Whose classes are learnt; one of the time alone has none.
        censored: Whether the time is learnt: a next event of an unknown class is drawn, too.
        silence: Whether, with `censored`, points whose next event lies beyond the training period
            are drawn, too.
    """

    rule: NextRule
    censored: bool
    silence: bool = True

    def points(self, near: Neighbours, split: Split) -> Dense:
        """The points of a log."""
        return _DenseNext(near, split, self)


@dataclass(frozen=True)
class HazardObjective:
    """Whether and when a target event happens, as far as the longest window looks.

    `label` is 1 where a target happens after `amount` days, 0 where it is known that none does in
    as many days: since the window or the training period ends.

    Attributes:
        target: The event that is waited for.
        horizon: Longest window, microseconds.
        active: Per task, the events that count as being active, and within how long.
        exposure: Whether a point counts as much as the stretch of time that it was drawn from is
            long, or all the same.
    """

    target: EventFilter
    horizon: int
    active: tuple[tuple[EventFilter, int], ...]
    exposure: bool = True

    def points(self, near: Neighbours, split: Split) -> Dense:
        """The points of a log."""
        return _DenseHazard(near, split, self)


@dataclass(frozen=True)
class WindowObjective:
    """The label of one window task; `amount` is the summed value where that is the label.

    Attributes:
        rule: The task's.
        exposure: As of a `HazardObjective`.
    """

    rule: WindowRule
    exposure: bool = True

    def points(self, near: Neighbours, split: Split) -> Dense:
        """The points of a log."""
        return _DenseWindow(near, split, self)


Objective = NextObjective | HazardObjective | WindowObjective
"""What a head is trained on."""


class _Stretches:
    """The moments of the training period at which a point may be drawn after each event.

    A moment is uniform in its stretch, and its weight is the length of that. Summed over an
    epoch, the weighted loss is an unbiased estimate of the loss at a random moment of the
    calendar, which is what evaluation asks about; unweighted, busy days would count most.
    """

    def __init__(
        self, near: Neighbours, split: Split, end: NDArray[np.int64], exposure: bool
    ) -> None:
        taking_part = split.customers("train", near.events.n_customers)[near.customer]
        self._low = np.asarray(near.events.time)
        self._length = np.where(taking_part, np.maximum(end - self._low, 0), 0)
        some = self._length > 0
        mean = self._length.sum() / max(np.count_nonzero(some), 1)
        self.weight = (self._length / max(mean, 1) if exposure else some).astype(np.float32)

    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """(E,) moments."""
        share = rng.random(len(self._low))
        return self._low + (share * self._length).astype(np.int64)


class _DenseWindow:
    def __init__(self, near: Neighbours, split: Split, objective: WindowObjective) -> None:
        self._near, self._rule = near, objective.rule
        rule = objective.rule
        end = np.minimum(near.next_time, split.periods["train"].end - rule.window)
        end = np.minimum(end, near.last(rule.active) + rule.active_within)
        self._stretches = _Stretches(near, split, end, objective.exposure)
        self._event = np.arange(near.events.n_events)

    def draw(self, rng: np.random.Generator) -> Draw:
        time = self._stretches.draw(rng)
        label = window_label(self._near, self._event, time, self._rule)
        happens = (label > 0).astype(np.int64)
        return Draw(time, happens, label.astype(np.float32), self._stretches.weight)


class _DenseHazard:
    def __init__(self, near: Neighbours, split: Split, objective: HazardObjective) -> None:
        self._period_end = split.periods["train"].end
        self._next = near.next(objective.target)
        self._horizon = objective.horizon
        lasts = [near.last(active) + within for active, within in objective.active]
        end = np.minimum(near.next_time, self._period_end)
        end = np.minimum(end, np.max(lasts, axis=0))
        self._stretches = _Stretches(near, split, end, objective.exposure)

    def draw(self, rng: np.random.Generator) -> Draw:
        time = self._stretches.draw(rng)
        known = np.minimum(self._period_end - time, self._horizon)
        # `next <= time + known`, written so that NEVER cannot overflow.
        happens = (self._next - known <= time) & (self._next < self._period_end)
        days = np.where(happens, np.where(happens, self._next, 0) - time, known)
        days = days / MICROSECONDS_PER_DAY
        return Draw(time, happens.astype(np.int64), days.astype(np.float32), self._stretches.weight)


class _DenseNext:
    """Half of the points right after the event, half at a drawn moment before the next.

    The first half matches the evaluation; the second teaches the head what silence says about the
    next event, so that a customer can be scored at any moment.
    """

    def __init__(self, near: Neighbours, split: Split, objective: NextObjective) -> None:
        period = split.periods["train"]
        self._low = np.asarray(near.events.time)
        rule = objective.rule
        followed = next_in_fold(near, split, "train", rule)
        taking_part = split.customers("train", near.events.n_customers)[near.customer]
        silent = taking_part & ~followed & (self._low < period.end)
        label = np.zeros_like(near.customer) if rule.of == "time" else next_class(near, rule)
        self._label = np.where(followed, label, -1)
        valid = followed & (label >= 0)
        if objective.censored:
            valid = followed | (silent & objective.silence)
        self._end = np.where(followed, np.minimum(near.next_time, period.end), period.end)
        self._length = np.where(valid, np.maximum(self._end - self._low, 0), 0)
        self._weight = valid.astype(np.float32)

    def draw(self, rng: np.random.Generator) -> Draw:
        n = len(self._low)
        share = np.where(rng.random(n) < 0.5, 0.0, rng.random(n))
        time = self._low + (share * self._length).astype(np.int64)
        days = ((self._end - time) / MICROSECONDS_PER_DAY).astype(np.float32)
        return Draw(time, self._label, days, self._weight)
