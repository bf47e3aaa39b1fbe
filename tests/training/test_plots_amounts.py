"""Figures of amounts and durations: in tenths by what is expected, and what quantiles cover."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray

from seqmarket.metrics.amounts import AmountScores
from seqmarket.schema import QUANTILES
from seqmarket.training import plots

Numbers = NDArray[np.float64]


def amounts(n: int = 500) -> tuple[Numbers, dict[str, Numbers]]:
    """True amounts, and the expected ones and medians of three models."""
    rng = np.random.default_rng(5)
    expected = rng.gamma(2.0, 10.0, n)
    label = np.where(rng.random(n) < 0.6, expected * rng.gamma(3.0, 0.5, n), 0.0)
    same = np.full(n, label.mean())
    return label, {
        "gru": np.stack([0.9 * expected, 0.7 * expected], axis=1),
        "repeat_last": rng.gamma(2.0, 10.0, (n, 2)),
        "majority": np.stack([same, np.full(n, np.median(label))], axis=1),
    }


def durations(n: int = 2_000) -> tuple[Numbers, dict[str, Numbers]]:
    """True days, and quantiles that are right, and half as long as they should be."""
    label = np.random.default_rng(6).exponential(3.0, n)
    quantiles = np.tile(-3.0 * np.log1p(-np.array(QUANTILES)), (n, 1))
    return label, {"gru": quantiles, "hasty": quantiles / 2}


def legend_of(figure: Figure) -> list[str]:
    legend = figure.axes[0].get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def render(figure: Figure) -> tuple[int, int]:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    header = buffer.getvalue()[16:24]
    return int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")


def test_both_figures_render() -> None:
    assert render(plots.amounts_by_group(*amounts(), "value", "gru")) == (1200, 800)
    assert render(plots.quantile_coverage(*durations(), "time_to_next", "gru")) == (1200, 800)


def groups_are_means_of_tenths(figure: Figure, label: Numbers, expected: Numbers) -> None:
    lines = {str(line.get_label()).split()[0]: line for line in figure.axes[0].get_lines()}
    order = np.argsort(expected)
    tenths = np.array_split(order, 10)
    own = lines["gru"]
    assert list(own.get_xdata()) == pytest.approx([expected[rows].mean() for rows in tenths])
    assert list(own.get_ydata()) == pytest.approx([label[rows].mean() for rows in tenths])
    # Who expects the same of everyone has one point.
    assert list(lines["majority"].get_ydata()) == pytest.approx([label.mean()])


def test_amounts_are_compared_in_tenths_and_ties_make_one_point() -> None:
    label, predictions = amounts()
    figure = plots.amounts_by_group(label, predictions, "value", "gru")
    groups_are_means_of_tenths(figure, label, predictions["gru"][:, 0])
    error = AmountScores(label, predictions["gru"]).evaluate()[0]
    assert legend_of(figure)[0] == f"gru   MAE of the median {error:.3g}"
    shuffled = np.random.default_rng(1).permutation(len(label))
    again = {model: values[shuffled] for model, values in predictions.items()}
    figure = plots.amounts_by_group(label[shuffled], again, "value", "gru")
    groups_are_means_of_tenths(figure, label, predictions["gru"][:, 0])


def test_groups_that_depend_on_the_order_of_tied_rows_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def split_ties(label: Numbers, expected: Numbers, bins: int) -> tuple[Numbers, Numbers, None]:
        rows = np.array_split(np.argsort(expected, kind="stable"), bins)
        mean, true = (np.array([x[r].mean() for r in rows]) for x in (expected, label))
        return mean, true, None

    monkeypatch.setattr("seqmarket.training.plots.amounts.reliability", split_ties)
    label, predictions = amounts()
    figure = plots.amounts_by_group(label, predictions, "value", "gru")
    with pytest.raises(AssertionError):
        groups_are_means_of_tenths(figure, label, predictions["gru"][:, 0])


def test_amounts_of_nothing_do_not_crash() -> None:
    nothing = np.zeros(30)
    render(plots.amounts_by_group(nothing, {"gru": np.zeros((30, 2))}, "value"))


def test_right_quantiles_lie_on_the_diagonal() -> None:
    label, predictions = durations()
    figure = plots.quantile_coverage(label, predictions, "time_to_next", "gru")
    lines = {str(line.get_label()).split()[0]: line for line in figure.axes[0].get_lines()}
    assert list(lines["gru"].get_ydata()) == pytest.approx(QUANTILES, abs=0.04)
    for share, covered in zip(QUANTILES, lines["hasty"].get_ydata(), strict=True):
        assert covered == pytest.approx(1 - (1 - share) ** 0.5, abs=0.04)
    error = np.abs(label - 3.0 * np.log(2.0)).mean()
    assert legend_of(figure)[0] == f"gru   MAE of the median {error:.3g} days"
    assert "2,000 rows" in figure.axes[0].get_title(loc="left")
