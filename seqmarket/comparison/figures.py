"""The figures of a comparison that MLflow shows, by names that line up in its compare page."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from seqmarket.comparison.contest import Contest
from seqmarket.training.plots import (
    calibration_curves,
    lift_curve,
    precision_recall_curves,
    roc_curves,
)
from seqmarket.training.plots.style import INK, MUTED, STRONG, dress, new_figure
from seqmarket.training.results import metric_name


def figures(contest: Contest) -> Iterator[tuple[str, Figure]]:
    """File name without its ending, and figure."""
    yield "differences", differences(contest)
    first = contest.contenders[0].name
    for name, task in contest.tasks.items():
        matched = task.matched
        if matched.kind != "binary":
            continue
        label = matched.label.astype(np.int64)
        scores = {contender: matched.probability(contender) for contender in matched.members}
        highlight = first if first in scores else None
        yield f"{name}_roc", roc_curves(label, scores, name, highlight)
        yield f"{name}_precision_recall", precision_recall_curves(label, scores, name, highlight)
        yield f"{name}_calibration", calibration_curves(label, scores, name, highlight)
        yield f"{name}_lift", lift_curve(label, scores, name, highlight)


def differences(contest: Contest) -> Figure:
    """Every tested difference, in units of its own standard error, so that all share an axis."""
    rows = [
        (f"{name}: {challenge.contender} and {task.reference}\n{metric_name(task.foremost)}", c)
        for name, task in contest.tasks.items()
        for challenge in task.challenges
        if challenge.metric == task.foremost and challenge.contender in contest.challengers
        for c in [challenge]
    ]
    figure = new_figure(12.0, max(3.0, 0.8 * len(rows) + 1.6))
    axes = figure.add_subplot()
    title = f"Differences to the reference, {contest.level:.0%} intervals"
    dress(axes, "difference in standard errors (right: higher)", "", title)
    axes.axvline(0, color=MUTED, linewidth=1)
    for place, (_, challenge) in enumerate(rows):
        found = challenge.difference
        scale = found.error if found.error > 0 else 1.0
        beyond = challenge.verdict(contest.level) in ("better", "worse")
        color = STRONG if beyond else MUTED
        axes.plot([found.low / scale, found.high / scale], [place, place], color=color, linewidth=3)
        axes.plot(found.estimate / scale, place, "o", color=color, markersize=9)
    axes.set_yticks(range(len(rows)), [text for text, _ in rows], color=INK)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    return figure
