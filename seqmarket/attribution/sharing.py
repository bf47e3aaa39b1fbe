"""From what a channel is worth to what its touches are."""

from __future__ import annotations

import numpy as np

from seqmarket.attribution.attributor import Attribution
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.errors import SeqmarketError


def shared_by_channel(method: str, journeys: Journeys, worth: Floats) -> Attribution:
    """Divides the conversions that have touches by the worth of the channels.

    A channel's part is shared alike by its touches on paths that end with a conversion; a
    conversion without a touch is organic.

    Args:
        method: Name of the method.
        journeys: The journeys.
        worth: (K,) of the channels, in any unit; may be negative.

    Raises:
        SeqmarketError: The worth of all channels together is not positive.
    """
    paths = journeys.converting
    touched = paths.stop > paths.first
    times = np.bincount(paths.touches(), minlength=len(journeys.touch))
    on_paths = np.bincount(journeys.channel, times, minlength=len(worth))
    worth = np.where(on_paths > 0, worth, 0.0)
    if touched.any() and worth.sum() <= 0:
        raise SeqmarketError(
            f"by {method}, all channels together are worth nothing",
            where=f"attribution={method}",
            fix="take a method that leaves conversions organic, such as regression",
        )
    share = worth / (worth.sum() * np.maximum(on_paths, 1)) if touched.any() else worth
    credit = (touched.sum() * share)[journeys.channel] * times
    value = (journeys.value[touched].sum() * share)[journeys.channel] * times
    return observed(method, journeys, credit, value)


def observed(method: str, journeys: Journeys, credit: Floats, value: Floats) -> Attribution:
    """Credits of the conversions that have touches; all others are organic."""
    paths = journeys.converting
    alone = paths.stop == paths.first
    organic, organic_value = np.zeros((2, journeys.n_customers))
    np.add.at(organic, journeys.converts[alone], 1.0)
    np.add.at(organic_value, journeys.converts[alone], journeys.value[alone])
    return Attribution(method, "observed", credit, organic, value, organic_value)
