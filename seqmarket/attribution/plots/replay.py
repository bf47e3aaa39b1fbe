"""What budgets would have bought, had they been spent by each method's credit."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from seqmarket.attribution.replay import EVERYTHING, PROPORTIONAL, TRUTH, UNIFORM
from seqmarket.training.plots.style import INK, MUTED, STRONG, dress, new_figure

_TITLE = "Budgets spent by each method's credit"


def budgets_replayed(replay: pl.DataFrame) -> Figure:
    """A row per method, in it a dot per budget; baselines and the truth below.

    Args:
        replay: See `replay_table`.
    """
    simulated = bool(replay["incremental"].is_not_null().all())
    column = "incremental" if simulated else "whole"
    everything = replay.filter(pl.col("method") == EVERYTHING)[column].to_list()
    table = replay.filter(pl.col("method") != EVERYTHING)
    last = (UNIFORM, PROPORTIONAL, TRUTH)
    methods = table["method"].unique(maintain_order=True).to_list()
    methods = sorted(methods, key=lambda name: last.index(name) if name in last else -1)
    budgets = table["budget"].unique().sort().to_list()
    figure = new_figure(12.0, 0.36 * len(methods) + 2.8)
    axes = figure.add_subplot()
    dress(axes, title=_TITLE)
    place = {method: y for y, method in enumerate(methods)}
    for strength, budget in zip(np.linspace(0.35, 1.0, len(budgets)), budgets, strict=True):
        rows = table.filter(pl.col("budget") == budget)
        axes.plot(
            rows[column],
            [place[method] for method in rows["method"]],
            "o",
            color=STRONG,
            alpha=float(strength),
            markersize=8,
            label=f"{budget:.0%} of the money",
        )
    for value in everything:
        axes.axvline(value, color=INK, linewidth=1.4, label="everything, as it was spent")
    first_of_last = len(methods) - sum(method in last for method in methods)
    axes.axhline(first_of_last - 0.5, color=MUTED, linewidth=0.8)
    axes.set_yticks(range(len(methods)), methods)
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.set_xlim(left=min(0.0, float(table[column].min())))  # type: ignore[arg-type]
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel(
        "expected purchases over those without any touch in the period"
        if simulated
        else "conversions all of whose touches are paid for: no measure of effects"
    )
    figure.legend(loc="outside lower left", ncols=len(budgets) + 1, fontsize=11, frameon=False)
    return figure
