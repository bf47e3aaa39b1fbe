"""Moments at which a purchase could have come, and the touches before them.

The rate of purchases is learnt from the moments of purchases and from moments drawn by chance,
each of which stands for the days around it: their weighted sum is the integral of the rate.

    Q  moments     P  pairs of a moment and an earlier touch
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.paths import Ints, first_since
from seqmarket.schema import MICROSECONDS_PER_DAY, EventArrays

_RESOLUTIONS = (MICROSECONDS_PER_DAY, 3_600_000_000, 60_000_000)


class Moments(NamedTuple):
    """Some moments of customers.

    Attributes:
        customer: (Q,).
        time: (Q,) microseconds.
        days: (Q,) that each stands for; 0 for a purchase.
        purchase: (Q,) 1 for a purchase.
    """

    customer: Ints
    time: Ints
    days: Floats
    purchase: Floats


class Pairs(NamedTuple):
    """Each moment with each event of the lookback before it.

    Attributes:
        moment: (P,) index, in order.
        event: (P,) index of the event.
        age: (P,) float32 days.
    """

    moment: Ints
    event: Ints
    age: NDArray[np.float32]


def moments_to_learn_from(
    journeys: Journeys, *, per_purchase: float, most: int, longest: timedelta, seed: int
) -> Moments:
    """The purchases of the period, and moments drawn by chance.

    Every customer's time since their first event is cut into stretches of one length, and one
    moment is drawn in each. Where the log knows days alone, or hours, or minutes, so do these.

    Args:
        journeys: Of the period.
        per_purchase: Moments drawn for one purchase, on average.
        most: About so many moments are drawn at most, however many purchases there are.
        longest: A stretch is not longer, however few there are.
        seed: Of the draws.
    """
    events, period = journeys.events, journeys.period
    bought = journeys.purchases
    begins = np.maximum(events.time[events.offsets[:-1]], period.start)
    begins = np.where(journeys.members, begins, period.end)
    total = np.maximum(period.end - begins, 0).sum()
    step = int(total / max(min(per_purchase * len(bought), most), 1))
    step = max(min(step, longest // timedelta(microseconds=1)), 1)
    edges = np.append(np.arange(period.start, period.end, step), period.end)
    low = np.maximum(edges[:-1], begins[:, None])  # (C, stretches)
    length = np.maximum(edges[1:] - low, 0)
    there = length > 0
    customer = np.nonzero(there)[0]
    drawn = low + np.random.default_rng(seed).random(low.shape) * length
    time = drawn[there].astype(np.int64)
    time -= time % resolution(events)
    return Moments(
        np.concatenate([customer, journeys.owner[bought]]),
        np.concatenate([time, events.time[bought]]),
        np.concatenate([length[there] / MICROSECONDS_PER_DAY, np.zeros(len(bought))]),
        np.repeat([0.0, 1.0], [len(customer), len(bought)]),
    )


def resolution(events: EventArrays) -> int:
    """Microseconds: the longest unit of which all times are multiples."""
    for unit in _RESOLUTIONS:
        if not (events.time % unit).any():
            return unit
    return 1


def earlier_touches(journeys: Journeys, customer: Ints, time: Ints) -> Pairs:
    """The touches before some moments; see `earlier_events`."""
    return earlier_events(journeys, journeys.every_touch, customer, time)


def earlier_events(journeys: Journeys, among: Ints, customer: Ints, time: Ints) -> Pairs:
    """Events before some moments and their margin, up to the lookback.

    One at the moment itself is not before it. A purchase between ends nothing (`restart` is of
    paths): what a touch does goes on.

    Args:
        journeys: Of any period; the events are those of the whole log.
        among: Index of the events that are meant, in order.
        customer: (Q,).
        time: (Q,) microseconds.
    """
    owner, at = journeys.owner[among], np.asarray(journeys.events.time[among])
    reach = journeys.settings.reach
    first = first_since(at, owner, customer, time - reach.lookback)
    upto = first_since(at, owner, customer, time - reach.margin)
    size = upto - first
    moment = np.repeat(np.arange(len(customer)), size)
    within = np.arange(len(moment)) - np.repeat(np.cumsum(size) - size, size)
    index = first[moment] + within
    age = (time[moment] - at[index]) / MICROSECONDS_PER_DAY
    return Pairs(moment, among[index], age.astype(np.float32))
