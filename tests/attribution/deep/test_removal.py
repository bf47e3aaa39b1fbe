"""Removal: touches are really gone, and effects are scaled without turning over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmarket.attribution import without_touches
from seqmarket.attribution.asking import PurchaseModel
from seqmarket.attribution.attributor import Evidence
from seqmarket.attribution.journeys import Journeys
from seqmarket.attribution.removal import CounterfactualRemoval
from seqmarket.attribution.sharing import ROUNDING, scaled_to
from seqmarket.attribution.without_touches import (
    expected_without,
    journeys_without,
    unknown_numbers,
)
from seqmarket.schema import UNK

Ask = Callable[..., Evidence]
Make = Callable[..., Journeys]
Exactly = Callable[..., dict[tuple[int, float], float]]
Log = list[list[tuple[Any, ...]]]

GAP, KNOWN = 6, 7  # of the state of a model that is written down


def by_kind(mail: float = 0.0, search: float = 0.0, app: float = 0.0) -> Callable[..., Any]:
    weight = torch.tensor([0.0, 0.0, app, mail, search, 0.0, 0.0, 0.0], dtype=torch.float64)
    return lambda state, elapsed: 0.01 * torch.exp(state @ weight).unsqueeze(-1)


def test_effects_that_are_known_are_found(touching: Make, knowing: Ask, exactly: Exactly) -> None:
    """Mail multiplies by e^.5 each time, search by e^-.3; app is no touch."""
    log = [[(1, "mail"), (2, "app"), (3, "search"), (4, "mail"), (5, "buy", 8.0)]]
    journeys = touching(log)
    evidence = knowing(journeys, by_kind(0.5, -0.3, 0.2))
    found = CounterfactualRemoval().attribute(evidence)
    assert found.organic == pytest.approx([np.exp(-0.7)], rel=1e-6)
    assert found.organic_value == pytest.approx([8 * np.exp(-0.7)], rel=1e-6)
    credit = exactly(journeys, found.credit)
    mail, search = credit[0, 1.0] + credit[0, 4.0], credit[0, 3.0]
    assert mail + search == pytest.approx(1 - np.exp(-0.7), rel=1e-6)
    # One factor makes the positive effect larger or smaller, its inverse the negative one.
    assert mail * search == pytest.approx((1 - np.exp(-1.0)) * (1 - np.exp(0.3)), rel=1e-6)
    assert search < 0 < mail
    assert credit[0, 1.0] == pytest.approx(credit[0, 4.0])


def test_touches_of_a_channel_are_told_apart(
    touching: Make, knowing: Ask, exactly: Exactly
) -> None:
    """Where an answer rests on the days since the newest event, only the newest touch matters."""
    journeys = touching([[(0, "app"), (1, "mail"), (2, "mail"), (4, "buy")]])
    evidence = knowing(journeys, lambda state, elapsed: 0.1 / elapsed.unsqueeze(-1))
    credit = exactly(journeys, CounterfactualRemoval().attribute(evidence).credit)
    assert credit == pytest.approx({(0, 1.0): 0.0, (0, 2.0): 0.5}, abs=1e-6)
    alike = CounterfactualRemoval(single_touches=False).attribute(evidence)
    assert exactly(journeys, alike.credit) == pytest.approx({(0, 1.0): 0.25, (0, 2.0): 0.25})


def gaps_close(touching: Make, knowing: Ask) -> None:
    journeys = touching([[(1, "app"), (4, "mail"), (6, "search"), (7.5, "buy")]])

    def asked(rate: Callable[..., Any]) -> list[float]:
        model = PurchaseModel.of(knowing(journeys, rate), "removal")
        conversion = np.zeros(4, dtype=np.int64)
        question, touch = np.array([1, 2, 3, 3]), np.array([0, 1, 0, 1])  # of none, mail, search
        return expected_without(model, journeys, conversion, question, touch).tolist()

    elapsed = asked(lambda state, elapsed: elapsed.unsqueeze(-1))
    assert elapsed == pytest.approx([1.5, 1.5, 3.5, 6.5])
    gap = asked(lambda state, elapsed: 0.1 + state[:, GAP : GAP + 1])
    assert gap == pytest.approx([2.1, 5.1, 3.1, 0.1])
    mail = asked(lambda state, elapsed: 0.1 + state[:, 3:4])
    assert mail == pytest.approx([1.1, 0.1, 1.1, 0.1])


def test_later_events_follow_the_one_before(touching: Make, knowing: Ask) -> None:
    gaps_close(touching, knowing)


def test_a_touch_that_is_only_hidden_is_noticed(
    touching: Make, knowing: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = without_touches.journeys_without

    def hidden(events: Any, spec: Any, customer: Any, stop: Any, question: Any, event: Any) -> Any:
        whole = honest(events, spec, customer, stop, question[:0], event[:0])
        begin = whole.offsets[question] + event - events.offsets[customer[question]]
        whole.channel[begin] = UNK
        return whole

    monkeypatch.setattr(without_touches, "journeys_without", hidden)
    with pytest.raises(AssertionError):
        gaps_close(touching, knowing)


def test_a_customer_is_known_since_what_is_left(touching: Make, knowing: Ask) -> None:
    """Also where the model is shown the newest events alone."""
    journeys = touching([[(1, "mail"), *((2 + i / 10, "app") for i in range(60)), (9, "buy")]])
    evidence = knowing(journeys, lambda state, elapsed: 0.1 + state[:, KNOWN : KNOWN + 1])
    found = CounterfactualRemoval().attribute(evidence)
    assert found.organic == pytest.approx([(5.9 + 0.1) / (6.9 + 0.1)], rel=1e-6)


def test_of_a_journey_of_touches_alone_a_time_and_a_type_stay(touching: Make, knowing: Ask) -> None:
    journeys = touching([[(1, "mail"), (2, "search"), (5, "buy")]])
    seen = []

    def rate(state: Any, elapsed: Any) -> Any:
        seen.append((state, elapsed))
        return 0.01 * (1 + state[:, UNK : UNK + 1])

    found = CounterfactualRemoval().attribute(knowing(journeys, rate))
    assert found.organic == pytest.approx([2.0])
    assert found.credit == pytest.approx([-0.5, -0.5])  # neither did harm alone: alike
    events = journeys.events
    one, two = np.zeros(1, dtype=np.int64), np.array([0, 1])
    left = journeys_without(events, journeys.spec, one, one + 2, two * 0, two)
    assert left.offsets.tolist() == [0, 1]
    assert left.time.tolist() == events.time[:1].tolist()
    assert left.channel.tolist() == [UNK]
    assert left.event_type.tolist() == events.event_type[:1].tolist()
    assert left.features.tolist() == [[0.0, 0.0, 1.0, 1.0]]
    assert unknown_numbers(journeys.spec).tolist() == [0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize("seed", range(3))
def test_journeys_are_as_by_hand(
    touching: Make, random_log: Callable[[int], Log], seed: int
) -> None:
    journeys = touching(random_log(seed))
    events, random = journeys.events, np.random.default_rng(seed)
    stop = np.flatnonzero(np.arange(events.n_events) > events.offsets[journeys.owner])
    customer = journeys.owner[stop]
    out = [
        np.flatnonzero(random.random(last - events.offsets[who]) < 0.4) + events.offsets[who]
        for who, last in zip(customer, stop, strict=True)
    ]
    question = np.repeat(np.arange(len(stop)), [len(some) for some in out])
    found = journeys_without(events, journeys.spec, customer, stop, question, np.concatenate(out))
    for i, (who, last) in enumerate(zip(customer, stop, strict=True)):
        left = np.setdiff1d(np.arange(events.offsets[who], last), out[i])
        mine = slice(found.offsets[i], found.offsets[i + 1])
        if len(left):
            for name in ("time", "channel", "event_type", "purchase", "value", "features"):
                assert np.array_equal(getattr(found, name)[mine], getattr(events, name)[left])
        else:
            assert found.time[mine].tolist() == [events.time[events.offsets[who]]]
            assert found.channel[mine].tolist() == [UNK]


def test_the_planted_channel_has_all_credit(
    touching: Make, knowing: Ask, random_log: Callable[[int], Log]
) -> None:
    journeys = touching(random_log(5))
    found = CounterfactualRemoval().attribute(knowing(journeys, by_kind(mail=0.7)))
    mail = journeys.channels.index("mail")
    path, touch = journeys.converting.rows()
    times = np.bincount(path, journeys.channel[touch] == mail, minlength=len(journeys.conversion))
    share = 1 - np.exp(-0.7 * times)
    expected = np.zeros(len(journeys.touch))
    for p, t in zip(path, touch, strict=True):
        expected[t] += share[p] / times[p] if journeys.channel[t] == mail else 0.0
    alone = journeys.converting.first == journeys.events.offsets[journeys.converts]
    assert not alone.all()
    # Where nothing else is before a conversion, an event of no channel stands for all.
    assert found.credit == pytest.approx(expected, abs=1e-6)
    assert found.credit.sum() > 5


effects = st.lists(st.floats(-3, 3), min_size=1, max_size=6)


@settings(deadline=None)
@given(effects, st.floats(-3, 1))
def test_scaled_effects_sum_and_keep_their_signs(effect: list[float], total: float) -> None:
    given_ = np.array(effect)
    found = scaled_to(np.array([total]), given_, np.zeros(len(given_), dtype=np.int64))
    assert found.sum() == pytest.approx(total, abs=1e-9)
    given_ = np.where(np.abs(given_) < ROUNDING, 0, given_)
    up, down = given_.clip(min=0).sum(), -given_.clip(max=0).sum()
    if (up if total >= 0 else down) > 0:
        assert (found * given_ >= 0).all()
        assert (found[given_ == 0] == 0).all()
        bound = abs(total) + np.sqrt(up * down) + 1e-9
        assert np.abs(found).max() <= bound
    else:
        assert found == pytest.approx(np.full(len(found), total / len(found)))


def test_groups_are_scaled_apart() -> None:
    total, group = np.array([1.0, -0.5, 0.25]), np.array([0, 1, 0, 1, 2])
    effect = np.array([0.1, -0.2, 0.3, -0.3, 0.0])
    assert scaled_to(total, effect, group) == pytest.approx([0.25, -0.2, 0.75, -0.3, 0.25])
