"""Figures of an attribution: each function takes tables or arrays and returns a `Figure`."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
from matplotlib.figure import Figure

from seqmarket.attribution.plots.interaction import channel_interaction
from seqmarket.attribution.plots.organic import organic_by_method
from seqmarket.attribution.plots.replay import budgets_replayed
from seqmarket.attribution.plots.samples import sample_journeys
from seqmarket.attribution.plots.shares import shares_by_channel
from seqmarket.attribution.plots.timing import credit_over_time
from seqmarket.attribution.run import Attributed

__all__ = [
    "budgets_replayed",
    "channel_interaction",
    "credit_over_time",
    "figures",
    "organic_by_method",
    "sample_journeys",
    "shares_by_channel",
]


def figures(attributed: Attributed, channels: pl.DataFrame) -> Iterator[tuple[str, Figure]]:
    """Each figure with the name of its file, without an ending.

    Args:
        attributed: What the methods say.
        channels: See `channel_summary`.
    """
    journeys, found, settings = attributed.journeys, attributed.attributions, attributed.settings
    yield "shares", shares_by_channel(channels, settings.level, attributed.truth)
    yield "organic", organic_by_method(channels, settings.level, attributed.truth)
    yield "credit_over_time", credit_over_time(journeys, found)
    yield "channel_interaction", channel_interaction(journeys, found)
    if "replay" in attributed.checks:
        yield "replay", budgets_replayed(attributed.checks["replay"])
    if settings.sample_journeys:
        number, seed = settings.sample_journeys, settings.seed
        yield "sample_journeys", sample_journeys(journeys, found, number, seed)
