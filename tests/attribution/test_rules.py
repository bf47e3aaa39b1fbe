"""Rules: by hand on small journeys, and what holds for each of them on any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from seqmarket.attribution import paths, rules, sharing
from seqmarket.attribution.attributor import Attributor, Evidence, by_customer
from seqmarket.attribution.first import FirstTouch
from seqmarket.attribution.journeys import Journeys, JourneySettings
from seqmarket.attribution.last import LastTouch
from seqmarket.attribution.last_non_direct import LastNonDirect
from seqmarket.attribution.linear import Linear
from seqmarket.attribution.markov import MarkovRemoval
from seqmarket.attribution.position_based import PositionBased
from seqmarket.attribution.shapley import ShapleySets
from seqmarket.attribution.time_decay import TimeDecay

Make = Callable[..., Journeys]
Log = list[list[tuple[Any, ...]]]

JOURNEY = [
    [(0.0, "mail"), (1.0, "search"), (6.0, "mail"), (8.0, "app"), (8.0, "buy", 30.0)],
    [(3.0, "app"), (4.0, "buy", 10.0), (5.0, "buy", 20.0)],
]
METHODS: list[Attributor] = [
    FirstTouch(),
    LastTouch(),
    LastNonDirect(),
    Linear(),
    PositionBased(),
    TimeDecay(),
    MarkovRemoval(),
    MarkovRemoval(order=2),
    ShapleySets(),
    ShapleySets(game="rate"),
    ShapleySets(game="rate", exact_up_to=1, samples=50),
]
BY_METHOD = pytest.mark.parametrize("method", METHODS, ids=repr)


@pytest.mark.parametrize(
    ("method", "credit"),
    [
        (FirstTouch(), [1, 0, 0, 0, 1]),
        (LastTouch(), [0, 0, 0, 1, 1]),
        (LastNonDirect(), [0, 0, 1, 0, 1]),
        (Linear(), [0.25, 0.25, 0.25, 0.25, 1]),
        (PositionBased(), [0.4, 0.1, 0.1, 0.4, 1]),
        (PositionBased(first=0.6, last=0.2), [0.6, 0.1, 0.1, 0.2, 1]),
        # Halved each two days before the newest touch, by time and not by the touches between.
        (TimeDecay.model_validate({"half_life": "2d"}), [2**-4, 2**-3.5, 0.5, 1, 1]),
    ],
)
def test_credit_is_as_by_hand(make: Make, method: Attributor, credit: list[float]) -> None:
    journeys = make(JOURNEY, direct=["app"])
    wanted = np.array(credit, dtype=float)
    wanted[:4] /= wanted[:4].sum()
    found = method.attribute(Evidence(journeys, journeys))
    assert found.credit == pytest.approx(wanted)
    assert found.organic.tolist() == [0, 1]
    assert found.value == pytest.approx([*(30 * wanted[:4]), 10])
    assert found.organic_value.tolist() == [0, 20]
    assert found.organic_is == "untouched"


def goes_by_place(patch: pytest.MonkeyPatch) -> None:
    """A row counts as a day, however long it lasted."""
    patch.setattr(Journeys, "days_before", lambda journeys, paths, path, touch: -1.0 * touch)


def looks_at_the_wrong_end(patch: pytest.MonkeyPatch) -> None:
    honest = rules.PathTouches
    patch.setattr(
        rules,
        "PathTouches",
        lambda path, channel, place, left, days: honest(path, channel, left, place, days),
    )


def forgets_who_is_direct(patch: pytest.MonkeyPatch) -> None:
    honest = rules.PathTouches
    patch.setattr(
        rules, "PathTouches", lambda path, channel, *rest: honest(path, 0 * channel, *rest)
    )


@pytest.mark.parametrize(
    ("mutant", "method", "credit"),
    [
        (goes_by_place, TimeDecay.model_validate({"half_life": "2d"}), [2**-4, 2**-3.5, 0.5, 1, 1]),
        (looks_at_the_wrong_end, FirstTouch(), [1, 0, 0, 0, 1]),
        (looks_at_the_wrong_end, LastTouch(), [0, 0, 0, 1, 1]),
        (looks_at_the_wrong_end, PositionBased(first=0.6, last=0.2), [0.6, 0.1, 0.1, 0.2, 1]),
        (forgets_who_is_direct, LastNonDirect(), [0, 0, 1, 0, 1]),
    ],
)
def test_credit_by_another_rule_is_noticed(
    make: Make,
    mutant: Callable[[pytest.MonkeyPatch], None],
    method: Attributor,
    credit: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        test_credit_is_as_by_hand(make, method, credit)


def test_very_old_touches_have_nothing_and_break_nothing(make: Make) -> None:
    journeys = make([[(0.0, "mail"), (90.0, "app"), (99.0, "buy")]], lookback="100d")
    method = TimeDecay.model_validate({"half_life": "30m"})
    assert method.attribute(Evidence(journeys, journeys)).credit.tolist() == [0, 1]


@pytest.mark.parametrize(("first", "last"), [(0.9, 0.1), (0.8, 0.2), (0.6, 0.4)])
def test_no_rounding_makes_credit_negative(make: Make, first: float, last: float) -> None:
    journeys = make([[(0.0, "mail"), (1.0, "app"), (2.0, "mail"), (3.0, "buy")]])
    found = PositionBased(first=first, last=last).attribute(Evidence(journeys, journeys))
    assert found.credit == pytest.approx([first, 0, last])
    assert found.credit.min() >= 0


def test_two_touches_share_what_is_between(make: Make) -> None:
    journeys = make([[(1.0, "mail"), (2.0, "search"), (3.0, "buy")]])
    found = PositionBased(first=0.6, last=0.2).attribute(Evidence(journeys, journeys))
    assert found.credit == pytest.approx([0.75, 0.25])


def test_where_all_touches_are_direct_the_last_has_it(make: Make) -> None:
    journeys = make([[(1.0, "app"), (2.0, "app"), (3.0, "buy")]], direct=["app"])
    assert LastNonDirect().attribute(Evidence(journeys, journeys)).credit.tolist() == [0, 1]


def conserves(make: Make, log: Log, method: Attributor) -> None:
    for restart in (True, False):
        journeys = make(log, first=10.0, until=45.0, restart=restart)
        found = method.attribute(Evidence(journeys, journeys))
        assert found.total == pytest.approx(len(journeys.conversion))
        value = found.value.sum() + found.organic_value.sum()
        assert value == pytest.approx(journeys.value.sum())
        on_paths = np.unique(journeys.converting.rows()[1])
        assert not np.delete(found.credit, on_paths).any()


@BY_METHOD
@pytest.mark.parametrize("seed", range(4))
def test_credits_conserve(
    make: Make, random_log: Callable[[int], Log], method: Attributor, seed: int
) -> None:
    conserves(make, random_log(seed), method)


def test_credit_that_is_not_shared_is_noticed(
    make: Make, random_log: Callable[[int], Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    def doubled(method: str, journeys: Journeys, credit: Any, value: Any) -> Any:
        return honest(method, journeys, 2 * credit, value)

    honest = sharing.observed
    monkeypatch.setattr(sharing, "observed", doubled)
    with pytest.raises(AssertionError):
        conserves(make, random_log(0), Linear())


@BY_METHOD
def test_credit_does_not_depend_on_how_many_paths_are_in_hand(
    make: Make,
    random_log: Callable[[int], Log],
    method: Attributor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    journeys = make(random_log(3), until=45.0, restart=False)
    whole = method.attribute(Evidence(journeys, journeys))
    monkeypatch.setattr(paths, "_PATHS_AT_A_TIME", 3)
    found = method.attribute(Evidence(journeys, journeys))
    assert found.credit.tolist() == whole.credit.tolist()
    assert found.value.tolist() == whole.value.tolist()


@BY_METHOD
def test_customers_may_stand_in_any_order(
    make: Make, random_log: Callable[[int], Log], method: Attributor
) -> None:
    log = random_log(5)
    order = np.random.default_rng(1).permutation(len(log))
    one, other = make(log), make([log[i] for i in order])
    first, second = (method.attribute(Evidence(j, j)) for j in (one, other))
    assert by_customer(other, second.credit) == pytest.approx(by_customer(one, first.credit)[order])
    assert second.organic == pytest.approx(first.organic[order])


@BY_METHOD
def test_conversions_without_touches_are_organic(make: Make, method: Attributor) -> None:
    journeys = make([[(1.0, "buy"), (2.0, "buy")], [(1.0, "buy")]])
    found = method.attribute(Evidence(journeys, journeys))
    assert found.organic.tolist() == [2, 1]
    assert len(found.credit) == 0


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        (PositionBased, {"first": 0.7, "last": 0.7}),
        (PositionBased, {"first": 0}),
        (TimeDecay, {"half_life": 7}),
        (TimeDecay, {"half_life": "0d"}),
        (JourneySettings, {"lookback": "0d"}),
        (JourneySettings, {"conversions": "last"}),
        (PositionBased, {"last": 1}),
        (MarkovRemoval, {"order": 0}),
        (MarkovRemoval, {"order": -1}),
        (MarkovRemoval, {"order": 1.5}),
        (MarkovRemoval, {"order": "best"}),
        (MarkovRemoval, {"max_order": 0}),
        (ShapleySets, {"samples": 0}),
        (ShapleySets, {"game": "chess"}),
        (Linear, {"unknown": 1}),
    ],
)
def test_wrong_settings_are_refused(method: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        method.model_validate(wrong)
