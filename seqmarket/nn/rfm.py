"""Recency, frequency, monetary value, gaps and touches of a customer, as of a prediction time.

The features of direct marketing's RFM models (Hughes, Strategic Database Marketing, 1994), for a
linear model or for trees. All times are in days; nothing is NaN.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from seqmarket.schema import (
    MICROSECONDS_PER_DAY,
    SPECIAL_TOKENS,
    EventArrays,
    LabelTable,
    SequenceSpec,
)

PURCHASE_WINDOWS = (7, 14, 28, 56, 84)
TOUCH_WINDOWS = (7, 28, 56)
CHANNEL_WINDOW = 28
TREND_WINDOW = 28
NEVER_DAYS = 365.0
"""The longest recency and gap that is told apart; something that never happened has this one."""

LAST_GAPS = 8
LARGEST_RATIO = 100.0
LARGEST_ONE_HOT = 32
"""Static categories beyond this number of ids get no columns: they would outnumber the rest."""

_DAY = MICROSECONDS_PER_DAY
_FIRST_MONDAY = 4  # 1970-01-05


def recency_frequency_monetary(
    events: EventArrays, table: LabelTable, channels: Mapping[int, str] | None = None
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Features of every row, from the customer's events up to and including the row's `event`.

    A window of ``d`` days is ``(time - d, time]``. A purchase is an event of `events.purchase`,
    a touch any other event.

    Args:
        events: All customers' events.
        table: The N rows.
        channels: Name by id of the channels that get features of their own; None: no channel.

    Returns:
        (N, M) features and their M names.
    """
    columns = _Columns(events, table)
    columns.add_recency("event", np.ones(events.n_events, dtype=np.bool_))
    columns.add_recency("purchase", events.purchase)
    columns.add_recency("touch", ~events.purchase)
    columns.add_purchases()
    columns.add_gaps()
    columns.add_touches()
    for channel, name in (channels or {}).items():
        columns.add_channel(name, events.channel == channel)
    columns.add_clock()
    return columns.stack()


def customer_attributes(
    spec: SequenceSpec, events: EventArrays, table: LabelTable
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Static features of each row's customer: numeric ones as encoded, categorical ones one-hot.

    Returns:
        (N, M) features and their M names; a categorical feature of more than 32 ids is left out.
    """
    ids = events.static_categorical[table.customer]  # (N, S)
    columns = [events.static_features[table.customer]]
    names = [f"static_{i}" for i in range(spec.n_static_features)]
    for i, feature in enumerate(spec.static_categorical):
        if feature.size <= LARGEST_ONE_HOT:
            known = np.arange(SPECIAL_TOKENS, feature.size)
            columns.append((ids[:, i, None] == known).astype(np.float32))
            names.extend(f"{feature.name}={category}" for category in feature.categories)
    return np.concatenate(columns, axis=1), tuple(names)


class RfmFeatures:
    """The input of the baselines that are built on windows into the past.

    Args:
        spec: Sizes and names of the data.
        max_channels: Only that many of the most frequent channels get features of their own.
        static: Whether to append the customers' static features.
    """

    def __init__(self, spec: SequenceSpec, max_channels: int, static: bool) -> None:
        known = spec.channel.categories[:max_channels]  # the most frequent one is first
        self._channels = {i + SPECIAL_TOKENS: name for i, name in enumerate(known)}
        self._spec = spec
        self._static = static

    def __call__(
        self, events: EventArrays, table: LabelTable
    ) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        """(N, M) features of the rows and their M names."""
        features, names = recency_frequency_monetary(events, table, self._channels)
        if not self._static:
            return features, names
        attributes, more = customer_attributes(self._spec, events, table)
        return np.concatenate([features, attributes], axis=1), names + more


class _Columns:
    """Collects the columns; each is a difference of running counts or sums at two events."""

    def __init__(self, events: EventArrays, table: LabelTable) -> None:
        self._events = events
        self._customers = np.unique(table.customer)
        self._now = table.time
        self._newest = table.event
        self._first = events.offsets[table.customer]
        self._start = {days: self._window_start(days) for days in self._windows()}
        self._columns: dict[str, NDArray[np.float64]] = {}

    def stack(self) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        stacked = np.stack(list(self._columns.values()), axis=1).astype(np.float32)
        return stacked, tuple(self._columns)

    def add_recency(self, name: str, among: NDArray[np.bool_]) -> None:
        """Days since the newest event of a kind, and whether there was none."""
        newest = np.maximum.accumulate(np.where(among, np.arange(len(among)), -1))[self._newest]
        never = newest < self._first
        days = self._days(self._now - self._events.time[np.maximum(newest, 0)])
        self._columns[f"{name}_recency"] = np.where(never, NEVER_DAYS, np.minimum(days, NEVER_DAYS))
        if name != "event":  # every row has an event
            self._columns[f"{name}_never"] = never.astype(np.float64)

    def add_purchases(self) -> None:
        """Counts and values of purchases in windows, their trends, and the baskets."""
        index = np.flatnonzero(self._events.purchase)
        value = self._events.value[index].astype(np.float64)
        before = _running_count(self._events.purchase)
        first, end = before[self._first], before[self._newest + 1]
        sums = _RunningSum(value, before[self._events.offsets], self._customers)
        counts: dict[int | str, NDArray[np.float64]] = {"all": (end - first).astype(np.float64)}
        values: dict[int | str, NDArray[np.float64]] = {"all": sums.between(first, first, end)}
        for days in PURCHASE_WINDOWS:
            start = before[self._start[days]]
            counts[days] = (end - start).astype(np.float64)
            values[days] = sums.between(first, start, end)
        self._columns |= {f"purchases_{window}": count for window, count in counts.items()}
        self._columns |= {f"value_{window}": total for window, total in values.items()}
        last = np.append(value, 0.0)[end - 1]
        self._columns["basket_mean"] = values["all"] / np.maximum(counts["all"], 1)
        self._columns["basket_last"] = np.where(counts["all"] > 0, last, 0.0)
        short, long = TREND_WINDOW, 2 * TREND_WINDOW
        self._columns["purchases_trend"] = _trend(counts[short], counts[long])
        self._columns["value_trend"] = _trend(values[short], values[long])

    def add_gaps(self) -> None:
        """Distances of consecutive purchases, in days, and how overdue the next one is."""
        before = _running_count(self._events.purchase)
        first, end = before[self._first], before[self._newest + 1]
        time = self._events.time[np.flatnonzero(self._events.purchase)]
        offsets = before[self._events.offsets]
        gap = self._days(np.diff(time, prepend=time[:1]))
        gap[offsets[offsets < len(gap)]] = 0.0  # a customer's first purchase ends no gap
        sums = _RunningSum(gap**2, offsets, self._customers)
        n_gaps = np.maximum(end - first - 1, 0)
        some = n_gaps > 0
        at_least_one = np.maximum(n_gaps, 1)
        padded_time, padded_gap = np.append(time, 0), np.append(gap, 0.0)
        span = self._days(padded_time[end - 1] - padded_time[first])
        mean = span / at_least_one
        square = sums.between(first, first, end) / at_least_one
        std = np.sqrt(np.maximum(square - mean**2, 0.0))

        back = np.arange(1, LAST_GAPS + 1)
        there = back <= n_gaps[:, None]  # (N, LAST_GAPS)
        recent = np.where(there, padded_gap[np.maximum(end[:, None] - back, 0)], np.inf)
        newest = recent[:, 0]
        recent = np.sort(recent, axis=1)
        count = np.clip(n_gaps, 1, LAST_GAPS)[:, None]
        lower = np.take_along_axis(recent, (count - 1) // 2, axis=1)[:, 0]
        upper = np.take_along_axis(recent, count // 2, axis=1)[:, 0]
        longest = np.take_along_axis(recent, count - 1, axis=1)[:, 0]

        quantities = {
            "mean": mean,
            "std": std,
            "last": newest,
            "median": (lower + upper) / 2,
            "longest": longest,
        }
        for name, days in quantities.items():
            capped = np.where(some, np.minimum(days, NEVER_DAYS), NEVER_DAYS)
            self._columns[f"gap_{name}"] = capped
        self._columns["gap_never"] = 1.0 - some
        recency = self._columns["purchase_recency"]
        for name in ("mean", "median"):
            ratio = recency / np.maximum(self._columns[f"gap_{name}"], 1 / 24)
            overdue = np.where(some, np.minimum(ratio, LARGEST_RATIO), 0.0)
            self._columns[f"recency_over_gap_{name}"] = overdue

    def add_touches(self) -> None:
        """Counts of the other events in windows and their trend, and the age of the history."""
        counts = self._counts(~self._events.purchase, TOUCH_WINDOWS)
        self._columns |= {f"touches_{window}": count for window, count in counts.items()}
        self._columns["touches_trend"] = _trend(counts[TREND_WINDOW], counts[2 * TREND_WINDOW])
        self._columns["tenure"] = self._days(self._now - self._events.time[self._first])

    def add_channel(self, name: str, among: NDArray[np.bool_]) -> None:
        """Recency and counts of the events of one channel."""
        self.add_recency(f"channel_{name}", among)
        for window, count in self._counts(among, (CHANNEL_WINDOW,)).items():
            self._columns[f"channel_{name}_{window}"] = count

    def add_clock(self) -> None:
        """Hour of the day and day of the week of the prediction time (UTC), as angles."""
        days = self._days(self._now)
        for name, share in (("hour", days), ("weekday", (days - _FIRST_MONDAY) / 7)):
            self._columns[f"{name}_sin"] = np.sin(2 * np.pi * (share % 1))
            self._columns[f"{name}_cos"] = np.cos(2 * np.pi * (share % 1))

    def _counts(
        self, among: NDArray[np.bool_], windows: tuple[int, ...]
    ) -> dict[int | str, NDArray[np.float64]]:
        before = _running_count(among)
        end = before[self._newest + 1]
        counts: dict[int | str, NDArray[np.float64]] = {}
        for days in windows:
            counts[days] = (end - before[self._start[days]]).astype(np.float64)
        counts["all"] = (end - before[self._first]).astype(np.float64)
        return counts

    @staticmethod
    def _windows() -> set[int]:
        return {*PURCHASE_WINDOWS, *TOUCH_WINDOWS, CHANNEL_WINDOW, TREND_WINDOW, 2 * TREND_WINDOW}

    @staticmethod
    def _days(microseconds: NDArray[np.int64]) -> NDArray[np.float64]:
        return microseconds / MICROSECONDS_PER_DAY

    def _window_start(self, days: int) -> NDArray[np.int64]:
        """(N,) the first event of each row's window."""
        return _first_after(self._events, self._first, self._newest, self._now - days * _DAY)


class _RunningSum:
    """Sums of floats over stretches of one customer.

    The sums start anew at each customer: running through the whole log, the rounding of one
    customer's sum would depend on the others' (and on what they do later).
    """

    def __init__(
        self,
        values: NDArray[np.float64],
        offsets: NDArray[np.int64],
        customers: NDArray[np.int64],
    ) -> None:
        self._sum = np.zeros(len(values) + 1)  # the last one stays 0, for an empty log
        for start, end in zip(offsets[customers], offsets[customers + 1], strict=True):
            np.cumsum(values[start:end], out=self._sum[start:end])

    def between(
        self, first: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Sums of ``values[start:end]`` of the customers whose values begin at `first`."""
        upper = np.where(end > first, self._sum[end - 1], 0.0)
        return upper - np.where(start > first, self._sum[start - 1], 0.0)


def amount_before(
    events: EventArrays, table: LabelTable, window: int, among: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(N,) summed value of some events in the window that ends at the prediction time.

    Args:
        events: All customers' events.
        table: The N rows.
        window: Its length, microseconds.
        among: (E,) which events are summed.
    """
    first = events.offsets[table.customer]
    start = _first_after(events, first, table.event, table.time - window)
    value = np.where(among, events.value, 0.0).astype(np.float64)
    sums = _RunningSum(value, events.offsets, np.unique(table.customer))
    return sums.between(first, start, table.event + 1)


def _first_after(
    events: EventArrays,
    first: NDArray[np.int64],
    newest: NDArray[np.int64],
    moment: NDArray[np.int64],
) -> NDArray[np.int64]:
    """(N,) index of the first event after a moment, by bisection in all rows at once.

    Args:
        events: All customers' events.
        first: (N,) the customer's first event.
        newest: (N,) the newest event that may be seen; the result is at most the one after.
        moment: (N,) microseconds.
    """
    low, high = first.copy(), newest + 1
    while (unsure := low < high).any():
        middle = (low + high) // 2
        inside = events.time[np.minimum(middle, events.n_events - 1)] > moment
        high = np.where(unsure & inside, middle, high)
        low = np.where(unsure & ~inside, middle + 1, low)
    return low


def _running_count(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(E + 1,) number of flags before each event."""
    return np.concatenate(([0], np.cumsum(flags, dtype=np.int64)))


def _trend(short: NDArray[np.float64], long: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the newer half of a window holds over what the older half holds, smoothed by one."""
    ratio: NDArray[np.float64] = (short + 1) / (np.maximum(long - short, 0) + 1)
    return ratio
