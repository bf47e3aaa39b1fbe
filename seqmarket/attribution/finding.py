"""The touches and conversions of a period, found in the log.

M  touches     V  conversions
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqmarket.attribution.paths import Ints, Kept, kept_type, stretches
from seqmarket.data.splits import Period
from seqmarket.schema import SPECIAL_TOKENS, UNK, EventArrays, EventFilter, SequenceSpec


class Found(NamedTuple):
    """What a period has, in the order of the log.

    Attributes:
        touch: (M,) index of the event.
        channel: (M,) see `channels_of`.
        conversion: (V,) index of the event.
    """

    touch: Kept
    channel: NDArray[np.int32]
    conversion: Ints


def find(
    events: EventArrays,
    spec: SequenceSpec,
    period: Period,
    lookback: int,
    wanted: EventFilter,
    members: NDArray[np.bool_],
) -> Found:
    """Every touch and every purchase of a period, and the touches of the lookback before it.

    Args:
        events: The log.
        spec: How it was encoded.
        period: Start and end (exclusive), microseconds.
        lookback: Microseconds.
        wanted: Which events are touches, where they are no purchases.
        members: (C,) the customers who take part.
    """
    # As long as the log: what stays empty takes no memory.
    touch = np.empty(events.n_events, dtype=kept_type(events.n_events))
    channel = np.empty(events.n_events, dtype=np.int32)
    n, conversion = 0, [np.zeros(0, dtype=np.int64)]
    for some in stretches(events):
        own = some.events
        meant = np.repeat(members[slice(*some.customers)], np.diff(own.offsets))
        meant &= own.time < period.end
        bought = own.purchase & meant & (own.time >= period.start)
        conversion.append(np.flatnonzero(bought) + some.rows[0])
        meant &= are_touches(own, spec, wanted) & (own.time >= period.start - lookback)
        met = np.flatnonzero(meant)
        new = slice(n, n + len(met))
        touch[new], channel[new] = met + some.rows[0], channels_of(own, spec, met)
        n = new.stop
    return Found(touch[:n], channel[:n], np.concatenate(conversion))


def are_touches(events: EventArrays, spec: SequenceSpec, wanted: EventFilter) -> NDArray[np.bool_]:
    """(E,) whether an event is a touch."""
    return wanted.mask(events, spec) & ~events.purchase


def channels_of(events: EventArrays, spec: SequenceSpec, event: Ints) -> NDArray[np.int32]:
    """(N,) number of the channels of some events; the last one is of all that are not known."""
    ids = events.channel[event]
    return np.where(ids <= UNK, np.int32(spec.n_channels), ids - np.int32(SPECIAL_TOKENS))
