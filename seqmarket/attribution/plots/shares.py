"""What part of the credit each channel has, by method."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from seqmarket.attribution.summary import ORGANIC
from seqmarket.data.simulation.truth import Truth
from seqmarket.training.plots.style import (
    INK,
    MUTED,
    STRONG,
    WARM,
    dress,
    new_figure,
    notice,
    plain,
)

MOST_CHANNELS = 12
_COLUMNS = 4
_TITLE = "Share of the credit of all touches"
_LIMITS = (-1.0, 1.5)
"""Where the credit of all channels is near 0, shares have no bounds; beyond these they are cut."""


def shares_by_channel(channels: pl.DataFrame, level: float, truth: Truth | None = None) -> Figure:
    """A panel per channel, the largest first; in it a row per method, with its interval.

    Of more than `MOST_CHANNELS`, those with the largest shares are shown, and the title says so.

    Args:
        channels: See `channel_summary`.
        level: Of the intervals.
        truth: Drawn as a line, where it is known.
    """
    table = channels.filter(pl.col("channel") != ORGANIC)
    if table.is_empty():
        return notice(_TITLE, "no touch is near a conversion")
    methods = table["method"].unique(maintain_order=True).to_list()
    order = (
        table.group_by("channel", maintain_order=True)
        .agg(size=pl.col("share").abs().fill_nan(0).mean())
        .sort("size", descending=True, maintain_order=True)["channel"]
        .to_list()
    )
    shown = order[:MOST_CHANNELS]
    true = _true_shares(truth)
    columns = min(_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    height = rows * (0.26 * len(methods) + 1.3) + 1.2
    figure = new_figure(12.0, max(height, 3.5))
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    limits = _limits(table.filter(pl.col("channel").is_in(shown)), true, shown)
    for axes, name in zip(panels.flat, shown, strict=False):
        _panel(axes, table.filter(pl.col("channel") == name), methods)
        axes.set_xlim(*limits)
        axes.set_title(plain(name), fontsize=12, color=INK, loc="left")
        if name in true:
            axes.axvline(true[name], color=INK, linewidth=1.6, linestyle="-", zorder=2)
    for place, axes in enumerate(panels.flat):
        axes.tick_params(labelbottom=len(shown) - columns <= place < len(shown))
        if place >= len(shown):
            axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_yticks(range(len(methods)), methods, fontsize=10)
        axes.set_ylim(len(methods) - 0.5, -0.5)
    title = _TITLE
    if len(order) > len(shown):
        title += f", the {len(shown)} largest of {len(order)} channels"
    figure.suptitle(title, x=0.01, ha="left", fontsize=15, color=INK)
    handles = [
        _dot(STRONG, f"share, with the {level:.0%} interval over customers"),
    ]
    if (table["share"] < 0).any():
        handles.append(_dot(WARM, "below 0"))
    if true:
        handles.append(Line2D([], [], color=INK, linewidth=1.6, label="truth"))
    figure.legend(handles=handles, loc="outside lower left", ncols=3, fontsize=11, frameon=False)
    return figure


def _panel(axes: Axes, table: pl.DataFrame, methods: list[str]) -> None:
    dress(axes)
    axes.grid(True, axis="y", alpha=0.6)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(labelsize=10)
    for row in table.iter_rows(named=True):
        share = row["share"]
        if share is None or not math.isfinite(share):
            continue
        y, color = methods.index(row["method"]), STRONG if share >= 0 else WARM
        low, high = row["share_low"], row["share_high"]
        if math.isfinite(low) and math.isfinite(high):
            axes.plot([low, high], [y, y], color=color, linewidth=1.8, alpha=0.55, zorder=3)
        cut = float(np.clip(share, *_LIMITS))
        marker = "o" if cut == share else ">" if share > cut else "<"
        axes.plot(cut, y, marker, color=color, markersize=5.5, zorder=4, clip_on=False)


def _limits(table: pl.DataFrame, true: dict[str, float], shown: list[str]) -> tuple[float, float]:
    """Room for every share and most of the intervals, which may be much wider."""
    points = [0.0, *(true[name] for name in shown if name in true)]
    points += [x for x in table["share"].to_list() if x is not None and math.isfinite(x)]
    low, high = np.clip([min(points), max(points)], *_LIMITS)
    bounds = table.select("share_low", "share_high").drop_nulls().drop_nans().to_numpy()
    room = 0.35 * (high - low) + 0.01
    if len(bounds):
        low = min(low, max(float(bounds[:, 0].min()), low - room))
        high = max(high, min(float(bounds[:, 1].max()), high + room))
    margin = 0.03 * (high - low) + 1e-3
    return float(low - margin), float(high + margin)


def _true_shares(truth: Truth | None) -> dict[str, float]:
    if truth is None:
        return {}
    worth = truth.channels["shapley"]
    total = float(worth.sum())
    names = truth.channels["channel"].to_list()
    return dict(zip(names, (worth / total).to_list(), strict=True)) if total else {}


def _dot(color: str, label: str) -> Line2D:
    return Line2D([], [], color=color, marker="o", markersize=5.5, linewidth=1.8, label=label)
