"""Faithfulness: of a model that is written down, what has to fall does, and luck does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
import torch

from seqmarket.attribution.attributor import Attribution, Evidence
from seqmarket.attribution.faithfulness import (
    agreement_within_paths,
    faithfulness_table,
    most_credited,
    some_conversions,
)
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.last import LastTouch
from seqmarket.attribution.linear import Linear
from seqmarket.attribution.removal import CounterfactualRemoval
from seqmarket.attribution.sharing import observed
from seqmarket.errors import SeqmarketError

Ask = Callable[..., Evidence]
Make = Callable[..., Journeys]
MAIL = torch.tensor([0, 0, 0, 0.5, 0, 0, 0, 0], dtype=torch.float64)


def mail_counts(state: Any, elapsed: Any) -> Any:
    """Mail multiplies by e^.5 each time; nothing else does anything."""
    return 0.01 * torch.exp(state @ MAIL).unsqueeze(-1)


def none_counts(state: Any, elapsed: Any) -> Any:
    return 0.01 * torch.exp(state @ (0 * MAIL)).unsqueeze(-1)


@pytest.fixture(scope="module")
def journeys(touching: Make) -> Journeys:
    """Paths of one mail and four others."""
    random = np.random.default_rng(0)
    log = []
    for _ in range(60):
        names = random.permutation(["mail", "search", "search", "shop", "shop"])
        log.append([*((day, str(name)) for day, name in enumerate(names)), (6.0, "buy")])
    return touching(log)


class Says:
    """Gives each touch the credit of its channel."""

    signed: ClassVar[bool] = True

    def __init__(self, **worth: float) -> None:
        self.worth = worth

    def attribute(self, evidence: Evidence) -> Attribution:
        journeys = evidence.journeys
        each = np.array([self.worth.get(name, 0.0) for name in journeys.channels])
        credit = each[journeys.channel]
        return observed("says", journeys, credit, credit)


class IgnoresTheModel(Linear):
    """Says that it asks, and does not: its credit is that of the last touch."""

    asks_model: ClassVar[bool] = True

    def attribute(self, evidence: Evidence) -> Attribution:
        return LastTouch().attribute(evidence)


def scores(evidence: Evidence, untrained: Evidence, **methods: Any) -> dict[str, dict[str, Any]]:
    found = {name: method.attribute(evidence) for name, method in methods.items()}
    assert untrained.trained is not None
    table = faithfulness_table(
        evidence, found, methods, untrained.trained, conversions=50, n_resamples=100, seed=1
    )
    return {row["method"]: row for row in table.to_dicts()}


def points_to_what_counts(method: Any, evidence: Evidence) -> None:
    found = scores(evidence, evidence, it=method)["it"]
    assert found["conversions"] == 50
    assert found["deletion"] == pytest.approx(1 - np.exp(-0.5), rel=1e-6)
    assert found["gain_low"] > 0.2


@pytest.fixture(scope="module")
def evidence(journeys: Journeys, knowing: Ask) -> Evidence:
    return knowing(journeys, mail_counts)


def test_without_the_touches_that_count_less_is_expected(evidence: Evidence) -> None:
    points_to_what_counts(Says(mail=1.0), evidence)
    points_to_what_counts(CounterfactualRemoval(), evidence)


def test_a_method_that_points_elsewhere_is_noticed(evidence: Evidence) -> None:
    with pytest.raises(AssertionError):
        points_to_what_counts(Says(mail=-1.0), evidence)
    wrong = scores(evidence, evidence, it=Says(mail=-1.0))["it"]
    assert wrong["deletion"] == pytest.approx(0, abs=1e-6)
    assert wrong["gain_high"] < 0


def test_a_rule_that_gives_all_alike_is_no_better_than_chance(touching: Make, knowing: Ask) -> None:
    """Ties are broken by lot: where mail comes first, it would else be the one that is found."""
    names = ["mail", "search", "search", "shop", "shop"]
    log = [[*enumerate(names), (6, "buy")] for _ in range(60)]
    evidence = knowing(touching(log), mail_counts)
    found = scores(evidence, evidence, it=Linear())["it"]
    assert found["gain_low"] < 0 < found["gain_high"]
    assert found["by_chance"] == pytest.approx((1 - np.exp(-0.5)) / 5, abs=0.04)


def needs_the_weights(method: Any, evidence: Evidence, drawn: Evidence) -> None:
    assert scores(evidence, drawn, it=method)["it"]["drawn_weights"] < 0.5


def test_credit_that_rests_on_the_weights_changes_with_them(
    crowded: Journeys, network: Ask
) -> None:
    evidence, drawn = network(crowded, seeds=(1,)), network(crowded, seeds=(2,))
    needs_the_weights(CounterfactualRemoval(), evidence, drawn)
    same = scores(evidence, evidence, it=CounterfactualRemoval())["it"]
    assert same["drawn_weights"] == pytest.approx(1)
    with pytest.raises(AssertionError):
        needs_the_weights(IgnoresTheModel(), evidence, drawn)


def test_methods_that_ask_no_model_are_not_asked_for_one(evidence: Evidence) -> None:
    assert scores(evidence, evidence, it=Linear())["it"]["drawn_weights"] is None


def test_a_model_that_knows_nothing_has_no_order(
    journeys: Journeys, evidence: Evidence, knowing: Ask
) -> None:
    drawn = knowing(journeys, none_counts)
    found = scores(evidence, drawn, it=CounterfactualRemoval())["it"]
    assert found["drawn_weights"] is None


class Loses(Linear):
    """Three conversions are nobody's."""

    def attribute(self, evidence: Evidence) -> Attribution:
        found = super().attribute(evidence)
        return replace(found, organic=found.organic - 3 / len(found.organic))


def test_what_is_not_accounted_for(evidence: Evidence) -> None:
    found = scores(evidence, evidence, whole=Linear(), lossy=Loses())
    assert found["whole"]["unaccounted"] == pytest.approx(0, abs=1e-9)
    assert found["lossy"]["unaccounted"] == pytest.approx(3)


def test_the_same_seed_says_the_same(evidence: Evidence) -> None:
    assert scores(evidence, evidence, it=Linear()) == scores(evidence, evidence, it=Linear())


def test_no_interval_is_no_mistake(evidence: Evidence) -> None:
    assert evidence.trained is not None
    found = {"it": Linear().attribute(evidence)}
    table = faithfulness_table(
        evidence, found, {"it": Linear()}, evidence.trained, conversions=9, n_resamples=0
    )
    assert table["gain_low"].to_list() == [None]
    assert isinstance(table, pl.DataFrame)


def test_at_least_one_touch_and_a_fifth_are_chosen(touching: Make) -> None:
    log = [[*((d / 2, "mail") for d in range(n)), (9.0, "buy")] for n in (3, 10, 15)]
    journeys = touching(log)
    credit: Floats = np.arange(len(journeys.touch), dtype=np.float64)
    path, touch = most_credited(journeys, credit, np.random.default_rng(0)).T
    assert np.bincount(path).tolist() == [1, 2, 3]
    assert sorted(touch.tolist()) == [2, 11, 12, 25, 26, 27]


def test_short_paths_are_not_asked_about(touching: Make) -> None:
    short = [(1, "mail"), (2, "mail"), (3, "buy")]
    long = [(1, "mail"), (2, "mail"), (2.5, "shop"), (3, "buy")]
    journeys = touching([short, long])
    some = some_conversions(journeys, 10, 0)
    assert some.converts.tolist() == [1]
    assert some.touch.tolist() == journeys.touch.tolist()
    assert some.converting.touches().tolist() == [2, 3, 4]
    with pytest.raises(SeqmarketError, match="3 touches"):
        some_conversions(touching([short]), 10, 0)


def test_agreement_is_within_each_path(touching: Make) -> None:
    """Which path has more per touch is no agreement."""
    journeys = touching([[*((d, "mail") for d in range(3)), (3.0, "buy")]] * 2)
    one, other = np.array([1, 2, 3, 11, 12, 13.0]), np.array([3, 2, 1, 13, 12, 11.0])
    assert agreement_within_paths(journeys, one, one) == pytest.approx(1)
    assert agreement_within_paths(journeys, one, other) == pytest.approx(-1)
    assert agreement_within_paths(journeys, one, np.ones(6)) is None
