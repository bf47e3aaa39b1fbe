"""From an event log to what is attributed: touches, conversions, and the paths between them.

M  touches     V  conversions     P  paths     K  channels     C  customers
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from seqmarket.attribution.costs import cost_of
from seqmarket.data.labels import Neighbours
from seqmarket.data.settings import PositiveDuration, Settings
from seqmarket.data.splits import Period
from seqmarket.errors import SeqmarketError
from seqmarket.schema import (
    MICROSECONDS_PER_DAY,
    PURCHASES,
    SPECIAL_TOKENS,
    UNK,
    EventArrays,
    EventFilter,
    SequenceSpec,
)

OTHER = "<other>"
"""The channel of touches whose own channel the training period did not show."""

_EVENTS_AT_A_TIME = 2**18
"""Customers with some that many events are gone through at a time, which bounds the memory."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class TouchFilter(Settings):
    """Which events are touches: those that fulfil both conditions, and are no purchase.

    Attributes:
        channel: Only events of these channels; empty: of any.
        event_type: Only events of these types; empty: of any.
    """

    channel: tuple[str, ...] = ()
    event_type: tuple[str, ...] = ()


class JourneySettings(Settings):
    """How journeys are made of a log.

    Attributes:
        touches: Which events are touches.
        lookback: A touch counts for a conversion at most that long after it; and a path ends where
            nothing follows for as long.
        conversions: Whether each purchase is attributed, or a customer's first in the period.
        restart: Whether a purchase ends a path, so that touches before it count for it alone, or
            they go on to count for later ones.
        direct: Channels of visits of a customer's own accord.
    """

    touches: TouchFilter = TouchFilter()
    lookback: PositiveDuration = timedelta(days=30)
    conversions: Literal["every", "first"] = "every"
    restart: bool = True
    direct: tuple[str, ...] = Field(())


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


@dataclass(frozen=True)
class Journeys:
    """The touches and conversions of a period, in the order of the log.

    Touches of the lookback before the period are there too, for they count for conversions in it.
    Touches that no conversion follows, and whose lookback runs past the end of the period, are
    censored: whether they lead to one is not known. They are in no path, and counted.

    Attributes:
        events: The log.
        spec: How it was encoded.
        period: Start and end (exclusive), microseconds.
        settings: How they were made.
        channels: K names.
        touch: (M,) index of the event.
        channel: (M,) index into `channels`.
        conversion: (V,) index of the event.
        converts: (V,) its customer.
        paths: All paths, those of conversions first, in the order of `conversion`.
        censored: Number of touches that were left out of the paths.
    """

    events: EventArrays
    spec: SequenceSpec
    period: Period
    settings: JourneySettings
    channels: tuple[str, ...]
    touch: Ints
    channel: NDArray[np.int32]
    conversion: Ints
    converts: Ints
    paths: Paths
    censored: int

    @property
    def n_customers(self) -> int:
        """C."""
        return self.events.n_customers

    @cached_property
    def customer(self) -> Ints:
        """(M,) the customer of every touch."""
        number = np.diff(np.searchsorted(self.touch, self.events.offsets))
        return np.repeat(np.arange(self.n_customers), number)

    @cached_property
    def time(self) -> Ints:
        """(M,) microseconds, of every touch."""
        return np.asarray(self.events.time[self.touch])

    @cached_property
    def cost(self) -> Floats:
        """(M,) of every touch, in the log's own currency; 0 where the log has none."""
        return cost_of(self.events, self.spec, self.touch)

    @cached_property
    def owner(self) -> Ints:
        """(E,) the customer of every event."""
        return np.repeat(np.arange(self.n_customers), np.diff(self.events.offsets))

    @cached_property
    def is_touch(self) -> NDArray[np.bool_]:
        """(E,) whether an event is a touch, whenever it was."""
        return _is_touch(self.events, self.spec, self.settings)

    @cached_property
    def every_touch(self) -> Ints:
        """(A,) index of every touch of the log, whenever it was."""
        return np.flatnonzero(self.is_touch)

    def channel_of(self, event: Ints) -> Ints:
        """(N,) index into `channels` of the channels of some events."""
        return _channel(self.events, self.spec, event).astype(np.int64)

    @property
    def value(self) -> Floats:
        """(V,) of the conversions."""
        return self.events.value[self.conversion].astype(np.float64)

    @property
    def converting(self) -> Paths:
        """The V paths that end with a conversion."""
        return self.paths.take(np.arange(len(self.conversion)))

    @cached_property
    def settled(self) -> Paths:
        """Paths with touches that began a lookback before the period ends, whatever came of them.

        Of those that began later, the ones without a conversion are censored; what rates are
        estimated from may not keep the others.
        """
        began = self.paths.first < self.paths.stop
        if began.any():
            first = self.touch[np.minimum(self.paths.first, len(self.touch) - 1)]
            lookback = self.settings.lookback // timedelta(microseconds=1)
            began &= self.events.time[first] + lookback < self.period.end
        return self.paths.take(began)

    def days_before(self, paths: Paths, path: Ints, touch: Ints) -> Floats:
        """(N,) days from touches to the conversions that end their paths."""
        end = self.events.time[self.conversion[paths.conversion[path]]]
        return np.asarray((end - self.events.time[self.touch[touch]]) / MICROSECONDS_PER_DAY)


def make_journeys(
    events: EventArrays, spec: SequenceSpec, period: Period, settings: JourneySettings
) -> Journeys:
    """The journeys of a period.

    Raises:
        SeqmarketError: A channel or type of event is named that the log does not have, or there is
            neither a touch nor a conversion.
    """
    _check_names(spec, settings)
    lookback = settings.lookback // timedelta(microseconds=1)
    touches = _is_touch(events, spec, settings)
    touches &= (events.time >= period.start - lookback) & (events.time < period.end)
    touch = np.flatnonzero(touches)
    inside = (events.time >= period.start) & (events.time < period.end)
    conversion = np.flatnonzero(events.purchase & inside)
    converts = np.searchsorted(events.offsets, conversion, side="right") - 1
    if settings.conversions == "first":
        converts, first = np.unique(converts, return_index=True)
        conversion = conversion[first]
    if not len(touch) and not len(conversion):
        raise SeqmarketError(
            "there is no touch and no purchase to attribute",
            where=f"attribution.journeys, {period}",
            fix="choose another period, or other touches (attribution.journeys.touches)",
        )
    paths, censored = _all_paths(events, spec, period, settings, touch, conversion)
    return Journeys(
        events=events,
        spec=spec,
        period=period,
        settings=settings,
        channels=(*spec.channel.categories, OTHER),
        touch=touch,
        channel=_channel(events, spec, touch),
        conversion=conversion,
        converts=converts,
        paths=paths,
        censored=censored,
    )


def _all_paths(
    events: EventArrays,
    spec: SequenceSpec,
    period: Period,
    settings: JourneySettings,
    touch: Ints,
    conversion: Ints,
) -> tuple[Paths, int]:
    """Those that convert, those that lead nowhere, and the number of censored touches."""
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
        paths, left_out = _paths(near, period, settings, *own)
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
    near: Neighbours,
    period: Period,
    settings: JourneySettings,
    touch: Ints,
    conversion: Ints,
) -> tuple[Paths, int]:
    events = near.events
    lookback = settings.lookback // timedelta(microseconds=1)
    time, customer = np.asarray(events.time[touch]), near.customer[touch]
    # Of each conversion: its customer's touches before it in the order of the log ...
    stop = np.searchsorted(touch, conversion)
    earliest = np.maximum(
        np.searchsorted(touch, events.offsets[near.customer[conversion]]),
        _first_since(time, customer, near.customer[conversion], events.time[conversion] - lookback),
    )
    if settings.restart:
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


def _first_since(time: Ints, customer: Ints, who: Ints, since: Ints) -> Ints:
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


def _is_touch(
    events: EventArrays, spec: SequenceSpec, settings: JourneySettings
) -> NDArray[np.bool_]:
    wanted = EventFilter(False, settings.touches.channel, settings.touches.event_type)
    return wanted.mask(events, spec) & ~events.purchase


def _channel(events: EventArrays, spec: SequenceSpec, touch: Ints) -> NDArray[np.int32]:
    ids = events.channel[touch]
    return np.where(ids <= UNK, np.int32(spec.n_channels), ids - np.int32(SPECIAL_TOKENS))


def _check_names(spec: SequenceSpec, settings: JourneySettings) -> None:
    for key, names, known in (
        ("touches.channel", settings.touches.channel, spec.channel.categories),
        ("touches.event_type", settings.touches.event_type, spec.event_type.categories),
        ("direct", settings.direct, spec.channel.categories),
    ):
        for name in names:
            if name not in known:
                raise SeqmarketError(
                    f"the log has no '{name}' in the training period",
                    where=f"attribution.journeys.{key}",
                    fix=f"choose of: {', '.join(known)}",
                )
