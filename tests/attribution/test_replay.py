"""Budgets: who is funded by credit, and what a plan is said to have brought."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seqmarket.attribution import replay as module
from seqmarket.attribution.attributor import Attribution
from seqmarket.attribution.journeys import Journeys
from seqmarket.attribution.replay import EVERYTHING, Known, by_credit, replay_table, uniform
from seqmarket.attribution.sharing import observed
from seqmarket.errors import SeqmarketError

Make = Callable[..., Journeys]

LOG = [
    [(0.5, "mail", 0.0, 1.0), (1, "mail", 0.0, 1.0), (2, "search", 0.0, 4.0), (3, "buy")],
    [(1, "search", 0.0, 4.0), (3, "buy")],
    [(1, "mail", 0.0, 1.0), (4, "shop", 0.0, 1.0), (5, "buy")],
    [(6, "shop", 0.0, 1.0), (9, "buy")],
    [(4, "buy")],
]


@pytest.fixture
def journeys(make: Make) -> Journeys:
    return make(LOG)


def saying(journeys: Journeys, **worth: float) -> Attribution:
    """Credit of the channels, divided among their touches."""
    number = np.bincount(journeys.channel, minlength=len(journeys.channels))
    each = np.array([worth.get(name, 0.0) for name in journeys.channels]) / np.maximum(number, 1)
    return observed("says", journeys, each[journeys.channel], each[journeys.channel])


def funds_the_best_first() -> None:
    credit, cost = np.array([4.0, 9.0, -1.0, 2.0, 0.0]), np.array([2.0, 9.0, 5.0, 4.0, 3.0])
    assert by_credit(credit, cost, 5.0).tolist() == [1, 1 / 3, 0, 0, 0]
    assert by_credit(credit, cost, 13.0).tolist() == [1, 1, 0, 0.5, 0]
    assert by_credit(credit, cost, 99.0).tolist() == [1, 1, 0, 1, 0]
    # What costs nothing stays, unless it does harm.
    free = np.array([1.0, 0.0, -1.0]), np.zeros(3)
    assert by_credit(*free, 0.0).tolist() == [1, 1, 0]


def test_the_most_credit_per_cost_is_funded_first() -> None:
    funds_the_best_first()


def test_other_orders_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.np, "argsort", lambda x, **_: np.arange(len(x))[::-1])
    with pytest.raises(AssertionError):
        funds_the_best_first()


@settings(deadline=None)
@given(
    cost=arrays(np.float64, 5, elements=st.just(0.0) | st.floats(0.01, 100)),
    credit=arrays(np.float64, 5, elements=st.floats(-10, 10)),
    part=st.floats(0, 1),
)
def test_no_budget_is_overdrawn(cost: np.ndarray, credit: np.ndarray, part: float) -> None:
    money = part * cost.sum()
    for kept in (by_credit(credit, cost, money), uniform(cost, money)):
        assert ((kept >= 0) & (kept <= 1)).all()
        assert kept @ cost <= money * (1 + 1e-9) + 1e-12  # a budget may be next to nothing
    assert uniform(cost, money) @ cost == pytest.approx(money)


def test_uniform_gives_every_channel_as_much() -> None:
    cost = np.array([10.0, 1.0, 6.0])
    assert (uniform(cost, 9.0) * cost).tolist() == [4, 1, 4]
    assert (uniform(cost, 15.0) * cost).tolist() == [8, 1, 6]


def test_paths_stay_whole_where_all_of_their_touches_are_paid(journeys: Journeys) -> None:
    """All but search cost 5 of 13."""
    found = {"says": saying(journeys, mail=3.0, shop=1.0, search=0.1)}
    table = replay_table(journeys, found, [0.0, 5 / 13, 1.0])
    whole = dict(table.filter(method="says").select("budget", "whole").iter_rows())
    assert whole == {0.0: 1, 5 / 13: 3, 1.0: 5}
    assert table.filter(method=EVERYTHING).to_dicts() == [
        {"method": EVERYTHING, "budget": 1.0, "spent": 1.0, "incremental": None, "whole": 5}
    ]
    assert table["method"].unique(maintain_order=True).to_list() == [
        "everything", "says", "uniform", "proportional",
    ]  # fmt: skip


def test_harm_is_not_funded_and_money_is_left(journeys: Journeys) -> None:
    found = {"says": saying(journeys, mail=3.0, search=-1.0)}
    row = replay_table(journeys, found, [1.0]).filter(method="says").to_dicts()[0]
    assert row["spent"] == pytest.approx(3 / 13)


def test_touches_before_the_period_are_paid_already(make: Make) -> None:
    journeys = make(
        [[(1, "mail", 0.0, 1.0), (12, "search", 0.0, 1.0), (13, "buy")]], first=5.0, lookback="20d"
    )
    found = {"says": saying(journeys, search=1.0)}
    table = replay_table(journeys, found, [1.0]).filter(method="says")
    assert table["whole"].to_list() == [1]
    assert table["spent"].to_list() == [1.0]


def known(asked: list[Sequence[Mapping[str, float]]] | None = None) -> Known:
    def outcome(plans: Sequence[Mapping[str, float]]) -> list[float]:
        if asked is not None:
            asked.append(plans)
        return [7 + 10 * plan["mail"] + 4 * plan["search"] - 3 * plan["shop"] for plan in plans]

    return Known({"mail": 10.0, "search": 4.0, "shop": -3.0}, outcome)


def test_what_follows_is_counted_over_no_touch(journeys: Journeys) -> None:
    asked: list[Any] = []
    found = {name: saying(journeys, shop=1.0, search=1.0) for name in ("one", "other")}
    table = replay_table(journeys, found, [3 / 13], known=known(asked))
    incremental = dict(table.select("method", "incremental").iter_rows())
    assert incremental[EVERYTHING] == pytest.approx(11)
    assert incremental["truth"] == pytest.approx(10)
    assert incremental["one"] == incremental["other"] == pytest.approx(-3 + 4 / 8)
    assert incremental["proportional"] == pytest.approx(11 * 3 / 13)
    # Both methods fund the same: that is asked once.
    assert [len(plans) for plans in asked] == [1 + 5]


def test_a_log_without_costs_counts_touches(make: Make) -> None:
    log = [[(1, "mail"), (2, "mail"), (3, "search"), (4, "buy")]]
    journeys = make(log)
    table = replay_table(journeys, {"says": saying(journeys, search=1.0)}, [0.5])
    assert table.filter(method="says")["spent"].to_list() == pytest.approx([1 / 3])


def test_the_lot_repeats_by_its_seed(make: Make) -> None:
    log = [[(1, "mail", 0.0, 1.0), (2, "buy")]] * 50
    journeys = make(log)
    found = {"says": saying(journeys, mail=1.0)}
    one, same, other = (
        replay_table(journeys, found, [0.5], seed=seed).filter(method="says")["whole"][0]
        for seed in (1, 1, 2)
    )
    assert one == same != other
    assert 10 < one < 40


def test_where_there_is_nothing_to_spend_it_is_refused(make: Make) -> None:
    journeys = make([[(1, "buy")]])
    with pytest.raises(SeqmarketError, match=r"replay=\[\]"):
        replay_table(journeys, {}, [0.5])


def test_it_is_a_frame_of_numbers(journeys: Journeys) -> None:
    table = replay_table(journeys, {"says": saying(journeys, mail=1.0)}, [0.5])
    assert table.schema["incremental"] == pl.Float64
