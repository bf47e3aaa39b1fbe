"""The course of a training, the classes that are mixed up, and all models side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    plain,
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
_MOST_PANELS = 6
"""More panels than this are not readable side by side."""


def learning_curves(
    history: Mapping[str, Curve], monitor: str = "validation/loss", higher_is_better: bool = False
) -> Figure:
    """The training loss of each objective, and the validation loss and main metric of each task.

    The losses of training and validation are of different things, and stand apart: objectives
    are trained on, tasks are validated.

    Args:
        history: (epoch, value) pairs by ``train/objective/loss`` or ``validation/task/metric``, or
            ``stage/loss`` for all together, as in ``validation/purchase/auroc``.
        monitor: The key by which the best epoch is chosen; without such a key none is marked.
        higher_is_better: Whether the best value of the monitor is its highest.
    """
    blocks = {
        "Training loss, by what is trained on": _losses(history, "train"),
        "Validation loss, by task": _losses(history, "validation"),
        "Main metric, by task": _main_metrics(history),
    }
    rows = [
        (title if i == 0 else "", part.tolist())
        for title, keys in blocks.items()
        for i, part in enumerate(np.array_split(keys, -(-len(keys) // _MOST_PANELS) or 1))
        if keys
    ]
    if not rows:
        return notice("Learning curves", "No epoch was completed.")
    best = _best_epoch(history.get(monitor, ()), higher_is_better)
    figure = new_figure(12, max(4.0, 0.6 + 2.7 * len(rows)))
    parts = figure.subfigures(len(rows), squeeze=False)[:, 0]
    for part, (title, keys) in zip(parts, rows, strict=True):
        part.suptitle(title, x=0.01, ha="left", fontsize=13, color=INK)
        for axes, key in zip(part.subplots(1, len(keys), squeeze=False)[0], keys, strict=True):
            _, *name, metric = key.split("/")
            dress(axes, "Epoch", "" if metric == "loss" else metric_name(metric))
            axes.set_title("".join(name) or "all, weighted", fontsize=12, color=INK, loc="left")
            axes.tick_params(labelsize=10)
            _course(axes, history[key], key.startswith("validation/"), best)
    lines = {
        str(line.get_label()): line
        for axes in figure.axes
        for line in axes.get_lines()
        if not str(line.get_label()).startswith("_")
    }
    figure.suptitle("Learning curves", x=0.01, ha="left", fontsize=15, color=INK)
    order = sorted(lines, key=lambda text: text.startswith("best"))
    figure.legend(
        [lines[text] for text in order],
        order,
        loc="upper right",
        ncols=3,
        fontsize=12,
        frameon=False,
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
    names = [plain(name) for name in class_names]
    rows = [f"{name} ({n:,})" for name, n in zip(names, support, strict=True)]
    axes.set_yticks(ticks, rows, fontsize=size)
    axes.set_xticks(ticks, names, fontsize=size, rotation=40, ha="right")
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
        f"{metric_name(metric)} with 95 % interval" + ("" if sign > 0 else ", lower is better"),
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


def _names(history: Mapping[str, Curve], stage: str) -> list[str]:
    """The objectives or tasks of a stage, in their order."""
    parts = [key.split("/") for key in history]
    return list(dict.fromkeys(key[1] for key in parts if len(key) == 3 and key[0] == stage))


def _losses(history: Mapping[str, Curve], stage: str) -> list[str]:
    """Keys of the losses of a stage; that of all together where it is not the only one's."""
    each = [f"{stage}/{name}/loss" for name in _names(history, stage)]
    every = each if len(each) == 1 else [f"{stage}/loss", *each]
    return [key for key in every if key in history]


def _main_metrics(history: Mapping[str, Curve]) -> list[str]:
    keys = []
    for task in _names(history, "validation"):
        start = f"validation/{task}/"
        found = [key for key in history if key.startswith(start) and key != f"{start}loss"]
        wanted = (f"{start}auroc", f"{start}accuracy", *found)
        keys += [key for key in wanted if key in found][:1]
    return keys


def _best_epoch(curve: Curve, higher_is_better: bool) -> int | None:
    finite = [(value, epoch) for epoch, value in curve if np.isfinite(value)]
    if not finite:
        return None
    best = max(finite)[0] if higher_is_better else min(finite)[0]
    return next(epoch for value, epoch in finite if value == best)


def _course(axes: Axes, curve: Curve, validation: bool, best: int | None) -> None:
    text, color, dashes = (
        ("validation", STRONG, "-") if validation else ("training", MUTED, (0, (4, 2)))
    )
    epochs, values = zip(*curve, strict=True)
    axes.plot(epochs, values, color=color, ls=dashes, lw=2, marker="o", ms=4, label=text)
    if validation and best is not None and best in epochs:
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
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, min_n_ticks=2))
    axes.margins(y=0.2)
    if best is not None:
        axes.axvline(best, color=WARM, lw=1, ls=":", label=f"best epoch {best}")
