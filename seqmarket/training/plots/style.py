"""One look for every figure: 1200 x 800, readable, safe for colour-blind readers.

Figures are made with matplotlib's object-oriented interface. Nothing here touches `pyplot` or
`rcParams`, so a figure is freed with its last reference and threads do not meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

INK = "#222222"
MUTED = "#6E6E6E"
PALE = "#D9D9D9"
STRONG = "#0057A8"
"""The run's own model."""
WARM = "#D55E00"
"""The positive class, and the best epoch."""
SEQUENTIAL = LinearSegmentedColormap.from_list("share", ["#F7FAFD", "#A9CBE6", STRONG, "#00264D"])
"""Pale to dark in one hue, for shares and weights."""

Corner = Literal["best", "upper left", "upper right", "lower right"]

_BASELINE_STYLES = (
    ("#B9770E", (0, (6, 2))),
    ("#5B8C7B", (0, (2, 1.5))),
    ("#A0679B", (0, (7, 2, 1.5, 2))),
    ("#7F7F7F", (0, (1, 1.5))),
    ("#8C6D46", (0, (10, 3))),
    ("#56748F", (0, (4, 1.5, 1, 1.5, 1, 1.5))),
)


@dataclass(frozen=True)
class LineStyle:
    """How one model is drawn, the same in every figure of a task."""

    color: str
    linestyle: Any
    linewidth: float
    zorder: float

    def line(self) -> dict[str, Any]:
        """Keywords of `Axes.plot`."""
        return {
            "color": self.color,
            "linestyle": self.linestyle,
            "linewidth": self.linewidth,
            "zorder": self.zorder,
        }


def line_styles(models: Iterable[str], highlight: str | None) -> dict[str, LineStyle]:
    """The highlighted model in a strong solid line; the others muted, each with its own dashes."""
    styles: dict[str, LineStyle] = {}
    others = 0
    for model in models:
        if model == highlight:
            styles[model] = LineStyle(STRONG, "-", 2.8, 4.0)
        else:
            color, dashes = _BASELINE_STYLES[others % len(_BASELINE_STYLES)]
            styles[model] = LineStyle(color, dashes, 1.8, 3.0)
            others += 1
    return styles


def by_value(values: Mapping[str, float], highlight: str | None, higher: bool = True) -> list[str]:
    """Order of a legend: the highlighted model, then the others from best to worst."""
    sign = -1.0 if higher else 1.0
    return sorted(values, key=lambda model: (model != highlight, sign * values[model]))


def new_figure(width: float = 12.0, height: float = 8.0) -> Figure:
    """An empty figure, by default 1200 x 800 pixels, that belongs to no global state."""
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def plain(name: str) -> str:
    """A name from a log as text: between two dollars, Matplotlib would read a formula."""
    return name.replace("$", r"\$")


def dress(axes: Axes, xlabel: str = "", ylabel: str = "", title: str = "") -> None:
    """Gives axes the common look: left-aligned title, pale grid, no box."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.grid(True, color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=11.5, colors=INK, length=4)
    axes.set_xlabel(xlabel, fontsize=13, color=INK)
    axes.set_ylabel(ylabel, fontsize=13, color=INK)
    if title:
        axes.set_title(title, fontsize=15, color=INK, loc="left", pad=12)


def legend(axes: Axes, loc: Corner) -> None:
    """A legend without a box edge; its entries carry the values."""
    axes.legend(
        loc=loc,
        fontsize=12,
        frameon=True,
        framealpha=0.9,
        edgecolor="none",
        handlelength=3.4,
    )


def notice(title: str, reason: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure = new_figure()
    axes = figure.add_subplot()
    dress(axes, title=title)
    axes.set_axis_off()
    axes.text(0.5, 0.5, reason, ha="center", va="center", fontsize=14, color=MUTED, wrap=True)
    return figure
