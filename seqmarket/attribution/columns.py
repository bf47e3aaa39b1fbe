"""What is known of a customer at a moment besides touches and purchases."""

from __future__ import annotations

import numpy as np

from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.paths import Ints
from seqmarket.schema import MICROSECONDS_PER_DAY, SPECIAL_TOKENS


def slow_columns(journeys: Journeys, customer: Ints, time: Ints) -> Floats:
    """(Q, X) what hardly changes within days: how long known, the date, and static features.

    Args:
        journeys: Of the log.
        customer: (Q,).
        time: (Q,) microseconds.
    """
    events, period = journeys.events, journeys.period
    age = (time - events.time[events.offsets[customer]]) / MICROSECONDS_PER_DAY
    share = (time - period.start) / max(period.end - period.start, 1)
    columns = [np.log1p(np.maximum(age, 0.0)), share, share**2]
    known = [events.static_features[customer].astype(np.float64)]
    for i, feature in enumerate(journeys.spec.static_categorical):
        value = events.static_categorical[customer, i, None]
        known.append((value == np.arange(SPECIAL_TOKENS, feature.size)).astype(np.float64))
    return np.column_stack([*columns, *known])


def calendar_columns(time: Ints) -> Floats:
    """(Q, X) the day of the week and the hour of the day, as waves."""
    day = time / MICROSECONDS_PER_DAY
    waves = [2 * np.pi * day / 7, 4 * np.pi * day / 7, 2 * np.pi * day, 4 * np.pi * day]
    return np.column_stack([wave(angle) for angle in waves for wave in (np.sin, np.cos)])
