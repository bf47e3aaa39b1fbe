"""The kept log in numbers, from the counts of all shards; nothing in it identifies a customer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from seqmarket.data.quality.collection import UnusualDays, unusual_days
from seqmarket.data.quality.column_profile import (
    QUANTILES,
    NumberProfile,
    Per,
    TextProfile,
    profile_number,
    profile_text,
)
from seqmarket.data.quality.journeys import HOUR, JourneyStats
from seqmarket.data.quality.sizes import Suspects, doubling, quantile, suspects
from seqmarket.data.shard import Lexicon
from seqmarket.schema import MICROSECONDS_PER_DAY

GAP_RANGES = (
    "the same time",
    "under a second",
    "under a minute",
    "under an hour",
    "under a day",
    "under a week",
    "under 4 weeks",
    "under a year",
    "a year and more",
)

_GAP_EDGES = [1, *np.array([1 / 3600, 1 / 60, 1, 24, 168, 672, 8766]) * HOUR]
_SERIES = 7
_BARS = 160
_BAR_DAYS = (1, 7, 28, 91, 364, 3_640, 36_400)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Timeline:
    """Events over time, by channel.

    Attributes:
        start: First day of the first bar.
        days_per_bar: Length of a bar.
        names: Channels; the last one may be all others together.
        events: For each name, the events per bar.
    """

    start: date
    days_per_bar: int
    names: tuple[str, ...]
    events: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class LogProfile:
    """The kept log in numbers.

    Attributes:
        customers: Number of customers.
        events: Number of events.
        purchases: Number of events whose type counts as a purchase.
        absent_purchase_types: Types that should count as a purchase and do not occur.
        first_time: Time of the first event.
        last_time: Time of the last event.
        texts: The columns of text; channel and event_type are among them.
        numbers: The columns of numbers.
        timeline: Events over time.
        hours: (168,) events per hour of the week, from Monday 00:00 UTC.
        full_hours: (24,) events at exactly a full hour, by the hour of the day, UTC.
        quiet: Days with far fewer events than usual.
        bursts: Days with far more.
        journey_length: Quantiles of the number of events per customer, exact.
        lengths: Least and most events of a range, and the customers in it.
        largest: Of the largest journeys, the events in all and on the busiest day.
        long_journeys: Customers with suspiciously many events.
        busy_days: Customers with suspiciously many events on a day.
        gap_days: Quantiles of the days between consecutive events of a customer; the shortest and
            the longest exact, others off by an eighth at most.
        gaps: How many of these times are in each of `GAP_RANGES`.
        ties: Number of events at the same time as the customer's previous event.
    """

    customers: int
    events: int
    purchases: int
    absent_purchase_types: tuple[str, ...]
    first_time: datetime
    last_time: datetime
    texts: tuple[TextProfile, ...]
    numbers: tuple[NumberProfile, ...]
    timeline: Timeline
    hours: tuple[int, ...]
    full_hours: tuple[int, ...]
    quiet: tuple[UnusualDays, ...]
    bursts: tuple[UnusualDays, ...]
    journey_length: dict[str, float]
    lengths: tuple[tuple[int, int, int], ...]
    largest: tuple[tuple[int, int], ...]
    long_journeys: Suspects | None
    busy_days: Suspects | None
    gap_days: dict[str, float]
    gaps: tuple[int, ...]
    ties: int

    @classmethod
    def of(
        cls, stats: JourneyStats, lexicon: Lexicon, purchase_event_types: Sequence[str]
    ) -> LogProfile:
        """Makes the profile of a log.

        Args:
            stats: Merged over all shards; at least one event.
            lexicon: Of the log.
            purchase_event_types: Event types that count as a purchase.
        """
        event_types = dict(
            zip(lexicon["event_type"], stats.categories["event_type"].events.tolist(), strict=True)
        )
        texts = {
            name: profile_text(name, counts, lexicon[name], _per(stats, name))
            for name, counts in stats.categories.items()
        }
        quiet, bursts = unusual_days(stats.days.day, stats.days.events.sum(axis=1))
        return cls(
            customers=stats.customers,
            events=stats.events,
            purchases=sum(event_types.get(name, 0) for name in purchase_event_types),
            absent_purchase_types=tuple(
                name for name in purchase_event_types if not event_types.get(name)
            ),
            first_time=_EPOCH + timedelta(microseconds=stats.first_time),
            last_time=_EPOCH + timedelta(microseconds=stats.last_time),
            texts=tuple(texts.values()),
            numbers=tuple(
                profile_number(name, counts, _per(stats, name))
                for name, counts in stats.numbers.items()
            ),
            timeline=_timeline(stats, texts["channel"], lexicon["channel"]),
            hours=tuple(stats.hours.tolist()),
            full_hours=tuple(stats.full_hours.tolist()),
            quiet=quiet,
            bursts=bursts,
            journey_length={
                name: quantile(stats.lengths, share) for name, share in QUANTILES.items()
            },
            lengths=doubling(stats.lengths),
            largest=stats.largest,
            long_journeys=suspects(stats.lengths),
            busy_days=suspects(stats.busiest_day),
            gap_days=_gap_days(stats),
            gaps=tuple(stats.gaps.between(np.array(_GAP_EDGES)).tolist()),
            ties=stats.ties,
        )

    @property
    def channels(self) -> dict[str, int]:
        """The listed channels with their number of events."""
        return self._listed("channel")

    @property
    def n_channels(self) -> int:
        """Number of channels, listed or not."""
        return self.text("channel").n_categories

    @property
    def event_types(self) -> dict[str, int]:
        """The listed event types with their number of events."""
        return self._listed("event_type")

    @property
    def n_event_types(self) -> int:
        """Number of event types, listed or not."""
        return self.text("event_type").n_categories

    @property
    def nulls(self) -> dict[str, int]:
        """Number of nulls per column, for columns that have any."""
        return {column.name: column.nulls for column in self.texts + self.numbers if column.nulls}

    def text(self, name: str) -> TextProfile:
        """A column of text."""
        return next(column for column in self.texts if column.name == name)

    def _listed(self, name: str) -> dict[str, int]:
        return {category.text: category.events for category in self.text(name).categories}


def _per(stats: JourneyStats, name: str) -> Per:
    return "customer" if name in stats.static else "event"


def _gap_days(stats: JourneyStats) -> dict[str, float]:
    if stats.gaps.total == 0:
        return {}
    low, high = stats.shortest_gap, stats.longest_gap
    quantiles = {
        name: min(max(stats.gaps.quantile(share), low), high) for name, share in QUANTILES.items()
    }
    quantiles |= {"min": low, "max": high}
    return {name: value / MICROSECONDS_PER_DAY for name, value in quantiles.items()}


def _timeline(stats: JourneyStats, channel: TextProfile, lexicon: Sequence[str]) -> Timeline:
    day, events = stats.days.day, stats.days.events
    days = int(day[-1] - day[0]) + 1
    step = next((step for step in _BAR_DAYS if days / step <= _BARS - 1), _BAR_DAYS[-1])
    start = int(day[0])
    if step > 1:
        start -= (start + 3) % 7  # a Monday
    bar = (day - start) // step
    bars = np.zeros((int(bar[-1]) + 1, events.shape[1]), dtype=np.int64)
    np.add.at(bars, bar, events)
    names, series = zip(*_series(bars, channel, lexicon), strict=True)
    return Timeline(_EPOCH.date() + timedelta(days=start), step, names, series)


def _series(
    bars: NDArray[np.int64], channel: TextProfile, lexicon: Sequence[str]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The most frequent channels, and the others together."""
    rest = bars.sum(axis=1)
    if bars.shape[1] == len(lexicon):
        for category in channel.categories[:_SERIES]:
            events = bars[:, lexicon.index(category.text)]
            rest = rest - events
            yield category.text, tuple(events.tolist())
    n_others = channel.n_categories - min(len(channel.categories), _SERIES)
    if bars.shape[1] != len(lexicon) or n_others:
        yield (
            ("others" if n_others < channel.n_categories else "all channels"),
            tuple(rest.tolist()),
        )
