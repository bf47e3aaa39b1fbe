"""Single journeys with the credit of each touch, without a name or a date."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqmarket.attribution.attributor import Attribution
from seqmarket.attribution.journeys import Journeys
from seqmarket.attribution.paths import Ints
from seqmarket.attribution.plots.colors import DIVERGING, around_zero, ink_on
from seqmarket.training.plots.journey import ago
from seqmarket.training.plots.style import INK, dress, new_figure, notice, plain

MOST_TOUCHES = 8
_TITLE = "Anonymous journeys to a conversion: credit of each touch, per conversion it counts for"


def sample_journeys(
    journeys: Journeys, attributions: Mapping[str, Attribution], number: int, seed: int
) -> Figure:
    """A panel per journey: a column per touch, oldest first, and a row per method.

    Journeys of different customers are drawn, with several touches of several channels where there
    are such. The newest `MOST_TOUCHES` are shown of each.

    Args:
        journeys: The journeys.
        attributions: By method.
        number: Of journeys.
        seed: Of the choice.
    """
    chosen = _choose(journeys, number, seed)
    if not len(chosen):
        return notice(_TITLE, "no conversion has a touch before it")
    paths = journeys.converting
    times = np.bincount(paths.rows()[1], minlength=len(journeys.touch))
    columns = min(2, len(chosen))
    rows = math.ceil(len(chosen) / columns)
    figure = new_figure(12.0, rows * (0.26 * len(attributions) + 1.9) + 0.9)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in panels.flat[len(chosen) :]:
        axes.set_axis_off()
    image = None
    for axes, path in zip(panels.flat, chosen, strict=False):
        touches = np.arange(paths.first[path], paths.stop[path])
        shown = touches[-MOST_TOUCHES:]
        credit = np.array([found.credit[shown] / times[shown] for found in attributions.values()])
        days = journeys.days_before(paths, np.full(len(shown), path), shown)
        image = axes.imshow(credit, cmap=DIVERGING, norm=around_zero(1.0), aspect="auto")
        _label(axes, journeys, shown, days, credit)
        axes.set_yticks(range(len(attributions)), list(attributions), fontsize=10)
        if len(touches) > len(shown):
            axes.set_title(
                f"newest {len(shown)} of {len(touches)} touches", fontsize=10, loc="left"
            )
    assert image is not None  # at least one journey was chosen
    bar = figure.colorbar(image, ax=panels, pad=0.01, shrink=0.6, extend="both")
    bar.set_label("credit", fontsize=11)
    bar.outline.set_visible(False)
    figure.suptitle(_TITLE, x=0.01, ha="left", fontsize=14, color=INK)
    return figure


def _label(
    axes: Axes, journeys: Journeys, touches: Ints, days: np.ndarray, credit: np.ndarray
) -> None:
    dress(axes)
    axes.grid(False)
    names = [
        f"{plain(journeys.channels[k])} · {ago(before)}"
        for k, before in zip(journeys.channel[touches], days, strict=True)
    ]
    axes.set_xticks(range(len(names)), names, fontsize=9, rotation=25)
    for text in axes.get_xticklabels():
        text.set(ha="right", rotation_mode="anchor")
    for (i, j), value in np.ndenumerate(credit):
        if abs(value) >= 0.005:
            axes.text(
                j, i, f"{value:.2f}", ha="center", va="center", fontsize=8, color=ink_on(value)
            )


def _choose(journeys: Journeys, number: int, seed: int) -> Ints:
    """Paths of several channels first, then of several touches, then any with a touch."""
    paths = journeys.converting
    size = paths.stop - paths.first
    path, touch = paths.rows()
    both = np.unique(path * len(journeys.channels) + journeys.channel[touch])
    distinct = np.bincount(both // len(journeys.channels), minlength=len(size))
    order = np.random.default_rng(seed).permutation(len(size))
    several = np.select([(distinct > 1) & (size > 2), size > 1], [0, 1], 2)
    # Very long ones would be cut.
    several = several + np.where(size > MOST_TOUCHES, 3, 0)
    order = order[np.argsort(several[order], kind="stable")]
    order = order[size[order] > 0]
    _, first = np.unique(journeys.converts[order], return_index=True)
    return np.asarray(order[np.sort(first)][:number])
