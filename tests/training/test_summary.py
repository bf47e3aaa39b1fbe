import io
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import pytest
from rich.console import Console

from seqmarket.metrics.resampling import Interval
from seqmarket.training.results import (
    HIGHER_IS_BETTER,
    TaskResult,
    format_interval,
    format_number,
    gain_of_ensemble,
    main_metrics,
    standings,
)
from seqmarket.training.summary import FinalTable, print_summary, to_markdown, to_rows, to_text

NAN = float("nan")


def around(estimate: float, half: float = 0.01) -> Interval:
    return Interval(estimate, estimate - half, estimate + half)


def binary(auroc: float, precision: float, log_loss: float, error: float) -> dict[str, Interval]:
    return {
        "auroc": around(auroc),
        "average_precision": around(precision),
        "log_loss": around(log_loss),
        "brier": around(log_loss / 4),
        "calibration_error": around(error),
        "lift_at_10": around(2.5),
    }


def differences(auroc: float, precision: float, log_loss: float) -> Mapping[str, Interval]:
    return {
        "auroc": around(auroc, 0.001),
        "average_precision": around(precision, 0.001),
        "log_loss": around(log_loss, 0.001),
    }


CHURN = TaskResult(
    task="churn",
    kind="binary",
    n_rows=15_210,
    n_customers=2_298,
    base_rate=0.1,
    models={
        "transformer": binary(0.844, 0.392, 0.255, 0.012),
        "gbdt": binary(0.846, 0.4, 0.26, 0.009),
        "rfm_logistic": binary(0.839, 0.37, 0.257, 0.02),
    },
    differences={
        "gbdt": differences(-0.002, -0.008, -0.005),
        "rfm_logistic": differences(0.005, 0.022, -0.0005),
    },
    period=(date(2017, 10, 1), date(2017, 11, 5)),
)
NEXT_CHANNEL = TaskResult(
    task="next_channel",
    kind="categorical",
    n_rows=31_777,
    n_customers=2_433,
    base_rate=None,
    models={
        "transformer": {"accuracy": around(0.713), "log_loss": around(1.012)},
        "repeat_last": {"accuracy": around(0.66), "log_loss": Interval(NAN, NAN, NAN)},
    },
    differences={"repeat_last": {"accuracy": around(0.053), "log_loss": Interval(NAN, NAN, NAN)}},
)


VALUE = TaskResult(
    task="value",
    kind="amount",
    n_rows=15_000,
    n_customers=2_298,
    base_rate=None,
    models={
        "transformer": {
            "mean_absolute_error": around(61.25, 2.0),
            "gini": around(0.61),
            "root_mean_squared_error": around(120.5, 9.0),
            "total_error": around(0.031),
        },
        "gbdt": {"mean_absolute_error": around(63.0, 2.0), "gini": around(0.64)},
    },
    differences={"gbdt": {"mean_absolute_error": around(-1.75, 0.5), "gini": around(-0.03)}},
)
TIME_TO_NEXT = TaskResult(
    task="time_to_next",
    kind="duration",
    n_rows=31_777,
    n_customers=2_433,
    base_rate=None,
    models={
        "transformer": {
            "coverage_error": around(0.01),
            "mean_absolute_error": around(3.767),
            "pinball_loss": around(1.577),
        }
    },
)


def _row(text: str, model: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(model))


def test_best_of_each_column_is_marked_in_its_own_direction() -> None:
    text = to_text([CHURN])
    assert ".846* [.836, .856]" in _row(text, "gbdt")
    assert ".400* [.390, .410]" in _row(text, "gbdt")
    assert ".255* [.245, .265]" in _row(text, "transformer")
    assert ".009*" in _row(text, "gbdt")
    assert "*" not in _row(text, "rfm_logistic")


def test_below_and_at_or_above_are_said_with_the_paired_difference() -> None:
    text = " ".join(to_text([CHURN]).split())
    assert (
        "AUROC: transformer stands below gbdt, the best baseline: -.0020 [-.0030, -.0010]" in text
    )
    assert "AP: transformer stands below gbdt" in text
    assert "log loss: transformer stands at or above rfm_logistic, the best baseline" in text
    assert "-.0005 [-.0015, +.0005] (lower is better), not beyond sampling error" in text


def test_standing_turns_with_the_sign_of_the_difference() -> None:
    better = replace(CHURN, differences={"gbdt": differences(0.002, 0.008, 0.005)})
    assert [(s.metric, s.at_or_above) for s in standings(better)] == [
        ("auroc", True),
        ("average_precision", True),
        ("log_loss", False),
    ]
    assert [s.at_or_above for s in standings(CHURN)] == [False, False, True]
    equal = replace(CHURN, differences={"gbdt": differences(0.0, 0.0, 0.0)})
    assert all(s.at_or_above and not s.decided for s in standings(equal))


def test_best_baseline_is_chosen_per_metric_among_the_compared() -> None:
    assert [s.baseline for s in standings(CHURN)] == ["gbdt", "gbdt", "rfm_logistic"]
    only = replace(CHURN, differences={"rfm_logistic": CHURN.differences["rfm_logistic"]})
    assert {s.baseline for s in standings(only)} == {"rfm_logistic"}


def test_an_undefined_baseline_is_not_compared_with_and_shows_as_missing() -> None:
    assert [s.metric for s in standings(NEXT_CHANNEL)] == ["accuracy"]
    row = _row(to_text([NEXT_CHANNEL]), "repeat_last").split()
    assert row[-1] == "-"


def test_a_difference_without_interval_makes_no_claim_about_sampling() -> None:
    bare = Interval(0.002, NAN, NAN)
    result = replace(CHURN, differences={"gbdt": dict.fromkeys(CHURN.metrics, bare)})
    assert standings(result)[0].sentence("lstm").endswith("the best baseline: +.0020")


def test_a_lone_model_is_said_to_be_uncompared() -> None:
    alone = replace(CHURN, models={"gbdt": CHURN.models["gbdt"]}, differences={})
    for text in (to_text([alone]), to_markdown([alone])):
        assert "gbdt was not compared with any baseline." in text


def test_caption_states_rows_customers_positives_and_period() -> None:
    first = to_text([CHURN]).splitlines()[0]
    assert first == (
        "churn: 15,210 rows of 2,298 customers, 1,521 positive (10.0%), 2017-10-01 to 2017-11-05"
    )
    assert "positive" not in to_text([NEXT_CHANNEL]).splitlines()[0]


@pytest.mark.parametrize("width", [80, 100])
def test_plain_text_fits_its_width_without_cuts_or_control_characters(width: int) -> None:
    text = to_text([CHURN, NEXT_CHANNEL], width)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    assert "…" not in text
    for model in CHURN.models:
        assert model in text
    for value in ("[.834, .854]", "[.382, .402]", "[.245, .265]", "2.500"):
        assert value in text


def test_a_row_takes_one_line_at_width_100() -> None:
    text = to_text([CHURN])
    assert _row(text, "rfm_logistic").count("[") == 3


def test_terminal_shows_the_best_in_bold() -> None:
    console = Console(width=100, force_terminal=True, color_system="standard", file=io.StringIO())
    with console.capture() as capture:
        console.print(FinalTable([CHURN]))
    assert "\x1b[1;32m.846* [.836, .856]\x1b[0m" in capture.get()


def test_print_summary_is_plain_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_summary([CHURN])
    printed = capsys.readouterr().out
    assert "transformer stands below gbdt" in printed
    assert "\x1b" not in printed


def test_markdown_is_a_table_with_the_best_in_bold() -> None:
    text = to_markdown([CHURN, NEXT_CHANNEL])
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows[:5]} == {8}
    assert "| **.846 [.836, .856]** | **.400 [.390, .410]** |" in text
    assert "- AUROC: transformer stands below gbdt" in text
    assert "| - |" in _row(text, "| repeat_last")


def test_rows_are_plain_and_complete() -> None:
    rows = to_rows([CHURN, NEXT_CHANNEL])
    json.dumps(rows, allow_nan=False)
    assert len(rows) == 3 * 6 + 2 * 2
    gbdt = next(row for row in rows if row["model"] == "gbdt" and row["metric"] == "auroc")
    assert gbdt["estimate"] == 0.846
    assert gbdt["best"] is True
    assert gbdt["difference"] == -0.002
    own = next(row for row in rows if row["model"] == "transformer" and row["metric"] == "auroc")
    assert own["difference"] is None
    assert rows[-1]["metric"] == "log_loss"
    assert rows[-1]["estimate"] is None


def test_errors_are_better_where_they_are_lower() -> None:
    text = to_text([VALUE])
    assert "61.250* [59.250, 63.250]" in _row(text, "transformer")
    assert ".640* [.630, .650]" in _row(text, "gbdt")
    assert [(s.metric, s.at_or_above, s.decided) for s in standings(VALUE)] == [
        ("mean_absolute_error", True, True),
        ("gini", False, True),
    ]
    said = " ".join(text.split())
    assert "MAE: transformer stands at or above gbdt, the best baseline: -1.7500" in said
    assert said.endswith("Lower is better: MAE, RMSE, total error.")


def test_neither_amounts_nor_durations_have_positives() -> None:
    for result in (VALUE, TIME_TO_NEXT):
        assert "positive" not in to_text([result])
        assert {row["base_rate"] for row in to_rows([result])} == {None}
    assert TIME_TO_NEXT.metrics == ("mean_absolute_error", "pinball_loss", "coverage_error")
    header = to_markdown([TIME_TO_NEXT]).splitlines()[2]
    assert header == "| model | MAE | pinball | coverage error |"


def test_the_gain_of_an_ensemble_is_said_and_is_no_standing() -> None:
    member = {"mean_absolute_error": around(-0.25, 0.1), "gini": around(0.02)}
    both = replace(
        VALUE,
        models={**VALUE.models, "transformer_alone": VALUE.models["transformer"]},
        differences={**VALUE.differences, "transformer_alone": member},
        alone="transformer_alone",
    )
    assert gain_of_ensemble(both) == (
        "the ensemble against its first member alone: MAE -.2500 [-.3500, -.1500], "
        "Gini +.0200 [+.0100, +.0300]"
    )
    assert {standing.baseline for standing in standings(both)} == {"gbdt"}
    assert "the ensemble against its first member alone: MAE" in to_markdown([both])
    assert gain_of_ensemble(VALUE) is None


def test_main_metrics_come_first_and_have_a_direction() -> None:
    assert set(VALUE.metrics) | set(TIME_TO_NEXT.metrics) <= set(HIGHER_IS_BETTER)
    assert main_metrics("time_to_next", "duration") == ("mean_absolute_error", "pinball_loss")
    assert CHURN.metrics[:3] == ("auroc", "average_precision", "log_loss")
    assert main_metrics("purchase", "binary") == ("auroc", "log_loss")
    assert main_metrics("a_task_of_the_user", "categorical") == ("accuracy", "log_loss")
    assert set(CHURN.metrics) <= set(HIGHER_IS_BETTER)


@pytest.mark.parametrize(
    ("value", "signed", "expected"),
    [
        (0.8124, False, ".812"),
        (1.0, False, "1.000"),
        (-0.0124, False, "-.012"),
        (10.5, False, "10.500"),
        (0.8124, True, "+.812"),
        (NAN, True, "-"),
    ],
)
def test_format_number(value: float, signed: bool, expected: str) -> None:
    assert format_number(value, signed=signed) == expected


def test_format_interval() -> None:
    assert format_interval(Interval(0.812, 0.806, 0.818)) == ".812 [.806, .818]"
    assert format_interval(Interval(0.812, NAN, NAN)) == ".812"
