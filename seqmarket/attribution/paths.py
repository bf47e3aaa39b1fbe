"""The ways to conversions: which touches count for which.

M  touches     V  conversions     P  paths
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqmarket.data.labels import Neighbours
from seqmarket.data.splits import Period
from seqmarket.schema import PURCHASES, EventArrays, SequenceSpec

_EVENTS_AT_A_TIME, _PATHS_AT_A_TIME = 2**16, 2**14
"""Some that many are gone through at a time, which bounds the memory."""

Ints = NDArray[np.int64]
Kept = NDArray[np.signedinteger[Any]]
"""Indices of events or touches, kept for long: see `kept_type`."""


class Paths(NamedTuple):
    """Stretches of one customer's touches; touches ``first[p]`` to ``stop[p]`` are path p's.

    Attributes:
        first: (P,) index of a touch.
        stop: (P,) the one after its last; a conversion may have a path without touches.
        conversion: (P,) index of the conversion that ends it, -1 for none.
    """

    first: Kept
    stop: Kept
    conversion: Kept

    def touches(self) -> Ints:
        """The touches of path after path."""
        size = self.stop - self.first
        touch = np.repeat(self.first - np.cumsum(size) + size, size)
        touch += np.arange(len(touch))
        return touch

    def rows(self) -> tuple[Ints, Ints]:
        """For each touch of each path: the path, and the touch."""
        return np.repeat(np.arange(len(self.first)), self.stop - self.first), self.touches()

    def take(self, which: NDArray[np.bool_] | Ints | slice) -> Paths:
        """Some of them."""
        return Paths(*(column[which] for column in self))

    def parts(self) -> Iterator[Paths]:
        """All of them, some at a time."""
        return map(self.take, slices(len(self.first), _PATHS_AT_A_TIME))


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
    touch: Kept,
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
    kept = kept_type(events.n_events)
    # As many as there can be: what stays empty takes no memory.
    paths = Paths(*np.empty((3, len(conversion) + len(touch)), dtype=kept))
    touches = conversions = censored = 0
    n = len(conversion)
    for some in stretches(events):
        # Searched for as what it is kept as: NumPy would convert all touches.
        own = touch[slice(*np.searchsorted(touch, np.array(some.rows, dtype=kept)))]
        bought = conversion[slice(*np.searchsorted(conversion, some.rows))]
        near = Neighbours(some.events, spec)
        converting, nothing, left_out = _paths(
            near, period, reach, own - some.rows[0], bought - some.rows[0]
        )
        for at, new in (conversions, converting), (n, nothing):
            to = slice(at, at + len(new.first))
            paths.first[to], paths.stop[to] = new.first + touches, new.stop + touches
            paths.conversion[to] = new.conversion
        paths.conversion[conversions : conversions + len(bought)] += conversions
        touches, conversions = touches + len(own), conversions + len(bought)
        n, censored = n + len(nothing.first), censored + left_out
    return paths.take(slice(n)), censored


class Stretch(NamedTuple):
    """Customers that follow each other in the log.

    Attributes:
        customers: The first, and the one after the last.
        rows: Their first event, and the one after their last.
        events: Theirs alone, as views.
    """

    customers: tuple[int, int]
    rows: tuple[int, int]
    events: EventArrays


def stretches(events: EventArrays) -> Iterator[Stretch]:
    """All customers of a log, those of some ten thousand events at a time."""
    cuts = np.searchsorted(events.offsets, np.arange(0, events.n_events, _EVENTS_AT_A_TIME))
    flat = ("time", "channel", "event_type", "purchase", "value", "categorical", "features")
    for first, stop in pairwise(np.unique([*cuts, events.n_customers]).tolist()):
        begins = np.asarray(events.offsets[first : stop + 1])
        rows = int(begins[0]), int(begins[-1])
        own = replace(
            events,
            offsets=begins - rows[0],
            static_categorical=events.static_categorical[first:stop],
            static_features=events.static_features[first:stop],
            **{name: getattr(events, name)[slice(*rows)] for name in flat},
        )
        yield Stretch((first, stop), rows, own)


def slices(n: int, at_a_time: int = _EVENTS_AT_A_TIME) -> Iterator[slice]:
    """A long column, some of it at a time."""
    return (slice(at, at + at_a_time) for at in range(0, n, at_a_time))


def kept_type(n_events: int) -> type[np.signedinteger[Any]]:
    """Indices of events take four bytes each, or eight where the log has 2³¹ events and more."""
    return np.int32 if n_events <= np.iinfo(np.int32).max else np.int64


def _paths(
    near: Neighbours, period: Period, reach: Reach, touch: Kept, conversion: Ints
) -> tuple[Paths, Paths, int]:
    """The paths of some customers that convert, those that lead nowhere, and touches left out."""
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
    return converting, Paths(first, last + 1, np.full(len(first), -1)), censored


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
