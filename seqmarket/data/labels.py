"""Labels by as-of semantics: the input lies at or before the prediction time, the label after it.

Tasks about the next event alone go by position: the label is of the next event in the order of the
log, which may have the same time as the newest event that is seen.

A window ``(t, t + w]`` that runs past the end of its fold's period is censored: it gets no label,
neither 0 nor 1. Evaluation asks at calendar cutoffs; training asks from every event, at a moment
drawn between that event and the next (`seqmarket.data.dense`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqmarket.data.splits import Fold, Split
from seqmarket.schema import (
    END,
    EVERY_EVENT,
    MICROSECONDS_PER_DAY,
    NEVER,
    SPECIAL_TOKENS,
    EventArrays,
    EventFilter,
    LabelTable,
    NextRule,
    SequenceSpec,
    TaskRule,
    WindowRule,
)

_LONG_AGO = np.iinfo(np.int64).min // 2


class Neighbours:
    """For every event: the customer it belongs to, its successor, and what is around it.

    Args:
        events: The events.
        spec: How they were encoded.
    """

    def __init__(self, events: EventArrays, spec: SequenceSpec) -> None:
        self.events = events
        self.spec = spec
        self._next: dict[EventFilter, NDArray[np.int64]] = {}
        self._last: dict[EventFilter, NDArray[np.int64]] = {}
        self._value: dict[EventFilter, NDArray[np.float64]] = {}

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

    def next(self, which: EventFilter) -> NDArray[np.int64]:
        """(E,) time of the first event that is meant among the customer's later ones, or NEVER."""
        if which not in self._next:
            n = self.events.n_events
            index = np.where(which.mask(self.events, self.spec), np.arange(n), n)
            later = np.append(np.minimum.accumulate(index[::-1])[::-1][1:], n)
            own = later < self.events.offsets[1:][self.customer]
            self._next[which] = np.where(own, self.events.time[np.minimum(later, n - 1)], NEVER)
        return self._next[which]

    def last(self, which: EventFilter) -> NDArray[np.int64]:
        """(E,) time of the newest event that is meant at or before each one, else long ago."""
        if which == EVERY_EVENT:
            return self.events.time
        if which not in self._last:
            meant = which.mask(self.events, self.spec)
            newest = np.maximum.accumulate(np.where(meant, np.arange(self.events.n_events), -1))
            own = newest >= self.events.offsets[:-1][self.customer]
            time = self.events.time[np.maximum(newest, 0)]
            self._last[which] = np.where(own, time, _LONG_AGO)
        return self._last[which]

    def value_within(
        self, event: NDArray[np.int64], until: NDArray[np.int64] | int, which: EventFilter
    ) -> NDArray[np.float64]:
        """(N,) summed value of what is meant after each event and up to a moment, inclusive.

        Values are taken to the nearest ten-thousandth, so that a sum depends on its own terms
        alone, and not on those of the customers before.

        Args:
            event: (N,) indices of events.
            until: (N,) moments, or one for all, microseconds.
            which: The events that are summed.
        """
        if which not in self._value:
            meant = which.mask(self.events, self.spec)
            exact = np.where(meant, self.events.value, 0.0).astype(np.float64) * _TEN_THOUSAND
            self._value[which] = np.concatenate([[0.0], np.cumsum(np.rint(exact))])
        total = self._value[which]
        after = self._last_until(event, until)
        return np.asarray((total[after + 1] - total[event + 1]) / _TEN_THOUSAND)

    def _last_until(
        self, event: NDArray[np.int64], until: NDArray[np.int64] | int
    ) -> NDArray[np.int64]:
        """(N,) index of the same customer's last event at or before a moment."""
        low, high = event.copy(), self.events.offsets[1:][self.customer[event]] - 1
        until = np.broadcast_to(until, low.shape)
        for _ in range(int((high - low).max(initial=0)).bit_length()):
            middle = (low + high + 1) // 2
            seen = self.events.time[middle] <= until
            low, high = np.where(seen, middle, low), np.where(seen, high, middle - 1)
        return low


_TEN_THOUSAND = 1e4


def newest_event(events: EventArrays, moment: int) -> NDArray[np.int64]:
    """(C,) index of each customer's newest event at or before a moment, -1 where there is none."""
    seen = np.concatenate([[0], np.cumsum(events.time <= moment)])
    count = seen[events.offsets[1:]] - seen[events.offsets[:-1]]
    return np.where(count > 0, events.offsets[:-1] + count - 1, -1)


def label_table(near: Neighbours, split: Split, fold: Fold, rule: TaskRule) -> LabelTable:
    """The rows of a task in a fold."""
    if isinstance(rule, NextRule):
        return next_table(near, split, fold, rule)
    return window_table(near, split, fold, rule)


class Asked(NamedTuple):
    """The rows of a window task at one cutoff.

    Attributes:
        cutoff: The prediction time, microseconds.
        customer: (N,) indices of the customers who are asked about, ascending.
        event: (N,) index of the newest event of each.
        label: (N,) int64, or float64 of an amount.
    """

    cutoff: int
    customer: NDArray[np.int64]
    event: NDArray[np.int64]
    label: NDArray[Any]


def asked_at_cutoffs(
    near: Neighbours, split: Split, fold: Fold, rule: WindowRule
) -> Iterator[Asked]:
    """The rows of a window task, one calendar cutoff of a fold after the other."""
    events = near.events
    taking_part = split.customers(fold, events.n_customers)
    active = near.last(rule.active)
    for cutoff in split.cutoffs(fold, rule.window).tolist():
        newest = newest_event(events, cutoff)
        asked = taking_part & (newest >= 0)
        asked[asked] = active[newest[asked]] > cutoff - rule.active_within
        event = newest[asked]
        yield Asked(cutoff, np.flatnonzero(asked), event, window_label(near, event, cutoff, rule))


def window_table(near: Neighbours, split: Split, fold: Fold, rule: WindowRule) -> LabelTable:
    """Labels of a window task at the calendar cutoffs of a fold, by customer, then time."""
    rows = [
        (asked.customer, asked.event, np.full(len(asked.customer), asked.cutoff), asked.label)
        for asked in asked_at_cutoffs(near, split, fold, rule)
    ]
    dtype = np.float64 if rule.outcome == "value" else np.int64
    empty = (*(np.empty(0, dtype=np.int64),) * 3, np.empty(0, dtype=dtype))
    columns = [np.concatenate(column) for column in zip(empty, *rows, strict=True)]
    order = np.lexsort((columns[2], columns[0]))
    customer, event, time, label = (column[order] for column in columns)
    return LabelTable(rule.task, rule.kind, customer, event, time, label, rule)


def window_label(
    near: Neighbours, event: NDArray[np.int64], time: NDArray[np.int64] | int, rule: WindowRule
) -> NDArray[Any]:
    """(N,) labels of a window that starts after a moment between each event and the next."""
    if rule.outcome == "value":
        return near.value_within(event, time + rule.window, rule.target)
    # `next <= time + window`, written so that NEVER cannot overflow.
    happens = near.next(rule.target)[event] - rule.window <= time
    return (happens if rule.outcome == "happens" else ~happens).astype(np.int64)


def next_table(near: Neighbours, split: Split, fold: Fold, rule: NextRule) -> LabelTable:
    """What is asked of each next event that falls into a fold, right after the event before.

    What the rule leaves out is left out of validation and test. The rows of the training have it:
    they are what baselines learn from.

    By position: the next event is the next one in the order of the log. It may have the same time
    as the event before, so it is not always strictly after the prediction time, as labels of window
    tasks are; within such a tie the label depends on the order of the log.

    Next events of a class that the training period did not show have no row in a categorical task.
    """
    event = np.flatnonzero(next_in_fold(near, split, fold, rule)).astype(np.int64)
    if fold != "train" and rule.min_events > 1:
        seen = event - near.events.offsets[near.customer[event]] + 1
        event = event[seen >= rule.min_events]
    time = near.events.time[event]
    label: NDArray[Any]
    if rule.of == "time":
        label = (near.next_time[event] - time) / MICROSECONDS_PER_DAY
    else:
        label = next_class(near, rule)[event]
        asked = label >= 0
        if fold != "train":
            asked &= rule.scored(near.spec)[label]
        event, label, time = event[asked], label[asked], time[asked]
    return LabelTable(rule.task, rule.kind, near.customer[event], event, time, label, rule)


def next_class(near: Neighbours, rule: NextRule) -> NDArray[np.int64]:
    """(E,) class of the event in the next place of the log, -1 for one that training did not show.

    At a customer's last event it is `END`, or where the rule has no such class that of another
    customer: see `next_in_fold`.
    """
    label = np.append(rule.ids(near.events)[1:], 0).astype(np.int64) - SPECIAL_TOKENS
    if rule.end != "none":
        label[near.next_time == NEVER] = rule.classes(near.spec).index(END)
    return np.maximum(label, -1)


def next_in_fold(near: Neighbours, split: Split, fold: Fold, rule: NextRule) -> NDArray[np.bool_]:
    """(E,) whether the event's successor happens in the fold, to one of its customers.

    An end that is a class happens when the last event does.
    """
    period = split.periods[fold]
    taking_part = split.customers(fold, near.events.n_customers)[near.customer]
    then = near.next_time
    if rule.end != "none":
        then = np.where(then == NEVER, near.events.time, then)
    inside = (then >= period.start) & (then < period.end)
    return np.asarray(taking_part & inside)
