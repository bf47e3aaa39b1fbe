"""A hold-out: the groups are compared as they were drawn, and credit is held against them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from seqmarket.attribution.attributor import Attribution
from seqmarket.attribution.holdout import has_holdout, holdout_table
from seqmarket.attribution.journeys import Journeys
from seqmarket.attribution.sharing import observed
from seqmarket.errors import SeqmarketError
from seqmarket.schema import SPECIAL_TOKENS, CategoricalFeature

Make = Callable[..., Journeys]
GROUPS = ("all", "mail", "none")


def held_out(journeys: Journeys, group: list[str], name: str = "held_out") -> Journeys:
    """The same log, with what each customer was kept from; `?` is of no known group."""
    column = [GROUPS.index(g) + SPECIAL_TOKENS if g in GROUPS else 1 for g in group]
    feature = CategoricalFeature(name, GROUPS)
    events = replace(journeys.events, static_categorical=np.array(column, dtype=np.int32)[:, None])
    return replace(
        journeys, events=events, spec=replace(journeys.spec, static_categorical=(feature,))
    )


@pytest.fixture(scope="module")
def drawn(make: Make) -> Journeys:
    """Ten of each group; those kept from nothing buy twice, from mail once, from all never."""
    log, group = [], []
    for name, purchases in (("none", 2), ("mail", 1), ("all", 0), ("?", 3)):
        for i in range(10):
            first = "search" if name == "mail" else "app" if name == "all" else "mail"
            # One in ten buys once more, so that there is a spread.
            bought = purchases + (i == 0)
            journey: list[tuple[Any, ...]] = [(1.0, first)]
            log.append(journey + [(2.0 + k, "buy") for k in range(bought)])
            group.append(name)
    return held_out(make(log), group)


def saying(journeys: Journeys, **worth: float) -> Attribution:
    each = np.array([worth.get(name, 0.0) for name in journeys.channels])[journeys.channel]
    return observed("says", journeys, each, each)


def agrees_with_the_lot(journeys: Journeys, found: Attribution) -> None:
    rows = holdout_table(journeys, {"says": found}).to_dicts()
    assert [row["channel"] for row in rows] == ["mail", "all"]
    assert all(row["agrees"] for row in rows[:1])


def test_groups_are_compared(drawn: Journeys) -> None:
    mail, everything = holdout_table(drawn, {"says": saying(drawn, mail=1.0)}).to_dicts()
    assert (mail["customers"], mail["held_out"]) == (10, 10)
    assert mail["incremental"] == pytest.approx(1.0)
    assert everything["incremental"] == pytest.approx(2.0)
    # Both means have a variance of .1 and ten customers: 1.645 * sqrt(.02).
    assert mail["incremental_high"] - mail["incremental"] == pytest.approx(0.2326, abs=1e-4)
    assert mail["credit"] == everything["credit"] == pytest.approx(1.0)
    assert mail["agrees"]
    assert not everything["agrees"]


def test_credit_that_the_lot_refutes_is_noticed(drawn: Journeys) -> None:
    agrees_with_the_lot(drawn, saying(drawn, mail=1.1))
    with pytest.raises(AssertionError):
        agrees_with_the_lot(drawn, saying(drawn, mail=2.0))


def test_only_members_are_counted(drawn: Journeys) -> None:
    members = np.arange(40) % 10 < 5
    found = holdout_table(
        replace(drawn, members=members), {"says": saying(drawn, mail=1.0)}
    ).to_dicts()
    assert [(row["customers"], row["held_out"]) for row in found] == [(5, 5), (5, 5)]


def test_a_hold_out_may_have_another_name(drawn: Journeys) -> None:
    named = held_out(drawn, ["none"] * 20 + ["mail"] * 20, "kept_from")
    assert has_holdout(drawn)
    assert not has_holdout(named)
    assert len(holdout_table(named, {"says": saying(named)}, column="kept_from")) == 1


def test_a_log_without_a_hold_out_is_told(drawn: Journeys, make: Make) -> None:
    nothing = {"says": saying(drawn)}
    with pytest.raises(SeqmarketError, match="choose of: held_out"):
        holdout_table(drawn, nothing, column="kept")
    with pytest.raises(SeqmarketError, match="holdout=null"):
        holdout_table(make([[(1, "mail")]]), nothing)
    with pytest.raises(SeqmarketError, match="names of channels"):
        holdout_table(held_out(drawn, ["none"] * 40), nothing)
