"""Stretches of time in which purchases are waited for: what effects are measured on.

A purchase can come at any moment, so what touches bring about is an integral over time. It is
taken over short stretches, each of which is asked about at its beginning, from the events up to
then. Whatever is taken out of a journey, the stretches stay the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from seqmarket.data.splits import Period
from seqmarket.schema import MICROSECONDS_PER_DAY, EventArrays

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """G stretches, by customer, then time; together the period, from each customer's first event.

    Attributes:
        customer: (G,).
        time: (G,) microseconds, at which a stretch begins.
        days: (G,) its length.
        event: (G,) newest event at or before its beginning.
        purchases: (G,) purchases at its end: those at the next beginning, or at the end of the
            period.
    """

    customer: Ints
    time: Ints
    days: Floats
    event: Ints
    purchases: Ints


def make_grid(events: EventArrays, period: Period, every: timedelta) -> Grid:
    """Begins a stretch at the start of the period, at every event, and `every` so often.

    Events of one moment begin one stretch, which is asked about after the last of them.
    """
    step = every // timedelta(microseconds=1)
    owner = np.repeat(np.arange(events.n_customers), np.diff(events.offsets))
    first = events.time[events.offsets[:-1]]
    inside = (events.time >= period.start) & (events.time < period.end)
    ticks = np.arange(period.start, period.end, step)
    known = np.searchsorted(ticks, first)
    per_customer = np.maximum(len(ticks) - known, 0)
    who = np.repeat(np.arange(events.n_customers), per_customer)
    nth = np.arange(len(who)) - np.repeat(np.cumsum(per_customer) - per_customer, per_customer)
    customer = np.concatenate([owner[inside], who])
    time = np.concatenate([events.time[inside], ticks[known[who] + nth]])
    order = np.lexsort((time, customer))
    customer, time = customer[order], time[order]
    new = np.append(True, (np.diff(customer) != 0) | (np.diff(time) != 0))[: len(time)]
    customer, time = customer[new], time[new]
    last = np.append(customer[1:] != customer[:-1], True)[: len(time)]
    end = np.where(last, period.end, np.append(time[1:], period.end))
    newest = _newest(events, customer, time)
    bought = np.concatenate([[0], np.cumsum(events.purchase)])
    until = np.append(newest[1:], 0)
    ending = events.offsets[customer + 1] - 1
    limit = np.where(last, _newest(events, customer, np.full(len(time), period.end - 1)), until)
    purchases = bought[np.minimum(limit, ending) + 1] - bought[newest + 1]
    return Grid(customer, time, (end - time) / MICROSECONDS_PER_DAY, newest, purchases)


def _newest(events: EventArrays, customer: Ints, time: Ints) -> Ints:
    """(G,) the customer's last event at or before a moment, of which there is one."""
    low, high = events.offsets[customer], events.offsets[customer + 1] - 1
    for _ in range(int((high - low).max(initial=0)).bit_length()):
        middle = (low + high + 1) // 2
        seen = events.time[middle] <= time
        low, high = np.where(seen, middle, low), np.where(seen, high, middle - 1)
    return np.asarray(low)
