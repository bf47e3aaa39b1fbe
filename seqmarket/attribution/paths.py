"""The ways to conversions: which touches count for which.

M  touches     V  conversions     P  paths
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqmarket.data.labels import Neighbours
from seqmarket.data.splits import Period
from seqmarket.schema import PURCHASES, EventArrays, SequenceSpec

_EVENTS_AT_A_TIME = 2**18
"""Customers with some that many events are gone through at a time, which bounds the memory."""

Ints = NDArray[np.int64]


class Paths(NamedTuple):
    """Stretches of one customer's touches; touches ``first[p]`` to ``stop[p]`` are path p's.

    Attributes:
        first: (P,) index of a touch.
        stop: (P,) the one after its last; a conversion may have a path without touches.
        conversion: (P,) index of the conversion that ends it, -1 for none.
    """

    first: Ints
    stop: Ints
    conversion: Ints

    def touches(self) -> Ints:
        """The touches of path after path."""
        size = self.stop - self.first
        touch = np.repeat(self.first - np.cumsum(size) + size, size)
        touch += np.arange(len(touch))
        return touch

    def rows(self) -> tuple[Ints, Ints]:
        """For each touch of each path: the path, and the touch."""
        return np.repeat(np.arange(len(self.first)), self.stop - self.first), self.touches()

    def take(self, which: NDArray[np.bool_] | Ints) -> Paths:
        """Some of them."""
        return Paths(*(column[which] for column in self))


class Reach(NamedTuple):
    """Which touches count for a conversion.

    Attributes:
        lookback: Microseconds; those of longer ago do not.
        margin: Microseconds; later ones do not. With 0, the order of the log decides.
        restart: Whether those before another purchase do not.
    """

    lookback: int
    margin: int
    restart: bool


def lay_paths(
    events: EventArrays,
    spec: SequenceSpec,
    period: Period,
    reach: Reach,
    touch: Ints,
    conversion: Ints,
) -> tuple[Paths, int]:
    """The paths of a period: those that convert, then those that lead nowhere.

    Args:
        events: The log.
        spec: How it was encoded.
        period: Start and end (exclusive), microseconds.
        reach: Which touches count for a conversion.
        touch: (M,) index of the events that are touches.
        conversion: (V,) of those that are conversions.

    Returns:
        The paths, and the number of censored touches, which are in none.
    """
    cuts = np.searchsorted(events.offsets, np.arange(0, events.n_events, _EVENTS_AT_A_TIME))
    bounds = np.unique([*cuts, events.n_customers])
    begins = events.offsets[bounds]
    converting, nothing = [Paths(*np.zeros((3, 0), dtype=np.int64))], []
    censored = 0
    for some, rows, touches, conversions in zip(
        pairwise(bounds),
        pairwise(begins),
        pairwise(np.searchsorted(touch, begins)),
        pairwise(np.searchsorted(conversion, begins)),
        strict=True,
    ):
        near = Neighbours(_customers(events, *some), spec)
        own = touch[slice(*touches)] - rows[0], conversion[slice(*conversions)] - rows[0]
        paths, left_out = _paths(near, period, reach, *own)
        ends = paths.conversion >= 0
        moved = Paths(
            paths.first + touches[0],
            paths.stop + touches[0],
            np.where(ends, paths.conversion + conversions[0], -1),
        )
        converting.append(moved.take(ends))
        nothing.append(moved.take(~ends))
        censored += left_out
    both = zip(*converting, *nothing, strict=True)
    return Paths(*(np.concatenate(columns) for columns in both)), censored


def _customers(events: EventArrays, first: int, stop: int) -> EventArrays:
    """Views of the events of some customers, one after the other."""
    begins = events.offsets[first : stop + 1]
    rows = slice(begins[0], begins[-1])
    flat = ("time", "channel", "event_type", "purchase", "value", "categorical", "features")
    return replace(
        events,
        offsets=begins - begins[0],
        static_categorical=events.static_categorical[first:stop],
        static_features=events.static_features[first:stop],
        **{name: getattr(events, name)[rows] for name in flat},
    )


def _paths(
    near: Neighbours, period: Period, reach: Reach, touch: Ints, conversion: Ints
) -> tuple[Paths, int]:
    events, lookback = near.events, reach.lookback
    time, customer = np.asarray(events.time[touch]), near.customer[touch]
    buyer, ends = near.customer[conversion], events.time[conversion]
    # Of each conversion: its customer's touches before it in the order of the log ...
    stop = np.searchsorted(touch, conversion)
    if reach.margin:
        stop = np.minimum(stop, first_since(time, customer, buyer, ends - reach.margin))
    earliest = np.maximum(
        np.searchsorted(touch, events.offsets[buyer]),
        first_since(time, customer, buyer, ends - lookback),
    )
    if reach.restart:
        # ... and after the purchase before it, one that is not attributed too.
        bought = np.flatnonzero(events.purchase)
        before = np.searchsorted(bought, conversion) - 1
        last = np.where(before >= 0, bought[np.maximum(before, 0)], -1)
        earliest = np.maximum(earliest, np.searchsorted(touch, last))
    converting = Paths(np.minimum(earliest, stop), stop, np.arange(len(conversion)))

    # What no conversion takes in breaks where nothing follows within the lookback.
    taken = np.zeros(len(touch) + 1, dtype=np.int64)
    np.add.at(taken, converting.first, 1)
    np.add.at(taken, converting.stop, -1)
    bought_at = near.next(PURCHASES)[touch]
    # One that is not attributed ends nothing, but neither did nothing follow.
    followed = (bought_at < period.end) & (bought_at - lookback <= time)
    free = (np.cumsum(taken[:-1]) == 0) & (time >= period.start) & ~followed
    known = time + lookback < period.end
    censored = int((free & ~known).sum())
    free = np.flatnonzero(free & known)
    gap = np.diff(time[free], prepend=0) > lookback
    new = np.diff(customer[free], prepend=-1) != 0
    apart = np.diff(free, prepend=-2) != 1
    starts = np.flatnonzero(gap | new | apart)
    first = free[starts]
    last = free[np.append(starts[1:], len(free)) - 1] if len(free) else free
    nothing = Paths(first, last + 1, np.full(len(first), -1))
    both = (np.concatenate(columns) for columns in zip(converting, nothing, strict=True))
    return Paths(*both), censored


def first_since(time: Ints, customer: Ints, who: Ints, since: Ints) -> Ints:
    """(N,) index of the first touch of each customer at or after a moment."""
    if not len(time):
        return np.zeros(len(who), dtype=np.int64)
    low = np.searchsorted(customer, who, side="left")
    high = np.searchsorted(customer, who, side="right")
    for _ in range(int((high - low).max(initial=0)).bit_length()):
        middle = (low + high) // 2
        open_ = low < high
        earlier = open_ & (time[np.minimum(middle, len(time) - 1)] < since)
        low, high = np.where(earlier, middle + 1, low), np.where(open_ & ~earlier, middle, high)
    return low
