"""From an event log to what is attributed: touches, conversions, and the paths between them.

M  touches     V  conversions     P  paths     K  channels     C  customers
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from seqmarket.attribution.costs import cost_of
from seqmarket.attribution.finding import are_touches, channels_of, find
from seqmarket.attribution.paths import Ints, Kept, Paths, Reach, lay_paths
from seqmarket.data.files import let_go
from seqmarket.data.settings import Duration, PositiveDuration, Settings
from seqmarket.data.splits import Period
from seqmarket.errors import SeqmarketError
from seqmarket.schema import MICROSECONDS_PER_DAY, EventArrays, EventFilter, SequenceSpec

OTHER = "<other>"
"""The channel of touches whose own channel the training period did not show."""

Floats = NDArray[np.float64]


class TouchFilter(Settings):
    """Which events are touches: those that fulfil both conditions, and are no purchase.

    Attributes:
        channel: Only events of these channels; empty: of any.
        event_type: Only events of these types; empty: of any.
    """

    channel: tuple[str, ...] = ()
    event_type: tuple[str, ...] = ()

    @property
    def condition(self) -> EventFilter:
        """Both."""
        return EventFilter(channel=self.channel, event_type=self.event_type)


class JourneySettings(Settings):
    """How journeys are made of a log.

    Attributes:
        touches: Which events are touches.
        lookback: A touch counts for a conversion at most that long after it; and a path ends where
            nothing follows for as long.
        margin: What happens so shortly before a conversion belongs to it: touches then do not count
            for it, and no method looks at other events of then. With 0, events of its own moment
            that come before it in the log are before it.
        conversions: Whether each purchase is attributed, or a customer's first in the period.
        restart: Whether a purchase ends a path, so that touches before it count for it alone, or
            they go on to count for later ones.
        direct: Channels of visits of a customer's own accord.
    """

    touches: TouchFilter = TouchFilter()
    lookback: PositiveDuration = timedelta(days=30)
    margin: Duration = timedelta(0)
    conversions: Literal["every", "first"] = "every"
    restart: bool = True
    direct: tuple[str, ...] = Field(())

    @model_validator(mode="after")
    def _leaves_something(self) -> JourneySettings:
        if not timedelta(0) <= self.margin < self.lookback:
            raise ValueError("margin is at least 0 and shorter than lookback")
        return self

    @property
    def reach(self) -> Reach:
        """The same in microseconds."""
        unit = timedelta(microseconds=1)
        return Reach(self.lookback // unit, self.margin // unit, self.restart)


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
        members: (C,) whether a customer takes part; where customers are divided, others do not.
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
    members: NDArray[np.bool_]
    channels: tuple[str, ...]
    touch: Kept
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
    def purchases(self) -> Ints:
        """Index of every purchase of the period that shows a rate, whether it is attributed or not.

        A customer's first event is what they are known by: had it not come, they would not be in
        the log, and so it shows no rate.
        """
        events = self.events
        inside = (events.time >= self.period.start) & (events.time < self.period.end)
        bought = np.flatnonzero(events.purchase & inside)
        owner = self.owner[bought]
        shown = self.members[owner] & (bought != events.offsets[owner])
        return np.asarray(bought[shown])

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
        return are_touches(self.events, self.spec, self.settings.touches.condition)

    @cached_property
    def every_touch(self) -> Ints:
        """(A,) index of every touch of the log, whenever it was."""
        return np.flatnonzero(self.is_touch)

    def channel_of(self, event: Ints) -> Ints:
        """(N,) index into `channels` of the channels of some events."""
        return channels_of(self.events, self.spec, event).astype(np.int64)

    @property
    def value(self) -> Floats:
        """(V,) of the conversions."""
        return self.events.value[self.conversion].astype(np.float64)

    @property
    def converting(self) -> Paths:
        """The V paths that end with a conversion."""
        return self.paths.take(slice(len(self.conversion)))

    @property
    def settled(self) -> Paths:
        """Paths as seen from the start of the period on, that began a lookback before its end.

        Whatever came of them. Of those that began later, the ones without a conversion are
        censored; what rates are estimated from may not keep the others. Neither may it keep touches
        before the period: those that led nowhere are of no path.
        """
        events, lookback = self.events, self.settings.reach.lookback
        first, known = [self.paths.first[:0]], [np.zeros(0, dtype=np.bool_)]
        for some in self.paths.parts():
            path, touch = some.rows()
            early = path[events.time[self.touch[touch]] < self.period.start]
            number = np.bincount(early, minlength=len(some.first))
            first.append(some.first + number.astype(some.first.dtype))
            known.append(first[-1] < some.stop)
            began = events.time[self.touch[first[-1][known[-1]]]]
            known[-1][known[-1]] = began + lookback < self.period.end
        return self.paths._replace(first=np.concatenate(first)).take(np.concatenate(known))

    def days_before(self, paths: Paths, path: Ints, touch: Ints) -> Floats:
        """(N,) days from touches to the conversions that end their paths."""
        end = self.events.time[self.conversion[paths.conversion[path]]]
        return np.asarray((end - self.events.time[self.touch[touch]]) / MICROSECONDS_PER_DAY)


def make_journeys(
    events: EventArrays,
    spec: SequenceSpec,
    period: Period,
    settings: JourneySettings,
    members: NDArray[np.bool_] | None = None,
) -> Journeys:
    """The journeys of a period.

    Args:
        events: The log.
        spec: How it was encoded.
        period: Start and end (exclusive), microseconds.
        settings: How they are made.
        members: (C,) the customers who take part; None: all.

    Raises:
        SeqmarketError: A channel or type of event is named that the log does not have, or there is
            neither a touch nor a conversion.
    """
    _check_names(spec, settings)
    reach = settings.reach
    if members is None:
        members = np.ones(events.n_customers, dtype=np.bool_)
    touch, channel, conversion = find(
        events, spec, period, reach.lookback, settings.touches.condition, members
    )
    converts = np.searchsorted(events.offsets, conversion, side="right") - 1
    if settings.conversions == "first":
        converts, first = np.unique(converts, return_index=True)
        conversion = conversion[first]
    if not len(touch) and not len(conversion):
        raise SeqmarketError(
            "there is no touch and no purchase to attribute",
            where=f"journeys, {period}",
            fix="choose another period, or other touches (journeys.touches)",
        )
    paths, censored = lay_paths(events, spec, period, reach, touch, conversion)
    for column in vars(events).values():
        let_go(column)  # most of it is not read again
    return Journeys(
        events=events,
        spec=spec,
        period=period,
        settings=settings,
        members=members,
        channels=(*spec.channel.categories, OTHER),
        touch=touch,
        channel=channel,
        conversion=conversion,
        converts=converts,
        paths=paths,
        censored=censored,
    )


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
                    where=f"journeys.{key}",
                    fix=f"choose of: {', '.join(known)}",
                )
