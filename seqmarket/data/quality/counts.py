"""Counts of one column, or of days, of the events of some customers; they add up over customers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.data.quality.histogram import LogHistogram
from seqmarket.data.quality.merging import merge_sparse
from seqmarket.data.quality.stretches import stretches
from seqmarket.schema import NEVER

MAX_CHANNELS = 100
"""With more channels than this, events are counted by day and not by day and channel."""

_DENSE_DAYS = 1_000_000  # a stretch of days is counted in an array, unless it is longer
_DENSE_CELLS = 16  # per event: customers x texts are marked in an array, unless there are more


@dataclass(frozen=True)
class CategoryCounts:
    """A column of text: k texts of the lexicon.

    Attributes:
        events: (k,) int64 events with each; of a static feature, customers.
        customers: (k,) int64 customers that have it at least once.
        first: (k,) int64 time of the first event with it; `NEVER` if there is none.
        nulls: Events without any.
    """

    events: NDArray[np.int64]
    customers: NDArray[np.int64]
    first: NDArray[np.int64]
    nulls: int

    @classmethod
    def of(
        cls,
        codes: NDArray[np.int32],
        time: NDArray[np.int64],
        customer: NDArray[np.int64],
        n_customers: int,
        n_texts: int,
    ) -> CategoryCounts:
        """Counts a column.

        Args:
            codes: (e,) -1 for a null.
            time: (e,) microseconds.
            customer: (e,) index of the customer.
            n_customers: Number of customers.
            n_texts: k.
        """
        # Place 0 is that of nulls, until the end.
        size = n_texts + 1
        events = np.zeros(size, dtype=np.int64)
        first = np.full(size, NEVER)
        cells = size * n_customers
        seen = np.zeros(cells if cells <= _DENSE_CELLS * len(codes) else 0, dtype=np.bool_)
        for part in stretches(len(codes)):
            place = codes[part].astype(np.int64) + 1
            np.add.at(events, place, 1)
            np.minimum.at(first, place, time[part])
            if len(seen):
                seen[place * n_customers + customer[part]] = True
        if len(seen):
            by_place = seen.reshape(size, n_customers)
            customers = np.array([np.count_nonzero(row) for row in by_place], dtype=np.int64)
        else:
            place = codes.astype(np.int64) + 1
            pairs = pl.Series(customer * size + place).unique().to_numpy()
            customers = np.bincount(pairs % size, minlength=size)
        return cls(events[1:], customers[1:], first[1:], int(events[0]))

    def merge(self, other: CategoryCounts) -> CategoryCounts:
        """The counts of both parts."""
        return CategoryCounts(
            self.events + other.events,
            self.customers + other.customers,
            np.minimum(self.first, other.first),
            self.nulls + other.nulls,
        )


@dataclass(frozen=True)
class NumberCounts:
    """A column of numbers.

    Attributes:
        values: The numbers that are there.
        nulls: How many are not.
        low: The smallest, infinite if there is none.
        high: The largest, minus infinite if there is none.
        whole: How many are whole.
        hundreds: How many are multiples of 100.
    """

    values: LogHistogram
    nulls: int
    low: float
    high: float
    whole: int
    hundreds: int

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> NumberCounts:
        """Counts the numbers of a column; NaN for a null."""
        histogram = LogHistogram.of(values)
        whole = hundreds = 0
        for part in stretches(len(values)):
            number = values[part]
            whole += int(np.count_nonzero(np.rint(number) == number))
            hundreds += int(np.count_nonzero(np.rint(number * 0.01) * 100 == number))
        return cls(
            histogram,
            len(values) - histogram.total,
            float(np.fmin.reduce(values, initial=np.inf)),
            float(np.fmax.reduce(values, initial=-np.inf)),
            whole,
            hundreds,
        )

    def merge(self, other: NumberCounts) -> NumberCounts:
        """The counts of both parts."""
        return NumberCounts(
            self.values.merge(other.values),
            self.nulls + other.nulls,
            min(self.low, other.low),
            max(self.high, other.high),
            self.whole + other.whole,
            self.hundreds + other.hundreds,
        )


@dataclass(frozen=True)
class DayCounts:
    """Events per UTC day that has any.

    Attributes:
        day: (n,) int64 days since 1970-01-01, ascending.
        events: (n, channels) int64; with more than `MAX_CHANNELS` channels (n, 1), all together.
    """

    day: NDArray[np.int64]
    events: NDArray[np.int64]

    @classmethod
    def of(cls, day: NDArray[np.int32], channel: NDArray[np.int32], n_channels: int) -> DayCounts:
        """Counts events.

        Args:
            day: (e,) days since 1970-01-01.
            channel: (e,) codes.
            n_channels: Number of channels.
        """
        split = n_channels <= MAX_CHANNELS
        width = n_channels if split else 1
        if len(day) == 0:
            return cls(np.empty(0, dtype=np.int64), np.empty((0, width), dtype=np.int64))
        start, end = int(day.min()), int(day.max())
        row: NDArray[np.signedinteger] = day
        if end - start < _DENSE_DAYS:
            days = np.arange(start, end + 1)
        else:
            days, row = np.unique(day, return_inverse=True)
            start = 0
        counts = np.zeros(len(days) * width, dtype=np.int64)
        for part in stretches(len(day)):
            cell = (row[part].astype(np.int64) - start) * width
            if split:
                cell += channel[part]
            np.add.at(counts, cell, 1)
        events = counts.reshape(len(days), width)
        present = events.any(axis=1)
        return cls(days[present].astype(np.int64), events[present])

    def merge(self, other: DayCounts) -> DayCounts:
        """The counts of both parts."""
        return DayCounts(*merge_sparse(self.day, self.events, other.day, other.events))
