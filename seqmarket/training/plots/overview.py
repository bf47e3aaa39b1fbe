"""The course of a training, the classes that are mixed up, and all models side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from seqmarket.training.plots.style import (
    INK,
    MUTED,
    PALE,
    SEQUENTIAL,
    STRONG,
    WARM,
    dress,
    new_figure,
    notice,
)
from seqmarket.training.results import (
    HIGHER_IS_BETTER,
    TaskResult,
    format_interval,
    main_metrics,
    metric_name,
)

Curve = Sequence[tuple[int, float]]

_MOST_ANNOTATED_CLASSES = 16


def learning_curves(
    history: Mapping[str, Curve], monitor: str = "validation/loss", higher_is_better: bool = False
) -> Figure:
    """Training and validation loss per task and overall, and below the tasks' main metric.

    Args:
        history: (epoch, value) pairs by ``stage/task/metric``, or ``stage/metric`` for all tasks
            together, where stage is `train` or `validation`, as in ``validation/purchase/auroc``.
        monitor: The key by which the best epoch is chosen; without such a key none is marked.
        higher_is_better: Whether the best value of the monitor is its highest.
    """
    if not history:
        return notice("Learning curves", "No epoch was completed.")
    tasks = list(dict.fromkeys(key.split("/")[1] for key in history if key.count("/") == 2))
    upper, lower = [f"{task}/loss" for task in tasks], []
    for task in tasks:
        metric = _main_metric(history, task)
        lower.append(f"{task}/{metric}" if metric else f"{task}/loss")
    if len(tasks) != 1:
        upper, lower = ["loss", *upper], ["loss", *lower]
    mosaic: list[Any] = [upper] if upper == lower else [upper, lower]
    best = _best_epoch(history.get(monitor, ()), higher_is_better)
    figure = new_figure(12, 4 + 4 * (len(mosaic) - 1))
    for name, axes in figure.subplot_mosaic(mosaic, sharex=True).items():
        task, _, metric = name.rpartition("/")
        title = (task or "all tasks, weighted") if metric == "loss" else ""
        dress(axes, "Epoch" if name in mosaic[-1] else "", metric_name(metric), title)
        _course(axes, history, name, best)
    lines = {
        str(line.get_label()): line
        for axes in figure.axes
        for line in axes.get_lines()
        if not str(line.get_label()).startswith("_")
    }
    figure.suptitle("Learning curves", x=0.01, ha="left", fontsize=15, color=INK)
    figure.legend(
        lines.values(), lines.keys(), loc="upper right", ncols=3, fontsize=12, frameon=False
    )
    return figure


def confusion_matrix(
    label: NDArray[np.int64],
    predicted: NDArray[np.int64],
    class_names: Sequence[str],
    task: str = "next_channel",
) -> Figure:
    """What was predicted, as a share of the rows of each true class.

    A class without rows is hatched.

    Args:
        label: (N,) true class.
        predicted: (N,) predicted class.
        class_names: Name of each class.
        task: Name for the title.
    """
    n_classes = len(class_names)
    counts = np.bincount(label * n_classes + predicted, minlength=n_classes**2)
    counts = counts.reshape(n_classes, n_classes)
    support = counts.sum(axis=1)
    shares = counts / np.maximum(support, 1)[:, None]
    accuracy = np.trace(counts) / max(1, counts.sum())
    figure = new_figure()
    axes = figure.add_subplot()
    title = f"{task}: predicted class by true class, {len(label):,} rows, accuracy {accuracy:.3f}"
    dress(axes, "Predicted", "True (rows)", title)
    axes.grid(False)
    empty = np.repeat(support[:, None] == 0, n_classes, axis=1)
    image = axes.imshow(
        np.ma.masked_array(shares, empty), cmap=SEQUENTIAL, vmin=0.0, vmax=1.0, aspect="auto"
    )
    for row in np.flatnonzero(support == 0):
        axes.axhspan(row - 0.5, row + 0.5, facecolor="white", edgecolor=PALE, hatch="//", lw=0)
    size = float(np.interp(n_classes, [5, 15, 40], [13, 10, 6]))
    if n_classes <= _MOST_ANNOTATED_CLASSES:
        for row, column in np.argwhere(counts > 0):
            share = shares[row, column]
            color = "white" if share > 0.45 else INK
            text = f"{share:.0%}" if share >= 0.005 else "<1%"
            axes.text(column, row, text, ha="center", va="center", fontsize=size, color=color)
    ticks = np.arange(n_classes)
    rows = [f"{name} ({n:,})" for name, n in zip(class_names, support, strict=True)]
    axes.set_yticks(ticks, rows, fontsize=size)
    axes.set_xticks(ticks, class_names, fontsize=size, rotation=40, ha="right")
    axes.set_xticks(ticks[:-1] + 0.5, minor=True)
    axes.set_yticks(ticks[:-1] + 0.5, minor=True)
    axes.grid(True, which="minor", color="white", linewidth=1.2)
    axes.tick_params(which="minor", length=0)
    bar = figure.colorbar(image, ax=axes, pad=0.01)
    bar.set_label("Share of the true class", fontsize=11)
    bar.outline.set_visible(False)
    return figure


def metric_comparison(results: Sequence[TaskResult]) -> Figure:
    """The main metric of every model with its interval, one panel per task.

    Args:
        results: One result per task; the run's own model is drawn strongly.
    """
    heights = [len(result.models) + 1.0 for result in results]
    figure = new_figure(12, max(4.0, min(12.0, 0.45 * sum(heights) + 1.1 * len(results))))
    panels = figure.subplots(len(results), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, result in zip(panels, results, strict=True):
        _dots(axes, result)
    return figure


def _dots(axes: Axes, result: TaskResult) -> None:
    metric = main_metrics(result.task, result.kind)[0]
    sign = 1.0 if HIGHER_IS_BETTER[metric] else -1.0
    values = {model: found[metric] for model, found in result.models.items() if metric in found}
    order = sorted(values, key=lambda model: sign * values[model].estimate)
    dress(
        axes,
        f"{metric_name(metric)} with 95 % interval",
        title=f"{result.task}: {result.n_rows:,} rows, {result.n_customers:,} customers",
    )
    for height, model in enumerate(order):
        value = values[model]
        own = model == result.model
        color = STRONG if own else MUTED
        axes.hlines(height, value.low, value.high, color=color, linewidth=3.2 if own else 2)
        axes.plot(value.estimate, height, "o" if own else "D", color=color, markersize=9 - 2 * own)
        axes.annotate(
            format_interval(value),
            (1.01, height),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=11.5,
            color=INK if own else MUTED,
            fontweight="bold" if own else "normal",
        )
    if result.model in values:
        axes.axvline(values[result.model].estimate, color=STRONG, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(order)), order)
    for text in axes.get_yticklabels():
        if text.get_text() == result.model:
            text.set(fontweight="bold", color=STRONG)
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.margins(x=0.08)
    axes.grid(False, axis="y")


def _main_metric(history: Mapping[str, Curve], task: str) -> str | None:
    found = [key.split("/")[2] for key in history if key.startswith(f"validation/{task}/")]
    wanted = ("auroc", "accuracy", *(name for name in found if name != "loss"))
    return next((name for name in wanted if name in found), None)


def _best_epoch(curve: Curve, higher_is_better: bool) -> int | None:
    finite = [(value, epoch) for epoch, value in curve if np.isfinite(value)]
    if not finite:
        return None
    best = max(finite)[0] if higher_is_better else min(finite)[0]
    return next(epoch for value, epoch in finite if value == best)


def _course(axes: Axes, history: Mapping[str, Curve], name: str, best: int | None) -> None:
    for stage, text, color, dashes in (
        ("train", "training", MUTED, (0, (4, 2))),
        ("validation", "validation", STRONG, "-"),
    ):
        curve = history.get(f"{stage}/{name}", ())
        if not curve:
            continue
        epochs, values = zip(*curve, strict=True)
        axes.plot(epochs, values, color=color, ls=dashes, lw=2, marker="o", ms=4, label=text)
        if stage == "validation" and best is not None and best in epochs:
            value = values[epochs.index(best)]
            axes.plot(best, value, "o", color=WARM, ms=8, zorder=5)
            axes.annotate(
                f"{value:.3f}",
                (best, value),
                xytext=(0, 8),
                textcoords="offset points",
                ha="center",
                fontsize=11,
                color=WARM,
            )
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.margins(y=0.12)
    if best is not None:
        axes.axvline(best, color=WARM, lw=1, ls=":", label=f"best epoch {best}")
