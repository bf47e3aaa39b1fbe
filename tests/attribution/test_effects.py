"""What touches do to the rate of purchases, learnt from Poisson processes whose rate is known."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import torch

from seqmarket.attribution import effects as module
from seqmarket.attribution.effects import Believed, PurchaseRate
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.moments import Moments, earlier_touches, moments_to_learn_from
from seqmarket.nn.touch_response import TouchResponse

Make = Callable[..., Journeys]
Mutant = Callable[[pytest.MonkeyPatch], None]
N, DAYS, STEP = 1_500, 60, 0.25
RATE, EFFECT, LIFE, SLOPE = 0.02, 1.2, 2.0, 0.7
"""Of purchases per day; of a fresh mail, and its half-life in days; of the intent."""


def saturated(level: Any) -> Any:
    return 2 * (1 - np.exp(-level / 2))


@pytest.fixture(scope="module")
def simulated(make: Make) -> tuple[Journeys, Floats]:
    """Half of what customers of high intent meet is mail that works, the rest does nothing."""
    random = np.random.default_rng(3)
    intent = random.normal(size=N)
    level, log = np.zeros(N), [[(0.0, "app")] for _ in range(N)]
    for step in range(round(DAYS / STEP)):
        begin = step * STEP
        felt = level * 0.5 ** (STEP / 2 / LIFE)
        rate = RATE * np.exp(EFFECT * saturated(felt) + SLOPE * intent)
        for i in np.flatnonzero(random.random(N) < rate * STEP):
            log[i].append((begin + random.random() * STEP, "buy"))
        # What is met at the end of a step is felt from the next on.
        level *= 0.5 ** (STEP / LIFE)
        for name in ("mail", "search"):
            met = random.random(N) < 0.06 * np.exp(0.8 * intent) * STEP
            for i in np.flatnonzero(met):
                log[i].append((begin + STEP, name))
            if name == "mail":
                level += met
    settings = {"lookback": "20d", "touches": {"channel": ["mail", "search"]}}
    return make(log, first=0.0, until=float(DAYS), **settings), intent


class Asked:
    """The rate, and what is asked about it."""

    def __init__(self, journeys: Journeys) -> None:
        self.moments: Moments = moments_to_learn_from(
            journeys, per_purchase=5, most=10**9, longest=timedelta(days=6), seed=1
        )
        pairs = earlier_touches(journeys, self.moments.customer, self.moments.time)
        seen = np.bincount(journeys.channel_of(pairs.event), minlength=len(journeys.channels)) > 0
        response = TouchResponse(torch.from_numpy(seen), 0, 4.0, 1)
        self.rate = PurchaseRate(journeys, self.moments, pairs, response)
        self.mail, self.search = (journeys.channels.index(c) for c in ("mail", "search"))

    def about(self, intent: Floats, alive: float = 1.0) -> Believed:
        n = len(self.moments.time)
        return Believed(intent[self.moments.customer], np.zeros(n), np.full(n, alive))


def what_is_planted_is_found(simulated: tuple[Journeys, Floats]) -> None:
    journeys, intent = simulated
    asked = Asked(journeys)
    asked.rate.learn(asked.about(intent), np.ones(len(asked.moments.time)), 40)
    response = asked.rate.response
    with torch.no_grad():
        one = torch.zeros(2, len(journeys.channels))
        most = response.log_saturation.exp()
        fresh = -most * torch.expm1(-1 / most)
        one[0, asked.mail], one[1, asked.search] = fresh[asked.mail], fresh[asked.search]
        mail, search = response(one).tolist()
        life = float(response.log_life.exp()[asked.mail])
    assert mail == pytest.approx(EFFECT * saturated(1.0), abs=0.15)
    assert search == pytest.approx(0, abs=0.2)
    assert life == pytest.approx(LIFE, rel=0.3)
    assert float(asked.rate.slope.detach()) == pytest.approx(SLOPE, abs=0.08)
    # At its likeliest, a rate with a level of its own expects what happened.
    expected = asked.rate.expected() * np.exp(
        float(asked.rate.slope.detach()) * intent[asked.moments.customer]
    )
    assert expected.sum() == pytest.approx(asked.moments.purchase.sum(), rel=0.01)


def test_what_is_planted_is_found(simulated: tuple[Journeys, Floats]) -> None:
    what_is_planted_is_found(simulated)


def does_not_know_the_intent(patch: pytest.MonkeyPatch) -> None:
    """What all those customers would have bought anyway is taken for an effect."""
    honest = Asked.about
    patch.setattr(Asked, "about", lambda self, intent: honest(self, 0 * intent))


def takes_ages_for_older(patch: pytest.MonkeyPatch) -> None:
    honest = TouchResponse.felt
    patch.setattr(TouchResponse, "felt", lambda self, age, c: honest(self, 2 * age, c))


def forgets_what_did_not_happen(patch: pytest.MonkeyPatch) -> None:
    """All moments stand for as much time, those of purchases included."""
    honest = module.PurchaseRate.__init__

    def init(self: PurchaseRate, journeys: Journeys, moments: Moments, *others: Any) -> None:
        honest(self, journeys, moments._replace(days=np.ones(len(moments.days))), *others)

    patch.setattr(module.PurchaseRate, "__init__", init)


@pytest.mark.parametrize(
    "mutant", [does_not_know_the_intent, takes_ages_for_older, forgets_what_did_not_happen]
)
def test_wrong_effects_are_noticed(
    simulated: tuple[Journeys, Floats], mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        what_is_planted_is_found(simulated)


def state_of(rate: PurchaseRate) -> list[torch.Tensor]:
    free = [rate.slope, rate._coefficients, *rate.response.parameters()]
    return [each.detach().clone() for each in free]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def the_weightless_move_nothing(simulated: tuple[Journeys, Floats]) -> None:
    """Whatever is believed of customers without weight, the same is learnt."""
    journeys, intent = simulated
    weight = (np.arange(N) % 2).astype(np.float64)
    found = []
    for believed in (intent, np.where(weight > 0, intent, 5.0)):
        asked = Asked(journeys)
        asked.rate.learn(asked.about(believed), weight[asked.moments.customer], 5)
        found.append(state_of(asked.rate))
    assert same(*found)
    asked.rate.learn(asked.about(intent), np.zeros(len(asked.moments.time)), 30)
    # Without anybody there is the prior alone, which knows no effect.
    effect = asked.rate.response.effect.detach().abs().max()
    assert float(effect) < 0.1 * float(found[-1][2].abs().max())


def test_customers_without_weight_move_nothing(simulated: tuple[Journeys, Floats]) -> None:
    the_weightless_move_nothing(simulated)


def test_steps_for_the_weightless_are_noticed(
    simulated: tuple[Journeys, Floats], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = PurchaseRate.learn
    monkeypatch.setattr(
        PurchaseRate,
        "learn",
        lambda self, about, weight, n: honest(self, about, np.maximum(weight, 1e-3), n),
    )
    with pytest.raises(AssertionError):
        the_weightless_move_nothing(simulated)


def who_may_have_left_counts_less(simulated: tuple[Journeys, Floats]) -> None:
    """The same purchases in half of the time are of twice the rate."""
    journeys, intent = simulated
    expected = []
    for alive in (1.0, 0.5):
        asked = Asked(journeys)
        asked.rate.learn(asked.about(intent, alive), np.ones(len(asked.moments.time)), 30)
        expected.append(asked.rate.expected().sum())
    assert expected[1] == pytest.approx(2 * expected[0], rel=0.02)


def test_who_may_have_left_counts_less(simulated: tuple[Journeys, Floats]) -> None:
    who_may_have_left_counts_less(simulated)


def test_time_after_leaving_is_noticed(
    simulated: tuple[Journeys, Floats], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = PurchaseRate.learn
    monkeypatch.setattr(
        PurchaseRate,
        "learn",
        lambda self, about, *how: honest(
            self, about._replace(alive=np.ones_like(about.alive)), *how
        ),
    )
    with pytest.raises(AssertionError):
        who_may_have_left_counts_less(simulated)


def copies_go_on_by_themselves(simulated: tuple[Journeys, Floats]) -> None:
    journeys, intent = simulated
    asked = Asked(journeys)
    one = np.ones(len(asked.moments.time))
    asked.rate.learn(asked.about(intent), one, 3)
    before = state_of(asked.rate)
    other = copy.copy(asked.rate)
    assert same(before, state_of(other))
    assert other._known is asked.rate._known
    other.learn(asked.about(intent), one, 3)
    assert same(before, state_of(asked.rate))
    assert not same(before, state_of(other))
    asked.rate.learn(asked.about(intent), one, 3)
    assert same(state_of(asked.rate), state_of(other))


def test_copies_go_on_by_themselves(simulated: tuple[Journeys, Floats]) -> None:
    copies_go_on_by_themselves(simulated)


def test_copies_that_share_are_noticed(
    simulated: tuple[Journeys, Floats], monkeypatch: pytest.MonkeyPatch
) -> None:
    def shallow(self: PurchaseRate) -> PurchaseRate:
        other = object.__new__(PurchaseRate)
        other.__dict__.update(self.__dict__)
        return other

    monkeypatch.setattr(PurchaseRate, "__copy__", shallow)
    with pytest.raises(AssertionError):
        copies_go_on_by_themselves(simulated)


def few_purchases_are_enough(make: Make) -> None:
    """Columns that tell three purchases from all other moments do not make the rate run away."""
    journeys = make([[(0.0, "app"), (day, "buy")] for day in (3.0, 9.0, 15.0)], until=100.0)
    moments = moments_to_learn_from(
        journeys, per_purchase=5, most=10**9, longest=timedelta(days=6), seed=1
    )
    pairs = earlier_touches(journeys, moments.customer, moments.time)
    response = TouchResponse(torch.zeros(len(journeys.channels), dtype=torch.bool), 2, 4.0, 1)
    rate = PurchaseRate(journeys, moments, pairs, response)
    n = len(moments.time)
    rate.learn(Believed(np.zeros(n), np.ones(n), np.ones(n)), np.ones(n), 40)
    assert max(float(each.abs().max()) for each in state_of(rate)) < 20
    assert rate.expected().sum() == pytest.approx(3, rel=0.1)


def test_few_purchases_are_enough(make: Make) -> None:
    few_purchases_are_enough(make)


def test_a_rate_that_runs_away_is_noticed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PurchaseRate, "_penalty", lambda self: self.response.penalty())
    with pytest.raises(AssertionError):
        few_purchases_are_enough(make)
