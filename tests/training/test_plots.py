import gc
import io
import re
import weakref
from collections.abc import Callable, Mapping

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from seqmarket.metrics.classification import binary_metrics
from seqmarket.metrics.resampling import Interval
from seqmarket.training import plots
from seqmarket.training.results import TaskResult

CHANNELS = ["store", "fuel", "mail_a", "coupon"]


def binary_scores(n: int = 600) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    rng = np.random.default_rng(1)
    signal = rng.normal(size=n)
    label = (signal + rng.normal(size=n) > 1.2).astype(np.int64)
    return label, {
        "gbdt": 1 / (1 + np.exp(-signal - rng.normal(size=n))),
        "transformer": 1 / (1 + np.exp(1.5 - signal)),
        "majority": np.full(n, label.mean()),
    }


def causal_attention(n: int) -> NDArray[np.float64]:
    weights = np.tril(np.random.default_rng(2).random((n, n)))
    return weights / weights.sum(axis=1, keepdims=True)


def journey(n: int) -> Figure:
    channels = [CHANNELS[i % len(CHANNELS)] for i in range(n)]
    return plots.attention_journey(causal_attention(n), channels, [2.5 * (n - i) for i in range(n)])


def history() -> dict[str, list[tuple[int, float]]]:
    losses = [0.9, 0.6, 0.5, 0.55]
    return {
        "train/loss": list(enumerate(losses)),
        "validation/loss": list(enumerate(losses)),
        "train/time_to_purchase/loss": list(enumerate(losses)),
        "train/value/loss": list(enumerate(losses)),
        "validation/churn/loss": list(enumerate(losses)),
        "validation/churn/average_precision": list(enumerate([0.1, 0.2, 0.3, 0.2])),
        "validation/churn/auroc": list(enumerate([0.6, 0.8, 0.7, 0.7])),
        "validation/next_channel/loss": list(enumerate(losses)),
        "validation/value/loss": list(enumerate(losses)),
        "validation/value/mean_absolute_error": list(enumerate([20.0, 19.0, 18.5, 18.4])),
    }


def result(models: Mapping[str, float], task: str = "purchase") -> TaskResult:
    intervals = {name: {"auroc": Interval(x, x - 0.01, x + 0.01)} for name, x in models.items()}
    return TaskResult(task, "binary", 600, 90, 0.25, intervals)


def confusion(n_classes: int) -> Figure:
    rng = np.random.default_rng(3)
    label = rng.integers(n_classes, size=400)
    label[label == 2] = 1
    predicted = np.where(rng.random(400) < 0.5, label, rng.integers(n_classes, size=400))
    return plots.confusion_matrix(label, predicted, [f"channel_{i}" for i in range(n_classes)])


def _texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def _legend(figure: Figure, axes: int = 0) -> list[str]:
    legend = figure.axes[axes].get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def _render(figure: Figure) -> tuple[int, int]:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    header = buffer.getvalue()[16:24]
    return int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")


def _curve_makers() -> dict[str, Callable[[], Figure]]:
    label, scores = binary_scores()
    return {
        "roc": lambda: plots.roc_curves(label, scores, "churn", "transformer"),
        "precision_recall": lambda: plots.precision_recall_curves(label, scores, "churn", "gbdt"),
        "calibration": lambda: plots.calibration_curves(label, scores, "churn", "transformer"),
        "lift": lambda: plots.lift_curve(label, scores, "churn"),
        "scores": lambda: plots.score_distribution(label, scores["transformer"], "churn"),
        "learning": lambda: plots.learning_curves(history()),
        "confusion": lambda: confusion(15),
        "journey": lambda: journey(40),
        "comparison": lambda: plots.metric_comparison([result({"lstm": 0.8, "gbdt": 0.7})]),
    }


@pytest.mark.parametrize("name", list(_curve_makers()))
def test_every_figure_renders_and_leaves_nothing_behind(name: str) -> None:
    import matplotlib.pyplot as plt

    before = dict(mpl.rcParams)
    figure = _curve_makers()[name]()
    width, height = _render(figure)
    assert width == 1200
    assert 400 <= height <= 1200
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before
    reference = weakref.ref(figure)
    del figure
    gc.collect()
    assert reference() is None


def test_roc_legend_carries_sklearns_auroc_with_the_own_model_first() -> None:
    label, scores = binary_scores()
    figure = plots.roc_curves(label, scores, "churn", "transformer")
    expected = [
        f"{model}   AUROC {roc_auc_score(label, scores[model]):.3f}"
        for model in ("transformer", "gbdt", "majority")
    ]
    assert _legend(figure)[:3] == expected
    assert "churn" in figure.axes[0].get_title(loc="left")


def test_own_model_is_solid_and_wider_than_the_distinguishable_baselines() -> None:
    label, scores = binary_scores()
    lines = plots.roc_curves(label, scores, "churn", "transformer").axes[0].get_lines()
    own, *others = lines[:3]
    assert own.get_linestyle() == "-"
    assert all(own.get_linewidth() > line.get_linewidth() for line in others)
    looks = {(line.get_color(), str(line.get_linestyle())) for line in others}
    assert {line.get_linestyle() for line in others} == {"--"}
    assert len(looks) == len(others)


def test_precision_recall_carries_average_precision_and_base_rate() -> None:
    label, scores = binary_scores()
    figure = plots.precision_recall_curves(label, scores, "churn", "transformer")
    value = average_precision_score(label, scores["transformer"])
    assert _legend(figure)[0] == f"transformer   average precision {value:.3f}"
    base_rate = figure.axes[0].get_lines()[-1]
    assert set(base_rate.get_ydata()) == {label.mean()}
    assert f"base rate {label.mean():.3f}" in _legend(figure)


def test_calibration_error_is_that_of_the_metrics_and_ties_make_one_point() -> None:
    label, scores = binary_scores()
    figure = plots.calibration_curves(label, scores, "churn", "transformer")
    error = binary_metrics(label, scores["transformer"])["calibration_error"]
    assert _legend(figure)[0] == f"transformer   calibration error {error:.3f}"
    lines = {str(line.get_label()).split()[0]: line for line in figure.axes[0].get_lines()}
    assert list(lines["majority"].get_xdata()) == pytest.approx([label.mean()])
    assert list(lines["majority"].get_ydata()) == pytest.approx([label.mean()])


def test_lift_is_that_of_the_metrics_whatever_the_order_of_tied_rows() -> None:
    label, scores = binary_scores()
    scores = {model: np.round(score, 1) for model, score in scores.items()}
    legend = _legend(plots.lift_curve(label, scores, "churn", "transformer"))
    lift = binary_metrics(label, scores["transformer"])["lift_at_10"]
    assert legend[0] == f"transformer   lift at 10 % {lift:.2f}"
    assert "majority   lift at 10 % 1.00" in legend
    order = np.random.default_rng(4).permutation(len(label))
    shuffled = {model: score[order] for model, score in scores.items()}
    assert _legend(plots.lift_curve(label[order], shuffled, "churn", "transformer")) == legend


@pytest.mark.parametrize("value", [0, 1])
def test_one_class_is_said_and_does_not_crash(value: int) -> None:
    _, scores = binary_scores(50)
    label = np.full(50, value)
    for draw in (plots.roc_curves, plots.precision_recall_curves, plots.lift_curve):
        assert any("Only one class" in text for text in _texts(draw(label, scores, "churn")))
    _render(plots.calibration_curves(label, scores, "churn", "gbdt"))
    legend = _legend(plots.score_distribution(label, scores["gbdt"], "churn"))
    assert len(legend) == 1
    assert "50 rows" in legend[0]


def test_constant_zero_score_does_not_crash() -> None:
    label = np.array([0, 1, 0, 1])
    score = np.zeros(4)
    _render(plots.score_distribution(label, score, "churn"))
    _render(plots.calibration_curves(label, {"majority": score}, "churn"))


def test_score_distribution_counts_both_classes() -> None:
    label, scores = binary_scores()
    legend = _legend(plots.score_distribution(label, scores["gbdt"], "churn"))
    median = np.median(scores["gbdt"][label == 1])
    assert legend[0].startswith(f"no churn   {(label == 0).sum()} rows")
    assert legend[1] == f"churn   {label.sum()} rows, median {median:.3f}"


def test_confusion_matrix_is_row_normalised_and_marks_a_class_without_rows() -> None:
    label = np.array([0, 0, 0, 0, 1, 1])
    predicted = np.array([0, 0, 0, 1, 2, 1])
    figure = plots.confusion_matrix(label, predicted, ["store", "fuel", "mail"])
    axes = figure.axes[0]
    shares = axes.get_images()[0].get_array()
    assert shares is not None
    np.testing.assert_allclose(shares[:2], [[0.75, 0.25, 0], [0, 0.5, 0.5]])
    assert np.ma.getmaskarray(shares)[2].all()
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        "store (4)",
        "fuel (2)",
        "mail (0)",
    ]
    assert [patch.get_hatch() for patch in axes.patches] == ["//"]
    assert {"75%", "25%", "50%"} <= set(_texts(figure))
    assert "accuracy 0.667" in axes.get_title(loc="left")


def test_names_with_dollars_are_no_formulas() -> None:
    names, one = [r"$5 \or $9", "$1$"], np.ones(2, dtype=np.int64)
    _render(plots.confusion_matrix(one, one, names))
    _render(plots.attention_journey(np.eye(2), names, [2.0, 1.0]))


def test_many_classes_are_not_annotated() -> None:
    assert not any(re.fullmatch(r"<?\d+%", text) for text in _texts(confusion(30)))


def test_learning_curves_mark_the_best_epoch_of_the_monitor() -> None:
    lowest = plots.learning_curves(history())
    assert "best epoch 2" in _figure_legend(lowest)
    highest = plots.learning_curves(history(), "validation/churn/auroc", higher_is_better=True)
    assert "best epoch 1" in _figure_legend(highest)
    assert not any("best" in name for name in _figure_legend(plots.learning_curves(history(), "x")))


def test_learning_curves_have_a_panel_per_objective_task_and_main_metric() -> None:
    figure = plots.learning_curves(history())
    panels = [(axes.get_title(loc="left"), axes.get_ylabel()) for axes in figure.axes]
    assert panels == [
        *[(name, "") for name in ("all, weighted", "time_to_purchase", "value")],
        *[(name, "") for name in ("all, weighted", "churn", "next_channel", "value")],
        ("churn", "AUROC"),  # and no average precision
        ("value", "MAE"),
    ]
    assert _figure_legend(figure) == ["training", "validation", "best epoch 2"]
    for axes in figure.axes:
        (curve,) = [line for line in axes.get_lines() if len(line.get_xdata()) == 4]
        assert curve.get_label() == ("training" if axes in figure.axes[:3] else "validation")


@pytest.mark.parametrize("n_tasks", [1, 5, 6, 14])
def test_learning_curves_leave_no_panel_empty_however_many_tasks(n_tasks: int) -> None:
    curve = [(1, 0.5), (2, 0.4)]
    keys = [f"validation/task_{i}/{metric}" for i in range(n_tasks) for metric in ("loss", "auroc")]
    figure = plots.learning_curves(dict.fromkeys(["train/loss", "train/next/loss", *keys], curve))
    assert all(len(axes.get_lines()) > 0 for axes in figure.axes)
    assert len(figure.axes) == 1 + 2 * n_tasks
    width, height = _render(figure)
    assert (width, height <= 2_400) == (1_200, True)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles.count("all, weighted") == 0  # as no loss of all tasks was logged in validation


def test_learning_curves_pass_over_what_is_not_finite_and_stand_an_empty_history() -> None:
    broken = {"validation/loss": [(0, float("nan")), (1, 0.5), (2, float("inf"))]}
    assert "best epoch 1" in _figure_legend(plots.learning_curves(broken))
    assert "No epoch was completed." in _texts(plots.learning_curves({}))


def _figure_legend(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_attention_bars_are_the_weights_of_the_focused_state() -> None:
    weights = causal_attention(6)
    days = [9.0, 8.0, 7.0, 5.0, 1.0, 0.01]
    channels = ["store", "fuel", "mail_a", "store", "coupon", "store"]
    for focus, n_events in ((-1, 6), (3, 4)):
        figure = plots.attention_journey(weights, channels, days, focus)
        heights = [bar.get_height() for bar in figure.axes[0].patches]
        np.testing.assert_allclose(heights, weights[focus, :n_events])
        title = figure.axes[0].get_title(loc="left")
        assert "attention is descriptive, not causal" in title
        assert f"{n_events} events" in title
    labels = [text.get_text() for text in figure.axes[1].get_xticklabels()]
    assert labels == ["store · 9 d", "fuel · 8 d", "mail_a · 7 d", "store · 5 d"]


def test_a_long_journey_shows_its_newest_events_and_says_so() -> None:
    figure = journey(60)
    assert len(figure.axes[0].patches) == 40
    assert "newest 40 of 60 events" in figure.axes[0].get_title(loc="left")


def test_a_journey_shows_no_date() -> None:
    assert not any(re.search(r"\d{4}-\d{2}|\d{5,}", text) for text in _texts(journey(12)))


def test_metric_comparison_orders_models_and_shows_their_intervals() -> None:
    purchase = result({"transformer": 0.75, "gbdt": 0.8, "majority": 0.5})
    figure = plots.metric_comparison([purchase, result({"lstm": 0.6}, task="churn")])
    assert [axes.get_title(loc="left").split(":")[0] for axes in figure.axes] == [
        "purchase",
        "churn",
    ]
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["majority", "transformer", "gbdt"]
    assert ".750 [.740, .760]" in _texts(figure)
    own = figure.axes[0].get_yticklabels()[1]
    assert own.get_fontweight() == "bold"


def test_a_metric_whose_lowest_value_is_best_says_so() -> None:
    error = {"mean_absolute_error": Interval(20.0, 19.0, 21.0)}
    value = TaskResult("value", "amount", 600, 90, None, {"gru": error, "gbdt": error})
    figure = plots.metric_comparison([value, result({"gru": 0.7})])
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels == ["MAE with 95 % interval, lower is better", "AUROC with 95 % interval"]
