"""How the credit of a channel changes where another one is on the same path."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from seqmarket.attribution.attributor import Attribution
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.paths import Paths
from seqmarket.attribution.plots.colors import DIVERGING, around_zero, ink_on
from seqmarket.training.plots.style import INK, PALE, dress, new_figure, notice, plain

MOST_METHODS = 6
MOST_CHANNELS = 10
_LEAST = 30
"""Fewer touches than these, with or without the other channel, say nothing."""
_TITLE = "How the credit of a touch changes where another channel is on the path"


def channel_interaction(journeys: Journeys, attributions: Mapping[str, Attribution]) -> Figure:
    """A panel per method: touches of the row's channel, with the column's channel and without.

    See `interaction`. At most `MOST_METHODS` are shown, the last first, and before them those that
    divide expected conversions; of the channels those with the most touches.
    """
    on_paths = journeys.channel[journeys.paths.rows()[1]]
    common = np.bincount(on_paths, minlength=len(journeys.channels))
    shown = np.sort(np.argsort(-common, kind="stable")[:MOST_CHANNELS])
    shown = shown[common[shown] > 0]
    if len(shown) < 2:
        return notice(_TITLE, "there are not two channels")
    # Later ones are of more interest: the first are rules, which share what is there.
    order = list(attributions)[::-1]
    methods = order[:MOST_METHODS]
    names = [plain(journeys.channels[k]) for k in shown]
    columns = min(3, len(methods))
    rows = math.ceil(len(methods) / columns)
    figure = new_figure(max(4.2 * columns, 8.0), 4.0 * rows + 1.0)
    panels = figure.subplots(rows, columns, squeeze=False)
    size = float(np.interp(len(shown), [4, MOST_CHANNELS], [11, 7.5]))
    for axes in panels.flat[len(methods) :]:
        axes.set_axis_off()
    for axes, method in zip(panels.flat, methods, strict=False):
        change = interaction(journeys, attributions[method])[np.ix_(shown, shown)]
        dress(axes)
        axes.grid(False)
        axes.set_title(method, fontsize=12, color=INK, loc="left")
        axes.set_facecolor(PALE)
        image = axes.imshow(np.ma.masked_invalid(change), cmap=DIVERGING, norm=around_zero(1.0))
        for (i, j), value in np.ndenumerate(change):
            if math.isfinite(value):
                axes.text(
                    j,
                    i,
                    _percent(value),
                    ha="center",
                    va="center",
                    fontsize=size,
                    color=ink_on(value),
                )
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=10)
        axes.set_yticks(range(len(names)), names, fontsize=10)
    bar = figure.colorbar(image, ax=panels, shrink=0.6, pad=0.01, extend="both", format="{x:+.0%}")
    bar.set_label("credit of a touch of the row's channel: with the column's, over without, less 1")
    bar.outline.set_visible(False)
    more = f", {len(methods)} of {len(order)} methods" if len(order) > len(methods) else ""
    figure.suptitle(f"{_TITLE}, in %{more}", x=0.01, ha="left", fontsize=14, color=INK)
    return figure


def _percent(change: float) -> str:
    percent = round(100 * change)
    return ">999" if percent > 999 else f"{percent:+d}" if percent else "0"


def interaction(journeys: Journeys, found: Attribution) -> Floats:
    """(K, K) mean credit of the touches of a channel on paths with another one, over those without.

    Less 1. Of paths that led to a conversion, as no others are credited. A touch on several paths
    counts in each with its part. NaN on the diagonal, where either group has too few touches, and
    where the mean without is not positive.
    """
    paths = journeys.converting
    k = len(journeys.channels)
    path, touch = paths.rows()
    channel = journeys.channel[touch]
    times = np.bincount(touch, minlength=len(journeys.touch))
    credit = found.credit[touch] / times[touch]
    present = _present(paths, path, channel, k)
    of_channel = np.eye(k)[channel]
    number = np.bincount(channel, minlength=k).astype(np.float64)
    total = np.bincount(channel, credit, minlength=k)
    n_with = of_channel.T @ present[path]
    sum_with = (of_channel * credit[:, None]).T @ present[path]
    n_without = number[:, None] - n_with
    with np.errstate(divide="ignore", invalid="ignore"):
        without = (total[:, None] - sum_with) / n_without
        change = sum_with / n_with / without - 1
    unclear = (n_with < _LEAST) | (n_without < _LEAST) | (without <= 0)
    return np.asarray(np.where(unclear | np.eye(k, dtype=np.bool_), np.nan, change))


def _present(paths: Paths, path: np.ndarray, channel: np.ndarray, k: int) -> Floats:
    """(P, K) 1 where a path has a touch of a channel."""
    present = np.zeros((len(paths.first), k))
    present[path, channel] = 1.0
    return present
