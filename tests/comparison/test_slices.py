"""Slices divide the rows, hide small cells, and find where a model is worse."""

from __future__ import annotations

import polars as pl
import pytest

from seqmarket.comparison.contest import run_contest
from seqmarket.comparison.matched import match
from seqmarket.comparison.slices import LEAST_CUSTOMERS, slice_table, worst


@pytest.fixture
def contest(make_run, contend):
    good = make_run(noise=0.1)
    bad = make_run(noise=0.1, seed=2)
    # Worse among the customers whose last event was by mail, and nowhere else.
    mail = bad.predictions["customer"] % 3 == 0
    spoiled = bad.predictions.with_columns(
        probability=pl.when(mail).then(1 - pl.col("probability")).otherwise("probability")
    )
    bad.__dict__["predictions"] = spoiled
    contenders = [contend("good", good), contend("bad", bad)]
    return run_contest(contenders, match(contenders), n_resamples=100)


def test_each_way_divides_all_rows(contest) -> None:
    table, small = slice_table(contest)
    churn = table.filter(task="churn", contender="good")
    per_kind = churn.group_by("slice").agg(pl.col("rows").sum())
    whole = per_kind.filter(pl.col("slice") != "region")
    assert set(whole["rows"]) == {240}
    assert small == 3  # region=tiny, of each task
    assert per_kind.filter(slice="region")["rows"].item() == 240 - 4 * 4


def test_cells_of_few_customers_are_not_shown(contest) -> None:
    table, _ = slice_table(contest)
    assert table["customers"].min() >= LEAST_CUSTOMERS
    assert "tiny" not in table["value"].to_list()


def test_where_it_is_worse_is_found(contest) -> None:
    table, _ = slice_table(contest)
    named = worst(table.filter(task="churn"), "bad", 0.95)
    assert named[0]["slice"] == "channel of the last event"
    assert named[0]["value"] == "mail"
    assert worst(table.filter(task="churn"), "good", 0.95) == []


def test_calibration_is_said_of_a_yes_or_no_only(contest) -> None:
    table, _ = slice_table(contest)
    assert table.filter(task="churn")["calibration"].null_count() == 0
    assert table.filter(task="value")["calibration"].null_count() == len(table.filter(task="value"))
    mail = table.filter(task="churn", contender="good", value="mail").to_dicts()[0]
    assert mail["calibration_low"] < mail["calibration"] < mail["calibration_high"]


def test_differences_add_up_to_the_contest(contest) -> None:
    """A cell's estimate is the metric of its rows: accuracy, whose mean over cells is the whole."""
    table, _ = slice_table(contest)
    cells = table.filter(task="next_channel", contender="bad", slice="days since the last event")
    whole = (cells["estimate"] * cells["rows"]).sum() / cells["rows"].sum()
    assert whole == pytest.approx(
        contest.tasks["next_channel"].interval("bad", "accuracy").estimate
    )
