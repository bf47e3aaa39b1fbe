"""From what channels add in stretches of time to what single touches do."""

from __future__ import annotations

import numpy as np

from seqmarket.attribution.attributor import Attribution
from seqmarket.attribution.grid import Grid
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.schema import MICROSECONDS_PER_DAY


def spread_over_touches(
    method: str, journeys: Journeys, grid: Grid, credit: Floats, organic: Floats
) -> Attribution:
    """Gives what a channel adds in a stretch to the channel's touches that are felt in it.

    A touch is felt less with time: half as much after a quarter of the lookback.

    Args:
        method: Name of the method.
        journeys: The journeys.
        grid: The stretches.
        credit: (G, K) conversions that each channel adds.
        organic: (G,) conversions without any.
    """
    n, k = journeys.n_customers, credit.shape[1]
    each = np.zeros((n, k))
    np.add.at(each, grid.customer, credit)
    half_life = journeys.settings.lookback.total_seconds() / 86_400 / 4
    age = (journeys.time - journeys.period.start) / MICROSECONDS_PER_DAY
    end = (journeys.period.end - journeys.time) / MICROSECONDS_PER_DAY
    felt = 0.5 ** (np.maximum(-age, 0) / half_life) - 0.5 ** (end / half_life)
    total = np.zeros((n, k))
    np.add.at(total, (journeys.customer, journeys.channel), felt)
    share = felt / total[journeys.customer, journeys.channel]
    per_touch = each[journeys.customer, journeys.channel] * share
    # What older touches still bring about cannot be given to one of these.
    left = np.zeros(n)
    np.add.at(left, grid.customer, organic)
    left += np.where(total > 0, 0.0, each).sum(axis=1)
    worth = journeys.value.sum() / max(len(journeys.value), 1)
    return Attribution(method, "expected", per_touch, left, per_touch * worth, left * worth)
