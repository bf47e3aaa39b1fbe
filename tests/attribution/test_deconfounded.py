"""The response learnt with the intent: it sees through a placebo that meets those who buy."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from seqmarket.attribution import deconfounded as module
from seqmarket.attribution.attributor import Attribution
from seqmarket.attribution.deconfounded import Deconfounded, JointModel
from seqmarket.attribution.journeys import Journeys
from seqmarket.attribution.moments import Pairs
from seqmarket.data.simulation.world import HARMFUL, PLACEBO
from seqmarket.data.sources.simulator import JourneySimulator
from seqmarket.errors import SeqmarketError
from seqmarket.schema import MICROSECONDS_PER_DAY

Make = Callable[..., Journeys]
QUICK: dict[str, Any] = {"hidden": 0, "rounds": 6, "per_purchase": 2.0, "groups": 0}


@pytest.fixture(scope="module")
def known(simulate_world: Callable[..., Any]) -> Any:
    """A world whose placebo meets those of high intent, which nothing but their journeys shows."""
    source = JourneySimulator(
        preset="confounded", confounding=1.5, intent_proxy=0.0, n_customers=2_500, days=120, seed=4
    )
    return simulate_world(source, 0.7, 0.1)


def attribute(known: Any, **settings: Any) -> Attribution:
    return Deconfounded(**{**QUICK, **settings}).attribute(known.evidence)


@pytest.fixture(scope="module")
def attributed(known: Any) -> Attribution:
    return attribute(known)


def placebo_is_seen_through(known: Any, found: Attribution) -> None:
    credit = known.by_channel(found.credit)
    positive = sum(each for each in credit.values() if each > 0)
    assert abs(credit[PLACEBO]) < 0.08 * positive
    assert credit[HARMFUL] < 0
    true = known.source.truth(known.first_day)
    assert found.organic.sum() == pytest.approx(true.organic, rel=0.35)


def test_a_placebo_is_seen_through(known: Any, attributed: Attribution) -> None:
    placebo_is_seen_through(known, attributed)
    everything = attribute(known, hidden=4, rounds=4)
    placebo_is_seen_through(known, everything)


def test_a_placebo_that_meets_those_who_buy_anyway_is_noticed(known: Any) -> None:
    """Without the intent, it is credited with what they would have bought anyway."""
    found = attribute(known, intent=False)
    with pytest.raises(AssertionError):
        placebo_is_seen_through(known, found)
    credit = known.by_channel(found.credit)
    assert credit[PLACEBO] > 0.15 * sum(each for each in credit.values() if each > 0)


def credit_is_of_what_happened(known: Any, found: Attribution) -> None:
    """Conversions are conserved, and no touch has credit that none could follow from."""
    journeys = known.evidence.journeys
    n = len(journeys.conversion)
    assert found.total == pytest.approx(n)
    worth = journeys.events.value[journeys.conversion].astype(np.float64)
    assert found.value.sum() + found.organic_value.sum() == pytest.approx(worth.sum())
    assert (found.organic >= 0).all()
    bought = np.bincount(journeys.converts, minlength=journeys.n_customers)
    assert (found.organic[bought == 0] == 0).all()
    lookback = journeys.settings.lookback.days * MICROSECONDS_PER_DAY
    time, at = journeys.events.time, journeys.time
    followed = np.zeros(len(at), dtype=np.bool_)
    for customer, conversion in zip(journeys.converts, journeys.conversion, strict=True):
        some = slice(
            *np.searchsorted(journeys.touch, journeys.events.offsets[[customer, customer + 1]])
        )
        age = time[conversion] - at[some]
        followed[some] |= (age > 0) & (age <= lookback)
    assert (~followed).sum() > 100
    assert (found.credit[~followed] == 0).all()
    assert (found.value[~followed] == 0).all()
    assert (found.credit[followed] != 0).all()


def test_credit_is_of_what_happened(known: Any, attributed: Attribution) -> None:
    credit_is_of_what_happened(known, attributed)
    assert (attributed.method, attributed.organic_is) == ("deconfounded", "anyway")
    assert attributed.replicates is None


def looks_ahead(patch: pytest.MonkeyPatch) -> None:
    """Touches of the week after a conversion count for it, too."""
    honest = module.earlier_touches

    def touches(journeys: Journeys, customer: Any, time: Any) -> Pairs:
        return honest(journeys, customer, time + 7 * MICROSECONDS_PER_DAY)

    patch.setattr(module, "earlier_touches", touches)


def gives_all_to_touches(patch: pytest.MonkeyPatch) -> None:
    honest = module.shapley_values

    def scaled(*about: Any, **how: Any) -> Any:
        values, organic = honest(*about, **how)
        return values / np.maximum(values.sum(axis=1, keepdims=True), 1e-9), organic

    patch.setattr(module, "shapley_values", scaled)


@pytest.mark.parametrize("mutant", [looks_ahead, gives_all_to_touches])
def test_wrong_credit_is_noticed(
    known: Any, mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        credit_is_of_what_happened(known, attribute(known, rounds=1))


def repeats(known: Any, settings: dict[str, Any]) -> None:
    one, again = (attribute(known, **settings) for _ in range(2))
    for name in ("credit", "organic", "value", "organic_value"):
        assert (getattr(one, name) == getattr(again, name)).all(), name
    if one.replicates is not None:
        assert np.array_equal(one.replicates, again.replicates)


FEW = {"rounds": 1, "hidden": 2, "groups": 3, "exact_up_to": 2, "samples": 5}


def test_the_same_evidence_gives_the_same(known: Any) -> None:
    repeats(known, FEW)


def test_a_forgotten_seed_is_noticed(known: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = module.moments_to_learn_from
    seeds = iter((8, 9))
    monkeypatch.setattr(
        module,
        "moments_to_learn_from",
        lambda past, **how: honest(past, **{**how, "seed": next(seeds)}),
    )
    with pytest.raises(AssertionError):
        repeats(known, {**FEW, "groups": 0})


def replicates_hold(known: Any) -> None:
    """Each group is left out of what is learnt; what all have shown stays as it was."""
    alone = attribute(known, rounds=2)
    found = attribute(known, rounds=2, groups=3)
    assert (found.credit == alone.credit).all()
    assert found.replicates is not None
    channels = known.evidence.journeys.channels
    assert found.replicates.shape == (3, len(channels) + 1)
    each = np.append(list(known.by_channel(found.credit).values()), found.organic.sum())
    assert found.replicates.mean(axis=0) == pytest.approx(each, abs=0.05 * found.total)
    assert found.replicates.sum(axis=1) == pytest.approx(found.total, rel=0.1)
    met = np.abs(each) > 1
    assert (found.replicates.std(axis=0)[met] > 0).all()
    assert (found.replicates[:, :-1][:, ~met[:-1]] == 0).all()


def test_groups_give_a_replicate_each(known: Any) -> None:
    replicates_hold(known)


def copies_go_on_by_themselves(known: Any) -> None:
    """What is learnt without a group is not learnt by the next."""
    past = known.evidence.history
    model = JointModel(past, Deconfounded(**QUICK))
    everybody = np.ones(past.n_customers)
    model.learn(everybody, 5, 1)
    assert model.intent is not None
    before = model.intent.mean.copy(), model.rate.expected()
    other = copy.copy(model)
    other.learn(np.arange(past.n_customers) % 2.0, 5, 1)
    assert other.intent is not None
    assert np.array_equal(model.intent.mean, before[0])
    assert np.array_equal(model.rate.expected(), before[1])
    assert not np.array_equal(other.intent.mean, before[0])
    assert not np.array_equal(other.rate.expected(), before[1])


def test_copies_go_on_by_themselves(known: Any) -> None:
    copies_go_on_by_themselves(known)


def test_groups_that_go_on_from_one_another_are_noticed(
    known: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shallow(self: JointModel) -> JointModel:
        other = object.__new__(JointModel)
        other.__dict__.update(self.__dict__)
        return other

    monkeypatch.setattr(JointModel, "__copy__", shallow)
    with pytest.raises(AssertionError):
        copies_go_on_by_themselves(known)


def test_without_purchases_there_is_nothing_to_learn(make: Make, known: Any) -> None:
    evidence = known.evidence
    members = np.zeros(evidence.history.n_customers, dtype=np.bool_)
    for history in (make([[(1.0, "mail")]]), replace(evidence.history, members=members)):
        with pytest.raises(SeqmarketError, match="no purchase in the training period"):
            Deconfounded().attribute(evidence._replace(history=history))


def test_conversions_without_any_touch_are_organic(make: Make, known: Any) -> None:
    """A log of a few events, without a touch, is no reason to fail."""
    log = [[(0.0, "app"), (day, "buy", 2.0)] for day in (3.0, 9.0, 15.0)]
    journeys = make(log, touches={"channel": ["mail"]})
    evidence = known.evidence._replace(journeys=journeys, history=journeys)
    found = Deconfounded(**QUICK).attribute(evidence)
    assert found.organic.tolist() == [1, 1, 1]
    assert found.organic_value.tolist() == [2, 2, 2]
