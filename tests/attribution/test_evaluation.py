"""Scores against the truth, by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from seqmarket.attribution.attributor import Attribution
from seqmarket.attribution.evaluation import against_truth, truth_table
from seqmarket.attribution.journeys import Journeys
from seqmarket.data.simulation.truth import Truth

Make = Callable[..., Journeys]

TRUTH = Truth(
    expected=10.0,
    organic=4.0,
    purchases=9,
    channels=pl.DataFrame(
        {"channel": ["mail", "search", "app", "gone"], "shapley": [5.0, 3.0, 0.0, -2.0]}
    ),
    customers=pl.DataFrame(),
    touches=None,
)


@pytest.fixture
def journeys(make: Make) -> Journeys:
    return make([[(1.0, "mail"), (2.0, "search"), (3.0, "app"), (4.0, "buy")]])


def said(method: str, mail: float, search: float, app: float, organic: float) -> Attribution:
    credit = np.array([mail, search, app])
    return Attribution(method, "expected", credit, np.array([organic]), credit, np.array([organic]))


def test_scores_are_as_by_hand(journeys: Journeys) -> None:
    scores = against_truth(journeys, said("some", 4.0, 3.0, 1.0, 5.0), TRUTH)
    # Shares .5, .375, .125 and 0; true ones 5/6, 3/6, 0 and -2/6.
    errors = [0.5 - 5 / 6, 0.375 - 0.5, 0.125, 1 / 3]
    assert scores.channels["error"].to_list() == pytest.approx(errors)
    assert scores.share_error == pytest.approx(np.abs(errors).mean())
    assert scores.rank_correlation == pytest.approx(1.0)
    assert scores.organic_error == pytest.approx(0.25)
    assert scores.total_error == pytest.approx(0.3)
    assert scores.placebo_share == pytest.approx(1 / 8)
    assert scores.harm_seen is False


def test_the_truth_itself_has_no_error(journeys: Journeys) -> None:
    channels = pl.DataFrame({"channel": ["mail", "search", "app"], "shapley": [5.0, -1.0, 0.0]})
    truth = Truth(10.0, 6.0, 9, channels, pl.DataFrame(), None)
    scores = against_truth(journeys, said("true", 5.0, -1.0, 0.0, 6.0), truth)
    assert (scores.share_error, scores.organic_error, scores.placebo_share) == (0, 0, 0)
    assert scores.rank_correlation == pytest.approx(1)
    assert scores.harm_seen is True


def test_credit_of_what_the_world_does_not_know_is_an_error(journeys: Journeys) -> None:
    """Visits that were taken for touches do nothing."""
    truth = Truth(
        10.0, 2.0, 9, pl.DataFrame({"channel": ["mail"], "shapley": [8.0]}), pl.DataFrame(), None
    )
    scores = against_truth(journeys, said("some", 6.0, 0.0, 2.0, 2.0), truth)
    assert scores.channels["channel"].to_list() == ["mail", "app"]
    assert scores.channels["share"].to_list() == [0.75, 0.25]
    assert scores.share_error == pytest.approx(0.25)
    assert scores.placebo_share == pytest.approx(0.25)


def test_methods_stand_by_their_error(journeys: Journeys) -> None:
    found = {"bad": said("bad", 0.0, 1.0, 9.0, 0.0), "good": said("good", 5.0, 3.0, 0.0, 4.0)}
    table = truth_table(journeys, found, TRUTH)
    assert table["method"].to_list() == ["good", "bad"]
    assert "channels" not in table.columns


def test_no_credit_at_all_is_no_share(journeys: Journeys) -> None:
    scores = against_truth(journeys, said("none", 0.0, 0.0, 0.0, 9.0), TRUTH)
    assert np.isnan(scores.share_error)
    assert (scores.placebo_share, scores.rank_correlation) == (0.0, 0.0)
