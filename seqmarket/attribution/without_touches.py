"""Journeys from which touches are taken, and what the model expects of them.

A touch that is taken out is gone: later events follow the one before it, as many days after it as
they do, and everything that is counted along a journey is counted without it. Windows of journeys
longer than the model's begin where they would if the touch had not been.

V  conversions     Q  questions     R  touches that are taken out, over all questions
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqmarket.attribution.asking import PurchaseModel, just_before, touched
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.paths import Ints
from seqmarket.data.engine.progress import lines
from seqmarket.schema import UNK, EventArrays, SequenceSpec

_AT_ONCE = 1 << 20
"""Events that are copied before the model is asked about them."""


class PathChannels(NamedTuple):
    """The L channels of all converting paths, by path, then channel.

    Attributes:
        path: (L,) the path.
        of_touch: Of each touch of each path, in the order of `Paths.rows`, its channel in the path.
        times: (L,) number of the channel's touches in the path.
    """

    path: Ints
    of_touch: Ints
    times: Ints


def channels_of_paths(journeys: Journeys) -> PathChannels:
    """Which channels each converting path has."""
    path, touch = journeys.converting.rows()
    n = len(journeys.channels)
    both, of_touch, times = np.unique(
        path * n + journeys.channel[touch], return_inverse=True, return_counts=True
    )
    return PathChannels(both // n, of_touch, times)


def expected_without(
    model: PurchaseModel, journeys: Journeys, conversion: Ints, question: Ints, touch: Ints
) -> Floats:
    """(Q,) F of conversions, each without some of its touches.

    Args:
        model: What is asked.
        journeys: The journeys.
        conversion: (Q,) index of the conversion, whose path has touches.
        question: (R,) the question that a touch is taken out for, rising.
        touch: (R,) index of the touch in `journeys`.
    """
    found = np.zeros(len(conversion))
    customer, newest, time = just_before(journeys, conversion)
    stop = newest + 1
    size = stop - journeys.events.offsets[customer]
    part = np.cumsum(size) // _AT_ONCE
    bounds = [0, *(np.flatnonzero(np.diff(part)) + 1), len(conversion)]
    with lines(model.method, int(size.sum())) as advance:
        for first, last in pairwise(bounds):
            some = slice(first, last)
            out = slice(*np.searchsorted(question, (first, last)))
            events = journeys_without(
                journeys.events,
                journeys.spec,
                customer[some],
                stop[some],
                question[out] - first,
                journeys.touch[touch[out]],
            )
            each = np.arange(events.n_customers)
            found[some] = model.ask(events, each, events.offsets[1:] - 1, time[some])
            advance(int(size[some].sum()))
    return found


def not_organic(model: PurchaseModel, journeys: Journeys) -> Floats:
    """(V,) ``1 - F(none) / F(all)``: the part of each conversion that its path's touches have."""
    paths, asked = journeys.converting, touched(journeys)
    question, touch = paths.take(asked).rows()
    none = expected_without(model, journeys, asked, question, touch)
    part = np.zeros(len(paths.first))
    part[asked] = 1 - none / model.with_all_touches(journeys)[asked]
    return part


def journeys_without(
    events: EventArrays,
    spec: SequenceSpec,
    customer: Ints,
    stop: Ints,
    question: Ints,
    event: Ints,
) -> EventArrays:
    """A journey for each of Q questions, without the events that are taken out.

    A journey of which nothing is left keeps its first event as one of which nothing is known but
    its time and type: without any, a model cannot be told that there is a customer, and one of no
    known type would pass for half a purchase.

    Args:
        events: The log.
        spec: How it was encoded.
        customer: (Q,) whose journey it is.
        stop: (Q,) the event that it ends before.
        question: (R,) the question that an event is taken out for.
        event: (R,) the event.
    """
    start = events.offsets[customer]
    size = stop - start
    begin = np.cumsum(size) - size
    row = np.arange(int(size.sum())) + np.repeat(start - begin, size)
    kept = np.ones(len(row), dtype=np.bool_)
    kept[begin[question] + event - start[question]] = False
    nothing = np.add.reduceat(kept, begin, dtype=np.int64) == 0
    kept[begin[nothing]] = True
    row = row[kept]
    offsets = np.concatenate([[0], np.cumsum(np.add.reduceat(kept, begin, dtype=np.int64))])
    blank = offsets[:-1][nothing]
    return EventArrays(
        offsets=offsets,
        time=np.asarray(events.time[row]),
        channel=_blanked(events.channel[row], blank, UNK),
        event_type=np.asarray(events.event_type[row]),
        purchase=np.asarray(events.purchase[row]),
        value=_blanked(events.value[row], blank, 0),
        categorical=_blanked(events.categorical[row], blank, UNK),
        features=_blanked(events.features[row], blank, unknown_numbers(spec)),
        static_categorical=np.asarray(events.static_categorical[customer]),
        static_features=np.asarray(events.static_features[customer]),
    )


def unknown_numbers(spec: SequenceSpec) -> NDArray[np.float32]:
    """(F,) numeric inputs of an event of which no number is known."""
    flags = np.arange(spec.n_features) >= len(spec.numeric)
    return flags.astype(np.float32)


def _blanked(column: NDArray[Any], rows: Ints, blank: Any) -> NDArray[Any]:
    """A column of which some rows say nothing."""
    column[rows] = blank
    return column
