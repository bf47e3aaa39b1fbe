"""What would have happened without any touch, by method."""

from __future__ import annotations

import math
from collections.abc import Mapping

import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from seqmarket.attribution.attributor import Organic
from seqmarket.attribution.summary import ORGANIC
from seqmarket.data.simulation.truth import Truth
from seqmarket.training.plots.style import INK, MUTED, STRONG, WARM, dress, new_figure, notice

_COLORS: Mapping[Organic, str] = {"untouched": WARM, "elsewhere": MUTED, "anyway": STRONG}
_LABELS: Mapping[Organic, str] = {
    "untouched": "conversions without a touch on their path",
    "elsewhere": "weight that lies on something else than touches",
    "anyway": "conversions that would have come without any touch",
}


def organic_by_method(channels: pl.DataFrame, level: float, truth: Truth | None = None) -> Figure:
    """Share of the conversions that no touch is credited with, a row per method.

    Args:
        channels: See `channel_summary`.
        level: Of the intervals.
        truth: Drawn as a line, where it is known.
    """
    totals = channels.group_by("method", maintain_order=True).agg(total=pl.col("credit").sum())
    table = channels.filter(pl.col("channel") == ORGANIC).join(totals, on="method")
    title = f"Organic share of the conversions, with {level:.0%} intervals over customers"
    table = table.filter(pl.col("total") != 0)
    if table.is_empty():
        return notice(title, "there is no conversion")
    figure = new_figure(12.0, 0.36 * len(table) + 2.6)
    axes = figure.add_subplot()
    dress(axes, title=title)
    named: set[Organic] = set()
    highest = 0.0
    for y, row in enumerate(table.iter_rows(named=True)):
        share, low, high = (
            row[name] / row["total"] for name in ("credit", "credit_low", "credit_high")
        )
        meaning = row["organic_is"]
        color = _COLORS[meaning]
        if math.isfinite(low):
            axes.plot([low, high], [y, y], color=color, linewidth=2.4, alpha=0.5)
        label = None if meaning in named else _LABELS[meaning]
        axes.plot(share, y, "o", color=color, markersize=7, label=label)
        end = high if math.isfinite(high) else share
        axes.annotate(
            f"{share:.0%}",
            (max(share, end), y),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=10,
            color=INK,
        )
        named.add(meaning)
        highest = max(highest, end)
    if truth is not None and truth.expected:
        share = truth.organic / truth.expected
        axes.axvline(share, color=INK, linewidth=1.6, label=f"truth, {share:.0%}")
        highest = max(highest, share)
    axes.set_yticks(range(len(table)), table["method"].to_list())
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_xlim(0, max(1.1 * highest, 0.01))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    figure.legend(loc="outside lower left", fontsize=11, frameon=False)
    return figure
