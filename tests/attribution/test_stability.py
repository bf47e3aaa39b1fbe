"""Stability: what moves is noticed, and what cannot move does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar

import numpy as np
import pytest

from seqmarket.attribution.attributor import Attribution, Evidence
from seqmarket.attribution.first import FirstTouch
from seqmarket.attribution.journeys import Journeys
from seqmarket.attribution.linear import Linear
from seqmarket.attribution.regression import Regression
from seqmarket.attribution.sharing import observed
from seqmarket.attribution.stability import once, stability_table, without_some
from seqmarket.errors import SeqmarketError

Make = Callable[..., Journeys]
MOVES = ("lookback_half", "lookback_double", "lost_10", "lost_20")


def scores(journeys: Journeys, method: Any, **settings: Any) -> dict[str, Any]:
    evidence = Evidence(journeys, journeys)
    found = {"it": method.attribute(evidence)}
    table = stability_table(evidence, found, {"it": method}, n_resamples=50, seed=1, **settings)
    return table.row(0, named=True)


class Fixed:
    """All channels have the same, whatever there is; unless `by` says how they depend on it."""

    signed: ClassVar[bool] = False

    def __init__(self, by: Callable[[Journeys], float] = lambda _: 1.0) -> None:
        self.by = by

    def attribute(self, evidence: Evidence) -> Attribution:
        journeys = evidence.journeys
        number = np.bincount(journeys.channel, minlength=len(journeys.channels))
        credit = 1 / number[journeys.channel]
        credit[journeys.channel == 1] *= self.by(journeys)
        return observed("it", journeys, credit, credit)


@pytest.fixture(scope="module")
def journeys(make: Make, random_log: Callable[[int], Any]) -> Journeys:
    return make(random_log(3))


def stays(journeys: Journeys, method: Any) -> None:
    found = scores(journeys, method)
    assert [found[move] for move in MOVES] == pytest.approx([0, 0, 0, 0])


def test_what_does_not_depend_on_it_stays(journeys: Journeys) -> None:
    stays(journeys, Fixed())


@pytest.mark.parametrize(
    "by",
    [
        lambda journeys: journeys.settings.lookback / timedelta(days=1),
        lambda journeys: float(journeys.is_touch.sum()),
    ],
    ids=["lookback", "touches"],
)
def test_what_depends_on_it_is_noticed(journeys: Journeys, by: Callable[[Journeys], float]) -> None:
    with pytest.raises(AssertionError):
        stays(journeys, Fixed(by))


def test_by_how_much_is_known(make: Make) -> None:
    """Half the lookback forgets the first of two touches: all moves from search to mail."""
    journeys = make([[(1, "search"), (8, "mail"), (10, "buy")]])
    found = scores(journeys, FirstTouch())
    assert found["lookback_half"] == pytest.approx(1.0)
    assert found["lookback_double"] == pytest.approx(0.0)
    assert scores(journeys, Linear())["lookback_half"] == pytest.approx(0.5)


def test_some_touches_are_lost_and_nothing_else(journeys: Journeys) -> None:
    less = without_some(journeys, 0.2, 1)
    before, after = journeys.events, less.events
    assert after.purchase.sum() == before.purchase.sum()
    assert (~less.is_touch).sum() == (~journeys.is_touch).sum()
    assert 0.7 < less.is_touch.sum() / journeys.is_touch.sum() < 0.9
    assert after.n_customers == before.n_customers
    for customer in range(before.n_customers):
        mine = slice(*before.offsets[customer : customer + 2])
        left = slice(*after.offsets[customer : customer + 2])
        assert set(after.time[left].tolist()) <= set(before.time[mine].tolist())
    same, other = (without_some(journeys, 0.2, seed) for seed in (1, 2))
    assert np.array_equal(same.events.time, after.time)
    assert not np.array_equal(other.events.time, after.time)


def test_without_a_touch_there_is_nothing_to_move(make: Make) -> None:
    with pytest.raises(SeqmarketError, match="no touch whose share"):
        scores(make([[(1, "buy")]]), Linear())


def test_who_has_one_touch_alone_is_still_there(make: Make) -> None:
    log = [[(1, "mail"), (2, "search"), (3, "buy"), (4, "mail"), (5, "buy")]] * 30
    journeys = make([*log, *([[(2, "mail")]] * 30)])
    assert (np.diff(without_some(journeys, 0.2, 1).events.offsets) > 0).all()
    found = scores(journeys, Regression(groups=0))
    assert all(found[move] is not None for move in MOVES)


def test_intervals_are_as_wide_as_customers_differ(make: Make) -> None:
    alike = [[(1, "mail"), (2, "search"), (3, "buy")]] * 9
    apart = [[(1, name), (3, "buy")] for name in ["mail", "search"] * 9]
    assert scores(make(alike), Linear())["interval_width"] == pytest.approx(0)
    assert scores(make(apart), Linear())["interval_width"] > 0.1


class OnlyAsItIs(Linear):
    """Refuses every other lookback."""

    def attribute(self, evidence: Evidence) -> Attribution:
        if evidence.journeys.settings.lookback != timedelta(days=10):
            raise SeqmarketError("too little", where="here")
        return super().attribute(evidence)


def test_where_a_method_cannot_be_used_nothing_is_said(journeys: Journeys) -> None:
    found = scores(journeys, OnlyAsItIs())
    assert found["lookback_half"] is None
    assert found["lookback_double"] is None
    assert found["lost_10"] > 0


def test_there_are_no_shares_of_harm(journeys: Journeys) -> None:
    found = scores(journeys, Fixed(lambda _: -99.0))
    assert [found[move] for move in MOVES] == [None] * 4


def test_what_is_learnt_from_changes_as_well(journeys: Journeys) -> None:
    class Sees(Linear):
        seen: ClassVar[list[tuple[timedelta, int]]] = []

        def attribute(self, evidence: Evidence) -> Attribution:
            past = evidence.history
            self.seen.append((past.settings.lookback, int(past.is_touch.sum())))
            return super().attribute(evidence)

    scores(journeys, Sees())
    (day, all_of_them), half, double, tenth, fifth = Sees.seen
    assert (half[0], double[0]) == (day / 2, day * 2)
    assert fifth[1] < tenth[1] < all_of_them


def test_no_group_is_left_out_anew() -> None:
    method = once(Regression(groups=7))
    assert isinstance(method, Regression)
    assert method.groups == 0
    rule = Linear()
    assert once(rule) is rule


def test_no_intervals_are_no_mistake(journeys: Journeys) -> None:
    evidence = Evidence(journeys, replace(journeys))
    found = {"it": Linear().attribute(evidence)}
    table = stability_table(evidence, found, {"it": Linear()}, n_resamples=0)
    assert table["interval_width"].to_list() == [None]
