"""What the journeys of some customers hold: counts of stage 2, shard by shard, that add up.

Every count is exact and the same however customers are divided into shards. Nothing in it says who
a customer is; the counts of few customers are left out later, where a profile is made of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqmarket.data.quality.counts import CategoryCounts, DayCounts, NumberCounts
from seqmarket.data.quality.histogram import LogHistogram
from seqmarket.data.quality.merging import merge_by_key
from seqmarket.data.quality.stretches import stretches
from seqmarket.data.shard import ORDER, POSITION, Lexicon, Shard
from seqmarket.schema import NEVER

HOUR = 3_600_000_000
"""Microseconds."""
HOURS_PER_WEEK = 168
LARGEST = 20
"""So many of the largest journeys are listed, by their sizes."""

_MONDAY = 72  # hours from Monday 1969-12-29 to Thursday 1970-01-01


@dataclass(frozen=True)
class JourneyStats:
    """The journeys of some customers in counts.

    Attributes:
        first_time: Time of the first event, microseconds; `NEVER` without events.
        last_time: Time of the last event; minus `NEVER` without events.
        days: Events per day and channel.
        hours: (168,) int64 events per hour of the week, from Monday 00:00 UTC.
        full_hours: (24,) int64 events at exactly a full hour, by the hour of the day, UTC.
        categories: Column of text, of events or customers -> counts.
        numbers: Column of numbers, of events or customers -> counts.
        static: Which columns are those of customers.
        lengths: Number of events -> customers with so many.
        busiest_day: Number of events on a customer's busiest day -> customers.
        gaps: Times between consecutive events of a customer, microseconds; 0 for a tie.
        shortest_gap: The shortest of them, `NEVER` if there are none.
        longest_gap: The longest, -1 if there are none.
        largest: Of the largest journeys, the events in all and on the busiest day.
    """

    first_time: int
    last_time: int
    days: DayCounts
    hours: NDArray[np.int64]
    full_hours: NDArray[np.int64]
    categories: Mapping[str, CategoryCounts]
    numbers: Mapping[str, NumberCounts]
    static: tuple[str, ...]
    lengths: Mapping[int, int]
    busiest_day: Mapping[int, int]
    gaps: LogHistogram
    shortest_gap: int
    longest_gap: int
    largest: tuple[tuple[int, int], ...]

    @property
    def customers(self) -> int:
        """Number of customers."""
        return sum(self.lengths.values())

    @property
    def events(self) -> int:
        """Number of events."""
        return int(self.hours.sum())

    @property
    def ties(self) -> int:
        """Events at the same time as the customer's previous one."""
        return int(self.gaps.count[self.gaps.bin == 0].sum())

    @classmethod
    def of(cls, shard: Shard, lexicon: Lexicon) -> JourneyStats:
        """Counts a shard, without sorting events.

        Args:
            shard: In order.
            lexicon: Of the log; the codes of the shard are into it.
        """
        n, customer = shard.n_customers, shard.customer
        hours, full_hours, day = _clock(shard.time)
        starts = shard.offsets[:-1]
        categories = {
            name: CategoryCounts.of(codes, shard.time, customer, n, len(lexicon[name]))
            for name, codes in shard.codes.items()
        }
        began, each = shard.time[starts], np.arange(n)
        categories |= {
            name: CategoryCounts.of(codes, began, each, n, len(lexicon[name]))
            for name, codes in shard.static_codes.items()
        }
        numbers = {**shard.numbers, **shard.static_numbers}
        length = np.diff(shard.offsets)
        busiest = _busiest_day(day, shard.offsets)
        gaps, shortest, longest = _gaps(shard)
        return cls(
            first_time=int(shard.time.min(initial=NEVER)),
            last_time=int(shard.time.max(initial=-NEVER)),
            days=DayCounts.of(day, shard.codes["channel"], len(lexicon["channel"])),
            hours=hours,
            full_hours=full_hours,
            categories=categories,
            numbers={
                name: NumberCounts.of(column)
                for name, column in numbers.items()
                if name not in (ORDER, POSITION)
            },
            static=(*shard.static_codes, *shard.static_numbers),
            lengths=_sizes(length),
            busiest_day=_sizes(busiest),
            gaps=gaps,
            shortest_gap=shortest,
            longest_gap=longest,
            largest=_largest(length, busiest),
        )

    def merge(self, other: JourneyStats) -> JourneyStats:
        """The counts of both parts, which share no customer and have the same columns."""
        return JourneyStats(
            first_time=min(self.first_time, other.first_time),
            last_time=max(self.last_time, other.last_time),
            days=self.days.merge(other.days),
            hours=self.hours + other.hours,
            full_hours=self.full_hours + other.full_hours,
            categories=merge_by_key(self.categories, other.categories),
            numbers=merge_by_key(self.numbers, other.numbers),
            static=self.static,
            lengths=_add(self.lengths, other.lengths),
            busiest_day=_add(self.busiest_day, other.busiest_day),
            gaps=self.gaps.merge(other.gaps),
            shortest_gap=min(self.shortest_gap, other.shortest_gap),
            longest_gap=max(self.longest_gap, other.longest_gap),
            largest=tuple(sorted(self.largest + other.largest, reverse=True)[:LARGEST]),
        )


def _clock(
    time: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Events per hour of the week, those at full hours, and the (e,) days since 1970-01-01."""
    hours = np.zeros(HOURS_PER_WEEK, dtype=np.int64)
    full_hours = np.zeros(24, dtype=np.int64)
    days = np.empty(len(time), dtype=np.int32)
    for part in stretches(len(time)):
        hour = time[part] // HOUR
        day = hour // 24
        days[part] = day
        full = hour * HOUR == time[part]
        if full.any():
            np.add.at(full_hours, hour[full] - 24 * day[full], 1)
        hour += _MONDAY
        hour -= hour // HOURS_PER_WEEK * HOURS_PER_WEEK
        np.add.at(hours, hour, 1)
    return hours, full_hours, days


def _gaps(shard: Shard) -> tuple[LogHistogram, int, int]:
    """Times between events of a customer, the shortest and the longest of them."""
    gap = np.diff(shard.time)
    gap[shard.offsets[1:-1] - 1] = -1  # from one customer to the next there is no gap
    counted = LogHistogram.of(gap)
    there = counted.bin >= 0
    # As unsigned numbers, -1 is the largest.
    shortest = int(gap.view(np.uint64).min(initial=np.uint64(NEVER)))
    longest = int(gap.max(initial=-1))
    return LogHistogram(counted.bin[there], counted.count[there]), shortest, longest


def _busiest_day(day: NDArray[np.int32], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """(c,) the number of events on each customer's busiest day."""
    if len(day) == 0:
        return np.empty(0, dtype=np.int64)
    new = np.ones(len(day), dtype=np.bool_)
    np.not_equal(day[1:], day[:-1], out=new[1:])
    new[offsets[:-1]] = True
    start = np.flatnonzero(new)
    length = np.empty_like(start)
    np.subtract(start[1:], start[:-1], out=length[:-1])
    length[-1] = len(day) - start[-1]
    return np.maximum.reduceat(length, np.searchsorted(start, offsets[:-1]))


def _sizes(sizes: NDArray[np.int64]) -> dict[int, int]:
    """Size -> how many have it, in ascending order."""
    size, count = np.unique(sizes, return_counts=True)
    return dict(zip(size.tolist(), count.tolist(), strict=True))


def _add(one: Mapping[int, int], other: Mapping[int, int]) -> dict[int, int]:
    return dict(sorted((Counter(one) + Counter(other)).items()))


def _largest(length: NDArray[np.int64], busiest: NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    candidates = np.arange(len(length))
    if len(length) > LARGEST:
        candidates = np.flatnonzero(length >= np.partition(length, -LARGEST)[-LARGEST])
    sizes = zip(length[candidates].tolist(), busiest[candidates].tolist(), strict=True)
    return tuple(sorted(sizes, reverse=True)[:LARGEST])
