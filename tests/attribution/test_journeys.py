"""Journeys against a slow and plain account of what they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from seqmarket.attribution import finding, paths
from seqmarket.attribution import journeys as module
from seqmarket.attribution.journeys import OTHER, Journeys, JourneySettings
from seqmarket.data.labels import Neighbours
from seqmarket.data.splits import Period
from seqmarket.errors import SeqmarketError
from seqmarket.schema import MICROSECONDS_PER_DAY as DAY

Log = list[list[tuple[Any, ...]]]
Make = Callable[..., Journeys]
Touches = dict[str, list[str]]


def is_touch(event: tuple[Any, ...], touches: Touches) -> bool:
    name = event[1]
    kind = "visit" if name == "app" else "touch"
    return (
        name != "buy"
        and name in touches.get("channel", [name])
        and kind in touches.get("event_type", [kind])
    )


def by_hand(
    log: Log,
    first: float,
    until: float,
    lookback: float,
    restart: bool,
    conversions: str,
    touches: Touches,
    margin: float,
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
                    if is_touch(journey[k], touches)
                    and journey[k][0] >= day - lookback
                    and (not margin or journey[k][0] < day - margin)
                    and journey[k][0] >= first - lookback
                ]
                paths[offset + i] = [offset + k for k in own]
                taken |= set(own)
                bought.append(i)
        free = []
        for k, (day, *_) in enumerate(journey):
            if not is_touch(journey[k], touches) or not first <= day < until or k in taken:
                continue
            later = [event[0] for event in journey[k + 1 :] if event[1] == "buy"]
            if any(moment < until and moment - day <= lookback for moment in later):
                continue
            if day + lookback >= until:
                censored += 1
            else:
                free.append(k)
        path: list[int] = []
        for k in free:
            # The touches between two of one path are all of it.
            between = range(path[-1] + 1, k) if path else []
            whole = not any(is_touch(journey[j], touches) for j in between)
            if path and (not whole or journey[k][0] - journey[path[-1]][0] > lookback):
                nothing.append([offset + j for j in path])
                path = []
            path.append(k)
        if path:
            nothing.append([offset + j for j in path])
        offset += len(journey)
    return paths, nothing, censored


DEFAULT: dict[str, Any] = {
    "first": 12.0,
    "until": 40.0,
    "lookback": 8.0,
    "restart": True,
    "conversions": "every",
    "touches": {},
    "margin": 0.0,
}


def are_as_by_hand(make: Make, log: Log, **changes: Any) -> None:
    wanted = DEFAULT | changes
    first, until, lookback = wanted["first"], wanted["until"], wanted["lookback"]
    flat = [(c, event) for c, journey in enumerate(log) for event in journey]
    touches = [
        i
        for i, (_, event) in enumerate(flat)
        if first - lookback <= event[0] < until and is_touch(event, wanted["touches"])
    ]
    paths, nothing, censored = by_hand(log, **wanted)
    wanted["lookback"], wanted["margin"] = f"{lookback}d", f"{wanted['margin']}d"
    if not touches and not paths:
        with pytest.raises(SeqmarketError, match="no touch and no purchase"):
            make(log, **wanted)
        return
    found = make(log, **wanted)
    assert found.touch.tolist() == touches
    assert found.customer.tolist() == [flat[i][0] for i in touches]
    assert found.time.tolist() == [flat[i][1][0] * DAY for i in touches]
    names = [flat[i][1][1] for i in touches]
    assert found.channel.tolist() == [
        found.channels.index(OTHER if name == "new" else name) for name in names
    ]
    assert found.conversion.tolist() == sorted(paths)
    assert found.converts.tolist() == [flat[i][0] for i in sorted(paths)]
    for place, event in enumerate(found.conversion.tolist()):
        first, stop = found.paths.first[place], found.paths.stop[place]
        assert found.touch[first:stop].tolist() == paths[event], event
        assert (found.customer[first:stop] == found.converts[place]).all()
        assert (found.touch[first:stop] < event).all()
        assert found.paths.conversion[place] == place
    rest = range(len(found.conversion), len(found.paths.first))
    others = [found.touch[found.paths.first[p] : found.paths.stop[p]].tolist() for p in rest]
    assert sorted(others) == sorted(nothing)
    assert (found.paths.conversion[len(found.conversion) :] == -1).all()
    assert found.censored == censored


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"restart": False},
        {"conversions": "first"},
        {"first": 0.0, "until": 60.0},
        {"margin": 2.0},
    ],
)
def test_journeys_are_as_by_hand(
    make: Make, random_log: Callable[[int], Log], seed: int, changes: dict[str, Any]
) -> None:
    are_as_by_hand(make, random_log(seed), **changes)


# Few days, so that events share moments, and lie at the very edges of lookbacks and periods.
journey_strategy = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from(["mail", "search", "app", "new", "buy"])),
    max_size=8,
).map(lambda journey: sorted(journey, key=lambda event: event[0]))


@settings(max_examples=200, deadline=None)
@given(
    log=st.lists(journey_strategy, min_size=1, max_size=5),
    first=st.integers(0, 5),
    length=st.integers(1, 12),
    lookback=st.sampled_from([0.5, 1, 3, 20]),
    margin=st.sampled_from([0.0, 0.25]),
    restart=st.booleans(),
    conversions=st.sampled_from(["every", "first"]),
    touches=st.sampled_from(
        [
            {},
            {"channel": ["mail", "app"]},
            {"event_type": ["touch"]},
            {"channel": ["mail", "app"], "event_type": ["visit"]},
        ]
    ),
)
def test_small_journeys_are_as_by_hand(
    make: Make, log: Log, first: int, length: int, **wanted: Any
) -> None:
    are_as_by_hand(make, log, first=first, until=first + length, **wanted)


@pytest.mark.parametrize("at_a_time", [1, 10, 100])
def test_journeys_do_not_depend_on_how_many_are_in_hand(
    make: Make,
    random_log: Callable[[int], Log],
    at_a_time: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paths, "_EVENTS_AT_A_TIME", at_a_time)
    for seed in range(4):
        are_as_by_hand(make, random_log(seed))


def test_indices_are_as_wide_as_the_log_is_long(
    make: Make, random_log: Callable[[int], Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert paths.kept_type(2**31 - 1) is np.int32
    assert paths.kept_type(2**31) is np.int64
    narrow = make(random_log(0))
    for room in (finding, paths):
        monkeypatch.setattr(room, "kept_type", lambda _: np.int64)
    are_as_by_hand(make, random_log(0))
    wide = make(random_log(0))
    assert {narrow.touch.dtype, *(column.dtype for column in narrow.paths)} == {np.dtype("int32")}
    assert {wide.touch.dtype, *(column.dtype for column in wide.paths)} == {np.dtype("int64")}


def test_touches_of_the_margin_that_count_are_noticed(
    make: Make, random_log: Callable[[int], Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        module, "Reach", lambda lookback, _, restart: paths.Reach(lookback, 0, restart)
    )
    with pytest.raises(AssertionError):
        are_as_by_hand(make, random_log(0), margin=2.0)


@pytest.mark.parametrize("margin", ["-1h", "30d", "31d"])
def test_a_margin_leaves_something_of_the_lookback(margin: str) -> None:
    with pytest.raises(ValidationError, match=r"margin|duration"):
        JourneySettings.model_validate({"margin": margin})


def forgets_purchases(patch: pytest.MonkeyPatch) -> None:
    honest = paths._paths
    patch.setattr(
        paths,
        "_paths",
        lambda near, p, reach, *args: honest(near, p, reach._replace(restart=False), *args),
    )


def censors_nothing(patch: pytest.MonkeyPatch) -> None:
    honest = paths._paths
    patch.setattr(
        paths, "_paths", lambda near, p, *args: honest(near, Period(p.start, 9 * p.end), *args)
    )


def begins_before_the_period(patch: pytest.MonkeyPatch) -> None:
    honest = paths._paths
    patch.setattr(paths, "_paths", lambda near, p, *args: honest(near, Period(0, p.end), *args))


def goes_by_time_alone(patch: pytest.MonkeyPatch) -> None:
    """Touches after a purchase at its moment count for it."""
    honest = paths._paths

    def by_time(near: Neighbours, *args: Any) -> Any:
        *others, touch, conversion = args
        last = near._last_until(conversion, near.events.time[conversion])
        return honest(near, *others, touch, last)

    patch.setattr(paths, "_paths", by_time)


def opens_the_lookback(patch: pytest.MonkeyPatch) -> None:
    honest = paths.first_since
    patch.setattr(
        paths, "first_since", lambda time, customer, who, t: honest(time, customer, who, t + 1)
    )


def looks_at_the_customer_before(patch: pytest.MonkeyPatch) -> None:
    honest = paths.first_since
    patch.setattr(paths, "first_since", lambda *args: np.maximum(honest(*args) - 1, 0))


def numbers_unknown_channels_like_known_ones(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(finding, "UNK", 0)


@pytest.mark.parametrize(
    "mutant",
    [
        forgets_purchases,
        censors_nothing,
        begins_before_the_period,
        goes_by_time_alone,
        opens_the_lookback,
        looks_at_the_customer_before,
        numbers_unknown_channels_like_known_ones,
    ],
)
def test_wrong_journeys_are_noticed(
    make: Make,
    random_log: Callable[[int], Log],
    mutant: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutant(monkeypatch)
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
    assert caught.value.where == f"journeys.{where}"


def test_nothing_to_attribute_is_refused(make: Make) -> None:
    with pytest.raises(SeqmarketError, match="no touch and no purchase"):
        make([[(1.0, "mail"), (2.0, "buy")]], first=50.0, until=60.0)


def test_conversions_without_touches_and_touches_without_conversions(make: Make) -> None:
    bare = make([[(1.0, "buy"), (2.0, "buy")]])
    assert bare.paths.first.tolist() == bare.paths.stop.tolist() == [0, 0]
    idle = make([[(1.0, "mail"), (2.0, "mail"), (95.0, "mail")]])
    assert idle.paths.conversion.tolist() == [-1]
    assert idle.censored == 1


def rates_are_not_those_of_the_impatient(make: Make) -> None:
    """Half of the touches convert, nine days later; near the end only those are known that did."""
    log: Log = []
    for i in range(400):
        day = 0.15 * i
        log.append([(day, "mail"), (day + 9.0, "buy")] if i % 2 else [(day, "mail")])
    settled = make(log, until=60.0).settled
    assert len(settled.first) == 334
    assert (settled.conversion >= 0).mean() == pytest.approx(0.5, abs=0.01)


def test_rates_are_not_those_of_the_impatient(make: Make) -> None:
    rates_are_not_those_of_the_impatient(make)


def test_late_conversions_among_the_settled_are_noticed(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Journeys, "settled", property(lambda journeys: journeys.paths))
    with pytest.raises(AssertionError):
        rates_are_not_those_of_the_impatient(make)


def rates_do_not_depend_on_when_one_looks(make: Make) -> None:
    """Half of the journeys convert at their fourth touch; the period begins within many of them."""
    log: Log = []
    for i in range(800):
        journey = [(0.1 * i + 2.0 * k, "mail") for k in range(4)]
        log.append([*journey, (journey[-1][0] + 1.0, "buy")] if i % 2 else journey)
    settled = make(log, first=40.0, until=55.0).settled
    assert (settled.conversion >= 0).mean() == pytest.approx(0.5, abs=0.02)


def test_rates_do_not_depend_on_when_one_looks(make: Make) -> None:
    rates_do_not_depend_on_when_one_looks(make)


def test_conversions_that_began_before_the_period_are_noticed(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def whole(journeys: Journeys) -> paths.Paths:
        some = journeys.paths.take(journeys.paths.first < journeys.paths.stop)
        began = journeys.time[some.first]
        return some.take(began + journeys.settings.reach.lookback < journeys.period.end)

    monkeypatch.setattr(Journeys, "settled", property(whole))
    with pytest.raises(AssertionError):
        rates_do_not_depend_on_when_one_looks(make)


def test_a_purchase_that_is_not_attributed_is_not_nothing(make: Make) -> None:
    """With a customer's first conversion alone, touches before the second are on no path."""
    log: Log = [[(1.0, "mail"), (2.0, "buy"), (3.0, "mail"), (4.0, "buy"), (5.0, "mail")]]
    found = make(log, conversions="first")
    _, touch = found.paths.rows()
    assert found.time[touch].tolist() == [DAY, 5 * DAY]
    assert found.paths.conversion.tolist() == [0, -1]
    assert found.censored == 0
