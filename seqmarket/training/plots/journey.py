"""Where a model looks in one journey."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from seqmarket.training.plots.style import (
    INK,
    MUTED,
    PALE,
    SEQUENTIAL,
    STRONG,
    dress,
    legend,
    new_figure,
    plain,
)

MOST_EVENTS = 40
"""More events than this are not readable side by side."""


def attention_journey(
    attention: NDArray[np.floating],
    channels: Sequence[str],
    days_before: Sequence[float],
    focus: int = -1,
) -> Figure:
    """Weight of one state on each event of a journey, and below it the weights of every state.

    Shows no name and no date, only channels and distances in time. Of a journey longer than
    `MOST_EVENTS` the newest events up to the focus are shown, and the title says so.

    Args:
        attention: (T, T) weight that state i (rows) gives to event j (columns).
        channels: Channel of each event, T of them, oldest first.
        days_before: Days from each event to the prediction time, T of them.
        focus: The state whose weights are the bars: an index, negative from the end.
    """
    last = range(len(channels))[focus]
    first = max(0, last + 1 - MOST_EVENTS)
    shown = slice(first, last + 1)
    weights = np.asarray(attention, dtype=np.float64)[shown, shown]
    bars = weights[-1]
    n_events = len(bars)
    times = [ago(days) for days in days_before[shown]]
    names = map(plain, channels[shown])
    events = [f"{channel} · {time}" for channel, time in zip(names, times, strict=True)]
    size = float(np.interp(n_events, [10, MOST_EVENTS], [11.5, 8]))

    figure = new_figure()
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    count = "1 event" if n_events == 1 else f"{n_events} events"
    if first:
        count = f"newest {n_events} of {last + 1} events ({bars.sum():.0%} of the weight)"
    title = f"An anonymous journey, {count}: attention is descriptive, not causal"
    dress(upper, "", "Weight of the last state", title)
    position = np.arange(n_events)
    strongest = np.argsort(-bars, kind="stable")[:3]
    colors = [STRONG if index in strongest else SEQUENTIAL(0.35) for index in position]
    upper.bar(position, bars, width=0.8, color=colors)
    for index in strongest:
        upper.annotate(
            f"{bars[index]:.0%}",
            (index, bars[index]),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=max(size, 9.5),
            color=INK,
        )
    upper.axhline(1 / (last + 1), color=MUTED, linewidth=1, linestyle=":", label="equal weights")
    legend(upper, "best")
    upper.grid(False, axis="x")
    upper.tick_params(labelbottom=False, length=0, axis="x")
    upper.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    upper.margins(y=0.15)

    dress(lower, "Event looked at: channel · time before the prediction", "State after the event")
    lower.grid(False)
    hidden = np.triu(np.ones_like(weights, dtype=bool), k=1)
    image = lower.imshow(
        np.ma.masked_array(weights, hidden),
        cmap=SEQUENTIAL,
        aspect="auto",
        norm=PowerNorm(0.5, vmin=0.0),  # the first states can only have large weights
    )
    lower.set_facecolor(PALE)
    lower.set_xticks(position, events, rotation=90 if n_events > 10 else 30, fontsize=size)
    if n_events <= 10:
        for text in lower.get_xticklabels():
            text.set(ha="right", rotation_mode="anchor")
    lower.set_yticks(position, times, fontsize=min(size, 10))
    bar = figure.colorbar(image, ax=lower, pad=0.01, aspect=18)
    bar.set_label("Weight", fontsize=11)
    bar.outline.set_visible(False)
    return figure


def ago(days: float) -> str:
    """A short duration: ``5 min``, ``3 h``, ``12 d``."""
    if days < 1 / 24:
        return f"{days * 1440:.0f} min"
    if days < 2:
        return f"{days * 24:.0f} h"
    return f"{days:.0f} d"
