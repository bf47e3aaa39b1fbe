"""Hidden intent, inferred from customers who were drawn from the model itself."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest

from seqmarket.attribution import intent as module
from seqmarket.attribution.intent import HiddenIntent
from seqmarket.attribution.journeys import Floats
from seqmarket.attribution.signals import Signals

Mutant = Callable[[pytest.MonkeyPatch], None]
C, D, BLOCK = 1_500, 6, 15.0
SLOPE = np.array([1.0, 0.3, 0.8, 0.7])
RATE = np.array([0.06, 0.08, 0.08, 0.04])
OWN = np.array([False, False, True, True])
"""Two channels, visits, and purchases, which the last always are."""


class Drawn(NamedTuple):
    """What is seen, and what nobody sees.

    Attributes:
        signals: Of all customers.
        intent: (C, D).
        left: (C,) day on which a customer leaves.
    """

    signals: Signals
    intent: Floats
    left: Floats


def drawn(leaving: float, seed: int = 0) -> Drawn:
    """Customers who leave at that rate per day, whatever their intent."""
    random = np.random.default_rng(seed)
    day = np.arange(D) * BLOCK
    kernel = 0.85 + 0.15 * np.exp(-np.abs(day[:, None] - day) / 30)
    intent = random.multivariate_normal(np.zeros(D), kernel, size=C)
    left = random.exponential(1 / max(leaving, 1e-9), size=C)
    there = np.clip((left[:, None] - day) / BLOCK, 0, 1)
    days = BLOCK * np.where(OWN[:, None, None], there, 1.0)
    counts = random.poisson(np.exp(SLOPE[:, None, None] * intent) * RATE[:, None, None] * days)
    own = counts[OWN].sum(axis=0)
    newest = np.where(own.any(axis=1), D - 1 - (own[:, ::-1] > 0).argmax(axis=1), 0)
    n, share = own[np.arange(C), newest], there[np.arange(C), newest]
    # The last of n moments of a block, each as likely as the others.
    last = np.where(n > 0, share * random.random(C) ** (1 / np.maximum(n, 1)), 0.0)
    signals = Signals(
        counts=counts.astype(np.float64),
        own=OWN,
        days=np.full((C, D), BLOCK),
        columns=np.ones((C, D, 1)),
        newest=newest,
        left=1 - last,
        block_days=BLOCK,
    )
    return Drawn(signals, intent, left)


STAYING, LEAVING = drawn(0.0), drawn(0.01)
PURCHASES = np.full((C, D), RATE[-1] * BLOCK)


def inferred(signals: Signals, weight: Floats | None = None, turns: int = 20) -> HiddenIntent:
    """The rate of purchases is told, as it is learnt elsewhere."""
    found = HiddenIntent(signals)
    found.learn(PURCHASES, SLOPE[-1], np.ones(C) if weight is None else weight, turns)
    return found


def intent_is_found(case: Drawn) -> None:
    found = inferred(case.signals)
    assert found.slope[:-1] == pytest.approx(SLOPE[:-1], abs=0.1)
    rates = np.exp(found._level[:, 0])[:-1]
    assert rates == pytest.approx(RATE[:-1], rel=0.1)
    assert np.corrcoef(found.mean.ravel(), case.intent.ravel())[0, 1] > 0.89
    # As sure of it as it may be.
    error = (found.mean - case.intent)[case.left > D * BLOCK]
    assert np.square(error).mean() == pytest.approx(found.variance.mean(), rel=0.25)
    assert found.lasting == pytest.approx(0.85, abs=0.05)
    assert 10 < found.memory < 40


@pytest.mark.parametrize("case", [STAYING, LEAVING])
def test_intent_is_found_where_the_model_is_true(case: Drawn) -> None:
    intent_is_found(case)


def is_sure_of_it(patch: pytest.MonkeyPatch) -> None:
    """What is inferred is taken for what is, in the slopes."""
    honest = module._newton

    def sure(columns: Floats, mean: Floats, variance: Floats, *others: Any) -> Floats:
        return honest(columns, mean, np.zeros_like(variance), *others)

    patch.setattr(module, "_newton", sure)


def forgets_the_past(patch: pytest.MonkeyPatch) -> None:
    """Each block by itself."""
    patch.setattr(HiddenIntent, "_kernel", lambda self, *how: np.eye(self.mean.shape[1]))


def takes_all_for_alive(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(HiddenIntent, "_infer_alive", lambda self, base: None)


def looks_at_touches_only(patch: pytest.MonkeyPatch) -> None:
    honest = HiddenIntent._infer_intent

    def blind(self: HiddenIntent, base: Floats, weight: Floats) -> Floats:
        own = self._signals.own[:, None, None]
        counts = self._signals.counts
        self._signals = replace(self._signals, counts=np.where(own, 0.0, counts))
        found = honest(self, np.where(own, 0.0, base), weight)
        self._signals = replace(self._signals, counts=counts)
        return found

    patch.setattr(HiddenIntent, "_infer_intent", blind)


@pytest.mark.parametrize(
    ("mutant", "case"),
    [
        (is_sure_of_it, STAYING),
        (forgets_the_past, STAYING),
        (takes_all_for_alive, LEAVING),
        (looks_at_touches_only, STAYING),
    ],
)
def test_wrong_intent_is_noticed(
    mutant: Mutant, case: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        intent_is_found(case)


def silence_tells_who_left() -> None:
    found, signals = inferred(LEAVING.signals), LEAVING.signals
    active = np.arange(D) <= signals.newest[:, None]
    assert (found.alive[active] == 1).all()
    assert (np.diff(found.alive, axis=1) <= 1e-12).all()
    assert found.alive.min() > 0
    # Who came often and then not for two months has left.
    own = signals.counts[OWN].sum(axis=0)
    often = (own[:, :2].sum(axis=1) >= 5) & (signals.newest <= 1)
    assert often.sum() > 50
    assert (found.alive[often, -1] < 0.5).all()
    at_the_end = LEAVING.left > (D - 1) * BLOCK  # of the last block, when it began
    assert found.alive[at_the_end, -1].mean() > 0.85
    assert found.alive[~at_the_end, -1].mean() < 0.3
    assert found.alive[:, -1].mean() == pytest.approx(at_the_end.mean(), abs=0.06)
    assert inferred(STAYING.signals).alive.mean() > 0.98


def test_silence_tells_who_left() -> None:
    silence_tells_who_left()


def takes_silence_for_an_end(patch: pytest.MonkeyPatch) -> None:
    def end(self: HiddenIntent, base: Floats) -> None:
        after = np.arange(D) > self._signals.newest[:, None]
        self.alive = np.where(after, 1e-9, 1.0)

    patch.setattr(HiddenIntent, "_infer_alive", end)


def waits_for_touches(patch: pytest.MonkeyPatch) -> None:
    """That touches go on is taken for a sign of life."""
    honest = HiddenIntent.__init__

    def init(self: HiddenIntent, signals: Signals) -> None:
        touched = D - 1 - (signals.counts[:, :, ::-1].sum(axis=0) > 0).argmax(axis=1)
        honest(self, replace(signals, newest=np.maximum(signals.newest, touched)))

    patch.setattr(HiddenIntent, "__init__", init)


@pytest.mark.parametrize(
    "mutant", [takes_all_for_alive, takes_silence_for_an_end, waits_for_touches]
)
def test_wrong_ends_are_noticed(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        silence_tells_who_left()


def the_weightless_teach_nothing() -> None:
    """What happened to them is dealt anew among them: sums stay, what shows the intent does not."""
    random = np.random.default_rng(5)
    weight = np.ones(C)
    without = np.arange(C) % 3 == 0
    weight[without] = 0
    counts = LEAVING.signals.counts.copy()
    for series in counts:
        series[without] = random.permutation(series[without].ravel()).reshape(-1, D)
    one = inferred(LEAVING.signals, weight, turns=5)
    other = inferred(replace(LEAVING.signals, counts=counts), weight, turns=5)
    for name in ("slope", "_level", "_leaving", "lasting", "memory"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-9), name
    assert one.mean[~without] == pytest.approx(other.mean[~without], rel=1e-9)
    # And yet it is inferred what they are like.
    assert np.corrcoef(one.mean[without].ravel(), LEAVING.intent[without].ravel())[0, 1] > 0.7
    assert np.abs(one.mean - other.mean)[without].max() > 0.5


def test_customers_without_weight_teach_nothing() -> None:
    the_weightless_teach_nothing()


def weighs_all_alike_in_rates(patch: pytest.MonkeyPatch) -> None:
    honest = module._newton
    patch.setattr(module, "_newton", lambda *about: honest(*about[:-1], np.ones(C)))


def weighs_all_alike_in_the_kernel(patch: pytest.MonkeyPatch) -> None:
    honest = HiddenIntent._infer_intent
    patch.setattr(
        HiddenIntent, "_infer_intent", lambda self, base, weight: honest(self, base, np.ones(C))
    )


@pytest.mark.parametrize("mutant", [weighs_all_alike_in_rates, weighs_all_alike_in_the_kernel])
def test_lessons_of_the_weightless_are_noticed(
    mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        the_weightless_teach_nothing()


def state_of(model: HiddenIntent) -> dict[str, Any]:
    parts = vars(model).items()
    return {name: copy.deepcopy(part) for name, part in parts if name != "_signals"}


def copies_go_on_by_themselves() -> None:
    original = inferred(LEAVING.signals, turns=3)
    before = state_of(original)
    other = copy.copy(original)
    assert other._signals is original._signals
    weight = np.arange(C) % 2.0
    other.learn(PURCHASES, 0.5, weight, 2)
    for name, part in state_of(original).items():
        assert np.array_equal(part, before[name]), name
    assert not np.array_equal(other.mean, original.mean)
    # From the same place it comes to the same.
    original.learn(PURCHASES, 0.5, weight, 2)
    for name, part in state_of(original).items():
        assert np.array_equal(part, state_of(other)[name]), name


def test_copies_go_on_by_themselves() -> None:
    copies_go_on_by_themselves()


def test_copies_that_share_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def shallow(self: HiddenIntent) -> HiddenIntent:
        other = object.__new__(HiddenIntent)
        other.__dict__.update(self.__dict__)
        return other

    monkeypatch.setattr(HiddenIntent, "__copy__", shallow)
    with pytest.raises(AssertionError):
        copies_go_on_by_themselves()
