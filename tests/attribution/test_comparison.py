"""Methods beside each other, by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from seqmarket.attribution.attributor import Attribution
from seqmarket.attribution.comparison import comparison_table
from seqmarket.attribution.journeys import Journeys

Make = Callable[..., Journeys]


def said(method: str, *credit: float, organic: float = 0.0) -> Attribution:
    given, left = np.array(credit), np.array([organic])
    return Attribution(method, "anyway", given, left, given, left)


@pytest.fixture
def table(make: Make) -> pl.DataFrame:
    journeys = make([[(1.0, "mail"), (2.0, "search"), (3.0, "app"), (4.0, "buy")]])
    found = {
        "up": said("up", 1.0, 2.0, 3.0, organic=2.0),
        "down": said("down", 4.0, 3.0, -1.0),
        "flat": said("flat", 0.0, 0.0, 0.0, organic=1.0),
        "harm": said("harm", -1.0, -2.0, 1.0, organic=3.0),
    }
    return comparison_table(journeys, found)


def row(table: pl.DataFrame, method: str, other: str) -> dict[str, float]:
    return table.row(
        by_predicate=(pl.col("method") == method) & (pl.col("other") == other), named=True
    )


def test_each_method_stands_beside_each(table: pl.DataFrame) -> None:
    assert len(table) == 16
    found = row(table, "up", "down")
    assert (found["total"], found["organic"], found["organic_share"]) == (8.0, 2.0, 0.25)
    assert found["rank_correlation"] == pytest.approx(-1)
    shares = np.abs(np.array([1, 2, 3]) / 6 - np.array([4, 3, -1]) / 6)
    assert found["share_difference"] == pytest.approx(shares.mean())
    assert row(table, "down", "up")["negative"] == -1.0


def test_a_method_agrees_with_itself(table: pl.DataFrame) -> None:
    found = row(table, "up", "up")
    assert found["rank_correlation"] == pytest.approx(1)
    assert found["share_difference"] == 0


def test_where_nothing_can_be_compared_nothing_is_said(table: pl.DataFrame) -> None:
    found = row(table, "up", "flat")
    assert (found["rank_correlation"], found["share_difference"]) == (None, None)
    assert table["rank_correlation"].is_nan().sum() == 0


def test_there_are_no_shares_of_harm(table: pl.DataFrame) -> None:
    for pair in (("harm", "up"), ("up", "harm"), ("harm", "harm")):
        assert row(table, *pair)["share_difference"] is None
    assert row(table, "harm", "up")["rank_correlation"] == pytest.approx(0.5)
