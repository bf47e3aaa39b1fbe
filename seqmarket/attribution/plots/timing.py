"""How long before a conversion the credited touches were."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import numpy as np
from matplotlib.figure import Figure

from seqmarket.attribution.attributor import Attribution
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.plots.colors import DIVERGING, around_zero
from seqmarket.training.plots.style import INK, SEQUENTIAL, dress, new_figure, notice

_BINS = 30
_TITLE = "Credit by the time from the touch to the conversion"


def credit_over_time(journeys: Journeys, attributions: Mapping[str, Attribution]) -> Figure:
    """A row per method, its credit spread over the days before a conversion; first the touches.

    Credit counts where it lies on paths that end with a conversion; a touch on several such paths
    counts in equal parts. Of each row, what is above and below 0 together is 1.
    """
    paths = journeys.converting
    path, touch = paths.rows()
    if not len(path):
        return notice(_TITLE, "no conversion has a touch before it")
    days = journeys.days_before(paths, path, touch)
    times = np.bincount(touch, minlength=len(journeys.touch))[touch]
    edges = np.linspace(0, journeys.settings.lookback / timedelta(days=1), _BINS + 1)
    rows = {"(touches)": np.ones(len(touch))}
    rows |= {name: found.credit[touch] / times for name, found in attributions.items()}
    density = np.array([_density(days, weight, edges) for weight in rows.values()])

    figure = new_figure(12.0, 0.36 * len(rows) + 2.6)
    axes = figure.add_subplot()
    dress(axes, "days before the conversion", "", _TITLE)
    axes.grid(False)
    signed = bool((density < 0).any())
    largest = float(np.quantile(np.abs(density), 0.995))
    image = axes.pcolormesh(
        edges,
        np.arange(len(rows) + 1) - 0.5,
        density,
        cmap=DIVERGING if signed else SEQUENTIAL,
        **({"norm": around_zero(largest)} if signed else {"vmin": 0, "vmax": largest or 1}),
    )
    axes.axhline(0.5, color=INK, linewidth=1)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.invert_xaxis()
    digits = "{x:.0%}" if largest > 0.1 else "{x:.1%}"
    bar = figure.colorbar(image, ax=axes, pad=0.01, extend="max", format=digits)
    bar.set_label(f"share of the credit, per {edges[1]:g} d", fontsize=11)
    bar.outline.set_visible(False)
    return figure


def _density(days: Floats, weight: Floats, edges: Floats) -> Floats:
    counts = np.histogram(days, edges, weights=weight)[0]
    # In parts of all positive and negative credit, so that a sum near 0 enlarges nothing.
    size = np.abs(weight).sum()
    return np.asarray(counts / size if size else counts)
