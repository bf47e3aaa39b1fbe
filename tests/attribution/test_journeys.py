"""Journeys against a slow and plain account of what they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from seqmarket.attribution import journeys as module
from seqmarket.attribution.journeys import OTHER, Journeys
from seqmarket.errors import SeqmarketError

Log = list[list[tuple[Any, ...]]]
Make = Callable[..., Journeys]


def by_hand(
    log: Log, first: float, until: float, lookback: float, restart: bool, conversions: str
) -> tuple[dict[int, list[int]], list[list[int]], int]:
    """Per conversion its touches, the paths without one, and the censored touches; as events."""
    paths: dict[int, list[int]] = {}
    nothing: list[list[int]] = []
    censored = 0
    offset = 0
    for journey in log:
        taken: set[int] = set()
        bought: list[int] = []
        for i, (day, name, *_) in enumerate(journey):
            if name != "buy":
                continue
            attributed = first <= day < until and not (conversions == "first" and bought)
            if attributed:
                since = -1
                if restart:
                    since = max((k for k in range(i) if journey[k][1] == "buy"), default=-1)
                own = [
                    k
                    for k in range(since + 1, i)
                    if journey[k][1] != "buy"
                    and journey[k][0] >= day - lookback
                    and journey[k][0] >= first - lookback
                ]
                paths[offset + i] = [offset + k for k in own]
                taken |= set(own)
                bought.append(i)
        free = []
        for k, (day, name, *_) in enumerate(journey):
            if name == "buy" or not first <= day < until or k in taken:
                continue
            if day + lookback >= until:
                censored += 1
            else:
                free.append(k)
        path: list[int] = []
        for k in free:
            # The touches between two of one path are all of it.
            between = range(path[-1] + 1, k) if path else []
            whole = all(journey[j][1] == "buy" for j in between)
            if path and (not whole or journey[k][0] - journey[path[-1]][0] > lookback):
                nothing.append([offset + j for j in path])
                path = []
            path.append(k)
        if path:
            nothing.append([offset + j for j in path])
        offset += len(journey)
    return paths, nothing, censored


def are_as_by_hand(make: Make, log: Log, **settings: Any) -> None:
    given = {"first": 12.0, "until": 40.0, "restart": True, "conversions": "every", **settings}
    lookback = {"lookback": "8d"}
    found = make(log, **given, **lookback)
    paths, nothing, censored = by_hand(log, lookback=8.0, **given)
    assert found.conversion.tolist() == sorted(paths)
    for place, event in enumerate(found.conversion.tolist()):
        first, stop = found.paths.first[place], found.paths.stop[place]
        assert found.touch[first:stop].tolist() == paths[event], event
        assert (found.customer[first:stop] == found.converts[place]).all()
        assert found.paths.conversion[place] == place
    rest = range(len(found.conversion), len(found.paths.first))
    others = [found.touch[found.paths.first[p] : found.paths.stop[p]].tolist() for p in rest]
    assert sorted(others) == sorted(nothing)
    assert (found.paths.conversion[len(found.conversion) :] == -1).all()
    assert found.censored == censored


SETTINGS = [{}, {"restart": False}, {"conversions": "first"}, {"first": 0.0, "until": 60.0}]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("settings", SETTINGS)
def test_journeys_are_as_by_hand(
    make: Make, random_log: Callable[[int], Log], seed: int, settings: dict[str, Any]
) -> None:
    are_as_by_hand(make, random_log(seed), **settings)


def test_a_lookback_of_a_day_less_is_noticed(make: Make, random_log: Callable[[int], Log]) -> None:
    def shorter(*args: Any, **settings: Any) -> Journeys:
        return make(*args, **{**settings, "lookback": "7d"})

    with pytest.raises(AssertionError):
        for seed in range(8):
            are_as_by_hand(shorter, random_log(seed))


def test_touches_of_the_customer_before_are_noticed(
    make: Make, random_log: Callable[[int], Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = module._first_since
    monkeypatch.setattr(module, "_first_since", lambda *args: np.maximum(honest(*args) - 1, 0))
    with pytest.raises(AssertionError):
        for seed in range(8):
            are_as_by_hand(make, random_log(seed))


def test_a_touch_counts_up_to_the_very_end_of_the_lookback(make: Make) -> None:
    found = make([[(10.0, "mail"), (20.0, "buy")], [(9.99, "mail"), (20.0, "buy")]])
    assert (found.paths.stop - found.paths.first)[:2].tolist() == [1, 0]


def test_order_decides_between_events_of_one_moment(make: Make) -> None:
    found = make([[(5.0, "mail"), (5.0, "buy"), (5.0, "search"), (5.0, "buy")]])
    first, stop = found.paths.first.tolist(), found.paths.stop.tolist()
    assert found.touch.tolist() == [0, 2]
    assert (first, stop) == ([0, 1], [1, 2])


def test_costs_are_those_of_the_log(make: Make) -> None:
    costs = [0.0, 0.02, 3.5, 1234.0, float("nan")]
    found = make([[(float(day), "mail", 0.0, cost) for day, cost in enumerate(costs)]])
    assert found.cost == pytest.approx([0.0, 0.02, 3.5, 1234.0, 0.0], rel=1e-4, abs=1e-6)


def test_unknown_channels_are_one(make: Make) -> None:
    found = make([[(1.0, "new"), (2.0, "mail"), (3.0, "buy", 7.0)]])
    assert [found.channels[i] for i in found.channel] == [OTHER, "mail"]
    assert found.value.tolist() == [7.0]


def test_only_what_is_named_is_a_touch(make: Make) -> None:
    log = [[(1.0, "mail"), (2.0, "app"), (3.0, "search"), (4.0, "buy")]]
    assert make(log, touches={"channel": ["mail", "app"]}).touch.tolist() == [0, 1]
    assert make(log, touches={"event_type": ["visit"]}).touch.tolist() == [1]
    assert make(log, touches={"event_type": ["buy"]}).touch.tolist() == []


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"touches": {"channel": ["post"]}}, "touches.channel"),
        ({"touches": {"event_type": ["mail"]}}, "touches.event_type"),
        ({"direct": ["ap"]}, "direct"),
    ],
)
def test_names_have_to_be_those_of_the_log(make: Make, settings: Any, where: str) -> None:
    with pytest.raises(SeqmarketError) as caught:
        make([[(1.0, "mail")]], **settings)
    assert caught.value.where == f"attribution.journeys.{where}"


def test_nothing_to_attribute_is_refused(make: Make) -> None:
    with pytest.raises(SeqmarketError, match="no touch and no purchase"):
        make([[(1.0, "mail"), (2.0, "buy")]], first=50.0, until=60.0)


def test_conversions_without_touches_and_touches_without_conversions(make: Make) -> None:
    bare = make([[(1.0, "buy"), (2.0, "buy")]])
    assert bare.paths.first.tolist() == bare.paths.stop.tolist() == [0, 0]
    idle = make([[(1.0, "mail"), (2.0, "mail"), (95.0, "mail")]])
    assert idle.paths.conversion.tolist() == [-1]
    assert idle.censored == 1
