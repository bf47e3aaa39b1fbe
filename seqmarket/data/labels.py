"""Labels by as-of semantics: the input lies at or before the prediction time, the label after it.

The next channel alone goes by position: the label is the next event in the order of the log, which
may have the same time as the newest event that is seen.

A window ``(t, t + w]`` that runs past the end of its fold's period is censored: it gets no label,
neither 0 nor 1. Evaluation asks at calendar cutoffs; training asks from every event, at a moment
drawn between that event and the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqmarket.data.splits import Fold, Split
from seqmarket.schema import NEVER, SPECIAL_TOKENS, EventArrays, LabelTable

_LONG_AGO = np.iinfo(np.int64).min // 2
NEXT_CHANNEL = "next_channel"


@dataclass(frozen=True)
class WindowRule:
    """Definition of a binary task: does a purchase happen in ``(t, t + window]``?

    Attributes:
        task: Name of the task.
        window: Length of the label window, microseconds.
        purchase_means: The label where a purchase happens: 1 for `purchase`, 0 for `churn`.
        active_within: Only customers active in ``(t - active_within, t]`` are asked about.
        active_by: What counts as being active: a purchase, or any event.
    """

    task: str
    window: int
    purchase_means: Literal[0, 1]
    active_within: int
    active_by: Literal["purchase", "event"]


class Draw(NamedTuple):
    """One prediction point per event, for training.

    Attributes:
        time: (E,) int64 microseconds.
        label: (E,) int64.
        weight: (E,) float32; 0 where the event gives no point.
    """

    time: NDArray[np.int64]
    label: NDArray[np.int64]
    weight: NDArray[np.float32]


TaskRule = WindowRule | None
"""How a task is labelled: a window rule, or None for the next channel."""


class Neighbours:
    """For every event: the customer it belongs to, its successor, and the purchases around it."""

    def __init__(self, events: EventArrays) -> None:
        self.events = events

    @cached_property
    def customer(self) -> NDArray[np.int64]:
        """(E,) index of the customer."""
        lengths = np.diff(self.events.offsets)
        return np.repeat(np.arange(self.events.n_customers, dtype=np.int64), lengths)

    @cached_property
    def next_time(self) -> NDArray[np.int64]:
        """(E,) time of the customer's next event, NEVER after the last one."""
        following = np.append(self.events.time[1:], NEVER)
        following[self.events.offsets[1:] - 1] = NEVER
        return following

    @cached_property
    def next_purchase(self) -> NDArray[np.int64]:
        """(E,) time of the first purchase among the customer's later events, else NEVER."""
        n = self.events.n_events
        index = np.where(self.events.purchase, np.arange(n), n)
        later = np.append(np.minimum.accumulate(index[::-1])[::-1][1:], n)
        own = later < self.events.offsets[1:][self.customer]
        return np.where(own, self.events.time[np.minimum(later, n - 1)], NEVER)

    @cached_property
    def last_purchase(self) -> NDArray[np.int64]:
        """(E,) time of the newest purchase at or before the event, else long ago."""
        index = np.where(self.events.purchase, np.arange(self.events.n_events), -1)
        newest = np.maximum.accumulate(index)
        own = newest >= self.events.offsets[:-1][self.customer]
        return np.where(own, self.events.time[np.maximum(newest, 0)], _LONG_AGO)

    def last_active(self, by: Literal["purchase", "event"]) -> NDArray[np.int64]:
        """(E,) time at which the customer was last active, as of each event."""
        return self.last_purchase if by == "purchase" else self.events.time


def newest_event(events: EventArrays, moment: int) -> NDArray[np.int64]:
    """(C,) index of each customer's newest event at or before a moment, -1 where there is none."""
    seen = np.concatenate([[0], np.cumsum(events.time <= moment)])
    count = seen[events.offsets[1:]] - seen[events.offsets[:-1]]
    return np.where(count > 0, events.offsets[:-1] + count - 1, -1)


def label_table(near: Neighbours, split: Split, fold: Fold, rule: TaskRule) -> LabelTable:
    """The rows of a task in a fold."""
    if rule is None:
        return next_channel_table(near, split, fold)
    return window_table(near, split, fold, rule)


class Asked(NamedTuple):
    """The rows of a binary task at one cutoff.

    Attributes:
        cutoff: The prediction time, microseconds.
        customer: (N,) indices of the customers who are asked about, ascending.
        event: (N,) index of the newest event of each.
        label: (N,) int64.
    """

    cutoff: int
    customer: NDArray[np.int64]
    event: NDArray[np.int64]
    label: NDArray[np.int64]


def asked_at_cutoffs(
    near: Neighbours, split: Split, fold: Fold, rule: WindowRule
) -> Iterator[Asked]:
    """The rows of a binary task, one calendar cutoff of a fold after the other."""
    events = near.events
    taking_part = split.customers(fold, events.n_customers)
    active = near.last_active(rule.active_by)
    for cutoff in split.cutoffs(fold, rule.window).tolist():
        newest = newest_event(events, cutoff)
        asked = taking_part & (newest >= 0)
        asked[asked] = active[newest[asked]] > cutoff - rule.active_within
        event = newest[asked]
        label = _window_label(near.next_purchase[event], cutoff, rule)
        yield Asked(cutoff, np.flatnonzero(asked), event, label)


def window_table(near: Neighbours, split: Split, fold: Fold, rule: WindowRule) -> LabelTable:
    """Labels of a binary task at the calendar cutoffs of a fold, by customer, then time."""
    rows = [
        (asked.customer, asked.event, np.full(len(asked.customer), asked.cutoff), asked.label)
        for asked in asked_at_cutoffs(near, split, fold, rule)
    ]
    empty = (np.empty(0, dtype=np.int64),) * 4
    columns = [np.concatenate(column) for column in zip(empty, *rows, strict=True)]
    order = np.lexsort((columns[2], columns[0]))
    customer, event, time, label = (column[order] for column in columns)
    return LabelTable(rule.task, "binary", customer, event, time, label)


def _window_label(
    next_purchase: NDArray[np.int64], time: NDArray[np.int64] | int, rule: WindowRule
) -> NDArray[np.int64]:
    # `next_purchase <= time + window`, written so that NEVER cannot overflow.
    buys = next_purchase - rule.window <= time
    return np.where(buys, rule.purchase_means, 1 - rule.purchase_means).astype(np.int64)


def next_channel_table(near: Neighbours, split: Split, fold: Fold) -> LabelTable:
    """The channel of each next event that falls into a fold, asked right after the event before.

    By position: the label is the next event in the order of the log. It may have the same time as
    the event before, so it is not always strictly after the prediction time, as labels of window
    tasks are; within such a tie the label depends on the order of the log.

    Next events whose channel the training period did not show have no class, hence no row.
    """
    event = np.flatnonzero(_next_in_fold(near, split, fold)).astype(np.int64)
    label = near.events.channel[event + 1].astype(np.int64) - SPECIAL_TOKENS
    event, label = event[label >= 0], label[label >= 0]
    time = near.events.time[event]
    return LabelTable(NEXT_CHANNEL, "categorical", near.customer[event], event, time, label)


def _next_in_fold(near: Neighbours, split: Split, fold: Fold) -> NDArray[np.bool_]:
    """(E,) whether the event's successor happens in the fold, to one of its customers."""
    period = split.periods[fold]
    taking_part = split.customers(fold, near.events.n_customers)[near.customer]
    inside = (near.next_time >= period.start) & (near.next_time < period.end)
    return np.asarray(taking_part & inside)


class DenseWindow:
    """Training points of a binary task: one per event, drawn anew in each epoch.

    The moment is uniform between the event and the next one (as far as the customer stays active
    and the window is not censored), and its weight is the length of that stretch. Summed over an
    epoch, the weighted loss would be an unbiased estimate of the loss at a random moment of the
    calendar, which is what evaluation asks about; unweighted, busy days would count most. The loss
    in use divides each batch by the batch's own weight, so it is that estimate within a batch, and
    batches count alike, however much time their points stand for.
    """

    def __init__(self, near: Neighbours, split: Split, rule: WindowRule) -> None:
        period = split.periods["train"]
        taking_part = split.customers("train", near.events.n_customers)[near.customer]
        self._rule = rule
        self._next_purchase = near.next_purchase
        self._low = np.asarray(near.events.time)
        high = np.minimum(near.next_time, period.end - rule.window)
        high = np.minimum(high, near.last_active(rule.active_by) + rule.active_within)
        self._length = np.where(taking_part, np.maximum(high - self._low, 0), 0)
        total = self._length.sum() / max(np.count_nonzero(self._length), 1)
        self._weight = (self._length / max(total, 1)).astype(np.float32)

    def draw(self, rng: np.random.Generator) -> Draw:
        """Draws a moment after each event, with its label and weight."""
        share = rng.random(len(self._low))
        time = self._low + (share * self._length).astype(np.int64)
        return Draw(time, _window_label(self._next_purchase, time, self._rule), self._weight)


class DenseNextChannel:
    """Training points of the next channel: half right after the event, half at a drawn moment.

    The first half matches the evaluation; the second teaches the head what silence says about the
    next channel, so that a customer can be scored at any moment.
    """

    def __init__(self, near: Neighbours, split: Split) -> None:
        self._low = np.asarray(near.events.time)
        known = np.append(near.events.channel[1:] >= SPECIAL_TOKENS, False)
        valid = _next_in_fold(near, split, "train") & known
        self._weight = valid.astype(np.float32)
        self._length = np.where(valid, near.next_time - self._low, 0)
        following = np.append(near.events.channel[1:], SPECIAL_TOKENS).astype(np.int64)
        self._label = np.where(valid, following - SPECIAL_TOKENS, 0)

    def draw(self, rng: np.random.Generator) -> Draw:
        """Draws a moment after each event, with the class that follows."""
        n = len(self._low)
        share = np.where(rng.random(n) < 0.5, 0.0, rng.random(n))
        time = self._low + (share * self._length).astype(np.int64)
        return Draw(time, self._label, self._weight)
