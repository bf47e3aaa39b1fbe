"""How well a probability ranks the rows and keeps its word: figures of a binary task."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

from seqmarket.metrics.calibration import reliability
from seqmarket.training.plots.style import (
    INK,
    MUTED,
    STRONG,
    WARM,
    by_value,
    dress,
    legend,
    line_styles,
    new_figure,
    notice,
)

Labels = NDArray[np.int64]
Scores = Mapping[str, NDArray[np.float64]]


def roc_curves(label: Labels, scores: Scores, task: str, highlight: str | None = None) -> Figure:
    """True against false positive rate of each model, with its AUROC in the legend.

    Args:
        label: (N,) 0 or 1.
        scores: Probability of label 1, (N,) per model, all on the same rows.
        task: Name for the title.
        highlight: The model to draw strongly.

    Returns:
        The figure; one that says so where only one class is present.
    """
    title = f"{task}: ROC, {_rows(label)}"
    if _one_class(label):
        return notice(title, "Only one class is present, so a ROC curve is not defined.")
    curves = {model: roc_curve(label, score)[:2] for model, score in scores.items()}
    values = {model: float(auc(fpr, tpr)) for model, (fpr, tpr) in curves.items()}
    styles = line_styles(scores, highlight)
    figure = new_figure()
    axes = figure.add_subplot()
    dress(axes, "False positive rate", "True positive rate (recall)", title)
    for model in by_value(values, highlight):
        name = f"{model}   AUROC {values[model]:.3f}"
        axes.plot(*curves[model], label=name, **styles[model].line())
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, label="chance   AUROC 0.500")
    axes.set(xlim=(0, 1), ylim=(0, 1.005), aspect="equal")
    legend(axes, "lower right")
    return figure


def precision_recall_curves(
    label: Labels, scores: Scores, task: str, highlight: str | None = None
) -> Figure:
    """Precision against recall of each model, with its average precision, and the base rate.

    Args:
        label: (N,) 0 or 1.
        scores: Probability of label 1, (N,) per model, all on the same rows.
        task: Name for the title.
        highlight: The model to draw strongly.

    Returns:
        The figure; one that says so where only one class is present.
    """
    title = f"{task}: precision and recall, {_rows(label)}"
    if _one_class(label):
        return notice(title, "Only one class is present, so precision and recall say nothing.")
    values = {
        model: float(average_precision_score(label, score)) for model, score in scores.items()
    }
    styles = line_styles(scores, highlight)
    base_rate = float(label.mean())
    figure = new_figure()
    axes = figure.add_subplot()
    dress(axes, "Recall (share of the positives found)", "Precision", title)
    for model in by_value(values, highlight):
        precision, recall, _ = precision_recall_curve(label, scores[model], drop_intermediate=True)
        precision[-1] = precision[-2]  # scikit-learn's 1 there is a convention, no threshold
        axes.step(
            recall,
            precision,
            where="post",
            label=f"{model}   average precision {values[model]:.3f}",
            **styles[model].line(),
        )
    axes.axhline(base_rate, color=MUTED, linewidth=1, label=f"base rate {base_rate:.3f}")
    axes.set(xlim=(0, 1), ylim=(0, 1.005))
    legend(axes, "upper right")
    return figure


def lift_curve(label: Labels, scores: Scores, task: str, highlight: str | None = None) -> Figure:
    """Cumulative gains: share of the positives reached by taking the best-scored rows first.

    Rows with equal scores are taken together, so their order in the table does not matter.

    Args:
        label: (N,) 0 or 1.
        scores: Probability of label 1, (N,) per model, all on the same rows.
        task: Name for the title.
        highlight: The model to draw strongly.

    Returns:
        The figure; one that says so where only one class is present.
    """
    title = f"{task}: positives reached, best-scored rows first, {_rows(label)}"
    if _one_class(label):
        return notice(title, "Only one class is present, so there is no lift.")
    base_rate = float(label.mean())
    gains: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    for model, score in scores.items():
        fpr, tpr, _ = roc_curve(label, score)
        gains[model] = (base_rate * tpr + (1 - base_rate) * fpr, tpr)
    lifts = {model: float(np.interp(0.1, *gain)) / 0.1 for model, gain in gains.items()}
    styles = line_styles(scores, highlight)
    figure = new_figure()
    axes = figure.add_subplot()
    dress(axes, "Share of the rows taken", "Share of the positives reached", title)
    for model in by_value(lifts, highlight):
        name = f"{model}   lift at 10 % {lifts[model]:.2f}"
        axes.plot(*gains[model], label=name, **styles[model].line())
    axes.plot([0, base_rate, 1], [0, 1, 1], color=INK, linewidth=0.8, label="a perfect order")
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, label="a random order   lift 1.00")
    axes.axvline(0.1, color=MUTED, linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, 1), ylim=(0, 1.005))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    legend(axes, "lower right")
    return figure


def calibration_curves(
    label: Labels, scores: Scores, task: str, highlight: str | None = None
) -> Figure:
    """Observed against predicted frequency in bins of equal mass, and the scores' histogram.

    A tied score is never split, so a model that says the same for everyone has a single point.
    The distance from the diagonal, weighted by rows, is the calibration error in the legend. The
    highlighted model's points carry 95 % intervals (Wilson, 1927), as if rows were independent.

    Args:
        label: (N,) 0 or 1.
        scores: Probability of label 1, (N,) per model, all on the same rows.
        task: Name for the title.
        highlight: The model to draw strongly.
    """
    figure = new_figure()
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    dress(upper, "", "Observed share of positives", f"{task}: calibration, {_rows(label)}")
    dress(lower, "Predicted probability (last bar: and above)", "Share of rows")
    styles = line_styles(scores, highlight)
    bins = {model: reliability(label, score) for model, score in scores.items()}
    errors = {
        model: float(np.average(np.abs(rate - mean), weights=count))
        for model, (mean, rate, count) in bins.items()
    }
    top = 0.0
    for model in by_value(errors, highlight, higher=False):
        mean, rate, count = bins[model]
        name = f"{model}   calibration error {errors[model]:.3f}"
        upper.plot(mean, rate, marker="o", markersize=6, label=name, **styles[model].line())
        if model == highlight:
            low, high = _wilson(rate, count)
            upper.vlines(mean, low, high, color=styles[model].color, linewidth=1.6, zorder=4)
            top = max(top, float(high.max()))
        top = max(top, float(mean.max()), float(rate.max()))
    top = max(1e-6, min(1.0, 1.08 * top))
    edges = np.linspace(0.0, top, 41)
    for model, score in scores.items():
        share = np.histogram(np.minimum(score, top), edges)[0] / len(score)
        style = styles[model]
        if model == highlight:
            lower.stairs(share, edges, fill=True, color=style.color, alpha=0.35)
            lower.set_ylim(0, 1.5 * share.max())
        else:
            lower.stairs(share, edges, color=style.color, linestyle=style.linestyle, lw=1.4)
    lower.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1, label="perfectly calibrated")
    upper.set(xlim=(0, top), ylim=(0, top))
    legend(upper, "upper left")
    return figure


def score_distribution(label: Labels, probability: NDArray[np.float64], task: str) -> Figure:
    """Histogram of a model's probabilities, rows of label 0 and of label 1 apart.

    Args:
        label: (N,) 0 or 1.
        probability: (N,) of label 1.
        task: Name for the title.
    """
    figure = new_figure()
    axes = figure.add_subplot()
    title = f"{task}: predicted probability by what happened, {_rows(label)}"
    dress(axes, "Predicted probability", "Share of the rows of each label", title)
    edges = np.linspace(0.0, max(1e-6, min(1.0, 1.02 * float(probability.max()))), 51)
    for value, color, name in ((0, STRONG, f"no {task}"), (1, WARM, task)):
        score = probability[label == value]
        if not len(score):
            continue
        text = f"{name}   {len(score):,} rows, median {np.median(score):.3f}"
        share = np.histogram(score, edges)[0] / len(score)
        axes.stairs(share, edges, fill=True, color=color, alpha=0.25)
        axes.stairs(share, edges, color=color, linewidth=2, label=text)
        axes.axvline(float(np.median(score)), color=color, linewidth=1.2, linestyle=":")
    axes.set_xlim(0, edges[-1])
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    legend(axes, "upper right")
    return figure


def _rows(label: Labels) -> str:
    return f"{len(label):,} rows, {label.mean():.1%} positive"


def _one_class(label: Labels) -> bool:
    return bool(label.min() == label.max())


def _wilson(
    rate: NDArray[np.float64], count: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    z = 1.96
    center = (rate + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(rate * (1 - rate) / count + z**2 / (4 * count**2))
    return center - half, center + half
