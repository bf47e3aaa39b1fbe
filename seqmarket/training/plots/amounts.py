"""How near predicted amounts and durations come: figures of tasks whose label is a number."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from seqmarket.metrics.calibration import reliability
from seqmarket.schema import QUANTILES
from seqmarket.training.plots.style import MUTED, by_value, dress, legend, line_styles, new_figure

GROUPS = 10

Numbers = NDArray[np.float64]


def amounts_by_group(
    label: Numbers, predictions: Mapping[str, Numbers], task: str, highlight: str | None = None
) -> Figure:
    """Mean true amount against mean expected amount, in tenths of the rows by the latter.

    Rows of which the same is expected stay together, so a model that says the same for everyone
    has a single point.

    Args:
        label: (N,) true amounts.
        predictions: (N, 2) expected amount and median per model, all on the same rows.
        task: Name for the title.
        highlight: The model to draw strongly.
    """
    figure = new_figure()
    axes = figure.add_subplot()
    title = f"{task}: true by expected amount, {len(label):,} rows in tenths"
    dress(axes, "Mean expected amount", "Mean true amount", title)
    styles = line_styles(predictions, highlight)
    errors = {model: float(np.abs(label - p[:, 1]).mean()) for model, p in predictions.items()}
    top = 1e-6
    for model in by_value(errors, highlight, higher=False):
        expected, true, _ = reliability(label, predictions[model][:, 0], GROUPS)
        name = f"{model}   MAE of the median {errors[model]:,.3g}"
        axes.plot(expected, true, marker="o", markersize=6, label=name, **styles[model].line())
        top = max(top, float(true.max()), float(expected.max()))
    axes.plot([0, top], [0, top], color=MUTED, linewidth=1, label="as expected")
    axes.set(xlim=(0, 1.04 * top), ylim=(0, 1.04 * top))
    legend(axes, "upper left")
    return figure


def quantile_coverage(
    label: Numbers, predictions: Mapping[str, Numbers], task: str, highlight: str | None = None
) -> Figure:
    """Share of the rows that came no later than each predicted quantile.

    Args:
        label: (N,) true days.
        predictions: (N, len(QUANTILES)) days per model, all on the same rows.
        task: Name for the title.
        highlight: The model to draw strongly.
    """
    figure = new_figure()
    axes = figure.add_subplot()
    dress(
        axes,
        "Predicted probability that it comes by then",
        "Share of the rows where it did",
        f"{task}: coverage of the quantiles, {len(label):,} rows",
    )
    styles = line_styles(predictions, highlight)
    middle = QUANTILES.index(0.5)
    errors = {
        model: float(np.abs(label - days[:, middle]).mean()) for model, days in predictions.items()
    }
    for model in by_value(errors, highlight, higher=False):
        covered = (label[:, None] <= predictions[model]).mean(axis=0)
        name = f"{model}   MAE of the median {errors[model]:.3g} days"
        axes.plot(QUANTILES, covered, marker="o", markersize=6, label=name, **styles[model].line())
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, label="as predicted")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    legend(axes, "upper left")
    return figure
