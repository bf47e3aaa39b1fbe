"""Training points: as of their moment, never beyond the training period, labelled by definition."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from seqmarket.data.dense import (
    Dense,
    Draw,
    HazardObjective,
    NextObjective,
    Objective,
    WindowObjective,
)
from seqmarket.data.labels import Neighbours, window_table
from seqmarket.data.splits import Period, Split
from seqmarket.schema import (
    EVERY_EVENT,
    MICROSECONDS_PER_DAY,
    PURCHASES,
    SPECIAL_TOKENS,
    EventArrays,
    EventFilter,
    NextRule,
    Outcome,
    WindowRule,
)

NEXT_CHANNEL = NextRule("next_channel", "channel")


def rule(outcome: Outcome = "happens", window: int = 9) -> WindowRule:
    return WindowRule("asked", window, outcome, PURCHASES, 20, PURCHASES)


def dense(small: Any, near: Neighbours, asked: WindowRule) -> Dense:
    return WindowObjective(asked).points(near, small.split)


def draw_is_as_of(
    small: Any, events: EventArrays, time: NDArray[np.int64], weight: NDArray[np.float32]
) -> None:
    """A drawn moment lies at or after its event and before the customer's next one."""
    asked = weight > 0
    near = Neighbours(events, small.spec)
    assert asked.any()
    assert (time[asked] >= events.time[asked]).all()
    assert (time[asked] < near.next_time[asked]).all()


def test_dense_draws_are_as_of_uncensored_and_labelled_by_the_definition(small: Any) -> None:
    events = small.busy()
    near = Neighbours(events, small.spec)
    for asked in (rule("happens"), rule("absent")):
        draw = dense(small, near, asked).draw(np.random.default_rng(1))
        draw_is_as_of(small, events, draw.time, draw.weight)
        for i in np.flatnonzero(draw.weight > 0):
            mine = slice(events.offsets[near.customer[i]], events.offsets[near.customer[i] + 1])
            bought = events.time[mine][events.purchase[mine]]
            t = draw.time[i]
            assert t + asked.window < small.split.periods["train"].end
            assert t - bought[bought <= t].max() < asked.active_within
            buys = ((bought > t) & (bought <= t + asked.window)).any()
            assert draw.label[i] == (buys if asked.outcome == "happens" else not buys)


def test_a_draw_that_ignores_the_next_event_is_caught(small: Any) -> None:
    events = small.busy()
    draw = dense(small, Neighbours(events, small.spec), rule()).draw(np.random.default_rng(1))
    with pytest.raises(AssertionError):
        draw_is_as_of(small, events, draw.time + 15, draw.weight)


def test_dense_weights_make_the_average_that_of_a_random_moment(small: Any) -> None:
    """The weighted label rate of the draws is the calendar's, the unweighted one is not."""
    # A purchase every 2 units for a while, then one every 18: most moments lie in long gaps.
    journey = [(t, 2, True) for t in [*range(0, 12, 2), *range(12, 60, 18)]]
    events = small.events([[(t * 1_000, c, p) for t, c, p in journey]])
    split = Split({**small.split.periods, "train": Period(0, 60_000)}, None, 0, 1)
    asked = WindowRule("purchase", 3_000, "happens", PURCHASES, 20_000, PURCHASES)
    near = Neighbours(events, small.spec)
    dense = WindowObjective(asked).points(near, split)
    draws = [dense.draw(np.random.default_rng(seed)) for seed in range(4_000)]
    weighted = np.mean([np.average(d.label, weights=d.weight) for d in draws])
    plain = np.mean([d.label[d.weight > 0].mean() for d in draws])
    calendar = window_table(near, split, "train", asked).label.mean()
    assert abs(weighted - calendar) < 0.02
    assert abs(plain - calendar) > 0.2


def test_dense_next_channel_asks_half_right_after_the_event(small: Any) -> None:
    events = small.busy()
    near = Neighbours(events, small.spec)
    draw = (
        NextObjective(NEXT_CHANNEL, censored=False)
        .points(near, small.split)
        .draw(np.random.default_rng(2))
    )
    asked = np.flatnonzero(draw.weight > 0)
    assert (draw.time[asked] >= events.time[asked]).all()
    assert (draw.time[asked] <= near.next_time[asked]).all()
    assert (near.next_time[asked] < small.split.periods["train"].end).all()
    assert (draw.label[asked] == events.channel[asked + 1] - SPECIAL_TOKENS).all()
    at_once = (draw.time[asked] == events.time[asked]).mean()
    assert 0.4 < at_once < 0.75


HAZARD = HazardObjective(PURCHASES, horizon=14, active=((PURCHASES, 20), (EVERY_EVENT, 5)))


def hazard_is_as_defined(small: Any, events: EventArrays, draw: Draw) -> None:
    """One point after the other: what is known of the next purchase, and nothing later."""
    near, end = Neighbours(events, small.spec), small.split.periods["train"].end
    asked = np.flatnonzero(draw.weight > 0)
    assert len(asked)
    for i in asked:
        mine = slice(events.offsets[near.customer[i]], events.offsets[near.customer[i] + 1])
        times, bought = events.time[mine], events.time[mine][events.purchase[mine]]
        t = int(draw.time[i])
        assert events.time[i] <= t < min(near.next_time[i], end)
        seen = bought[bought <= t]
        assert (len(seen) and t - seen.max() < 20) or t - times[times <= t].max() < 5
        known = min(14, end - t)
        later = bought[(bought > t) & (bought <= t + known) & (bought < end)]
        expected = later.min() - t if len(later) else known
        assert draw.label[i] == bool(len(later))
        assert draw.amount[i] * MICROSECONDS_PER_DAY == pytest.approx(expected, rel=1e-6)


def eligible(small: Any, events: EventArrays, objective: Objective) -> list[list[int]]:
    """The moments at which each event may be asked about, by their definition."""
    if isinstance(objective, HazardObjective):
        active, needed = objective.active, 0
    else:
        assert isinstance(objective, WindowObjective)
        active = ((objective.rule.active, objective.rule.active_within),)
        needed = objective.rule.window
    near, end = Neighbours(events, small.spec), small.split.periods["train"].end
    found = []
    for i in range(events.n_events):
        first = events.offsets[near.customer[i]]
        last = [
            max((int(events.time[j]) for j in range(first, i + 1) if mask[j]), default=-99) + within
            for which, within in active
            for mask in (which.mask(events, small.spec),)
        ]
        until = min(int(near.next_time[i]), end - needed if needed else end, max(last))
        found.append(list(range(int(events.time[i]), until)))
    return found


STRETCHED: list[HazardObjective | WindowObjective] = [
    HAZARD,
    HazardObjective(EventFilter(channel=("web",)), 30, ((EventFilter(event_type=("touch",)), 7),)),
    WindowObjective(rule("happens")),
    WindowObjective(WindowRule("asked", 5, "value", EVERY_EVENT, 12, EVERY_EVENT)),
]


@pytest.mark.parametrize("objective", STRETCHED)
def test_all_and_only_those_who_are_active_are_asked_at_any_moment_alike(
    small: Any, objective: HazardObjective | WindowObjective
) -> None:
    events = small.busy()
    moments = eligible(small, events, objective)
    lengths = np.array([len(some) for some in moments])
    assert 0 < np.count_nonzero(lengths) < (events.time < 60).sum()
    points = objective.points(Neighbours(events, small.spec), small.split)
    rng = np.random.default_rng(5)
    draws = [points.draw(rng) for _ in range(400)]
    assert draws[0].weight == pytest.approx(lengths / lengths[lengths > 0].mean())
    drawn = np.stack([draw.time for draw in draws])  # (draws, E)
    for i in np.flatnonzero(lengths):
        # With at most 20 moments, one that is never drawn has a chance of 1e-9.
        assert set(drawn[:, i].tolist()) == set(moments[i])
    middle = (drawn.mean(axis=0) - events.time)[lengths > 0]
    assert middle == pytest.approx((lengths[lengths > 0] - 1) / 2, abs=1.5)


@pytest.mark.parametrize("objective", STRETCHED)
def test_without_exposure_all_points_count_alike(
    small: Any, objective: HazardObjective | WindowObjective
) -> None:
    near = Neighbours(small.busy(), small.spec)
    weighted = objective.points(near, small.split).draw(np.random.default_rng(0))
    plain = replace(objective, exposure=False)
    alike = plain.points(near, small.split).draw(np.random.default_rng(0))
    assert (alike.weight == (weighted.weight > 0)).all()
    for found, expected in zip(alike[:3], weighted[:3], strict=True):
        assert (found == expected).all()


def test_hazard_points_say_what_is_known_and_no_more(small: Any) -> None:
    events = small.busy()
    draw = HAZARD.points(Neighbours(events, small.spec), small.split).draw(np.random.default_rng(3))
    hazard_is_as_defined(small, events, draw)
    late = draw.time >= small.split.periods["train"].end - 9
    assert (draw.weight[late] > 0).any()  # moments without a label of their own teach, too


def test_a_hazard_that_looks_beyond_the_training_period_is_caught(small: Any) -> None:
    events = small.busy()
    periods = {**small.split.periods, "train": Period(0, 90)}
    longer = Split(periods, None, small.split.warm_up, small.split.cutoff_every)
    draw = HAZARD.points(Neighbours(events, small.spec), longer).draw(np.random.default_rng(3))
    with pytest.raises(AssertionError):
        hazard_is_as_defined(small, events, draw)


def test_a_hazard_that_looks_beyond_its_longest_window_is_caught(small: Any) -> None:
    events = small.busy()
    longer = replace(HAZARD, horizon=HAZARD.horizon + 9)
    draw = longer.points(Neighbours(events, small.spec), small.split).draw(np.random.default_rng(3))
    with pytest.raises(AssertionError):
        hazard_is_as_defined(small, events, draw)


def test_a_hazard_of_customers_who_are_not_active_is_caught(small: Any) -> None:
    events = small.busy()
    wider = replace(HAZARD, active=((PURCHASES, 20), (EVERY_EVENT, 9)))
    draw = wider.points(Neighbours(events, small.spec), small.split).draw(np.random.default_rng(3))
    with pytest.raises(AssertionError):
        hazard_is_as_defined(small, events, draw)


def test_points_about_the_next_event_end_with_the_training_period(small: Any) -> None:
    events = small.busy()
    near, end = Neighbours(events, small.spec), small.split.periods["train"].end
    draw = (
        NextObjective(NEXT_CHANNEL, censored=True)
        .points(near, small.split)
        .draw(np.random.default_rng(2))
    )
    asked = draw.weight > 0
    assert (asked == (events.time < end)).all()
    silent = asked & (near.next_time >= end)
    assert silent.any()
    assert (draw.label[silent] == -1).all()
    until = np.where(silent, end, near.next_time)
    days = (until - draw.time)[asked] / MICROSECONDS_PER_DAY
    assert draw.amount[asked] == pytest.approx(days, rel=1e-6)
    known = asked & ~silent
    following = np.append(events.channel[1:], 0)
    assert (draw.label[known] == np.maximum(following[known] - SPECIAL_TOKENS, -1)).all()


def test_points_about_the_time_alone_need_no_class(small: Any) -> None:
    events = small.busy()
    near = Neighbours(events, small.spec)
    objective = NextObjective(NextRule("time_to_next", "time"), censored=True)
    draw = objective.points(near, small.split).draw(np.random.default_rng(2))
    known = (draw.weight > 0) & (near.next_time < small.split.periods["train"].end)
    assert (draw.label[known] == 0).all()


def test_values_are_summed_after_the_moment_and_inside_the_window(small: Any) -> None:
    events = small.busy()
    near, asked = Neighbours(events, small.spec), rule("value")
    draw = dense(small, near, asked).draw(np.random.default_rng(4))
    some = np.flatnonzero(draw.weight > 0)
    for i in some:
        mine = slice(events.offsets[near.customer[i]], events.offsets[near.customer[i] + 1])
        inside = (events.time[mine] > draw.time[i]) & (events.time[mine] <= draw.time[i] + 9)
        expected = events.value[mine][inside & events.purchase[mine]].sum()
        assert draw.amount[i] == pytest.approx(expected, abs=1e-3)
        assert draw.label[i] == (expected > 0)
    assert (draw.amount[some] > 0).any()


def test_a_sum_below_nothing_is_no_value(small: Any) -> None:
    events = small.busy()
    returned = replace(events, value=-events.value)
    draw = dense(small, Neighbours(returned, small.spec), rule("value"))
    found = draw.draw(np.random.default_rng(4))
    assert (found.amount[found.weight > 0] < 0).any()
    assert (found.label == 0).all()


def test_a_next_event_of_an_unknown_class_has_a_time_and_no_label(small: Any) -> None:
    events = small.events([[(5, 2, False), (8, 1, True), (20, 3, False)]])
    near, days = Neighbours(events, small.spec), 1 / MICROSECONDS_PER_DAY
    censored, known = (
        NextObjective(NEXT_CHANNEL, censored=censored)
        .points(near, small.split)
        .draw(np.random.default_rng(1))
        for censored in (True, False)
    )
    assert known.weight.tolist() == [0, 1, 0]
    assert known.label[1] == 3 - SPECIAL_TOKENS
    assert censored.weight.tolist() == [1, 1, 1]
    assert censored.label.tolist() == [-1, 3 - SPECIAL_TOKENS, -1]
    expected = (np.array([8, 20, 60]) - censored.time) * days
    assert censored.amount == pytest.approx(expected, rel=1e-6)


def test_silence_can_be_left_out(small: Any) -> None:
    events = small.events([[(5, 2, False), (8, 1, True), (20, 3, False)]])
    near = Neighbours(events, small.spec)
    with_it, without = (
        NextObjective(NEXT_CHANNEL, censored=True, silence=silence)
        .points(near, small.split)
        .draw(np.random.default_rng(1))
        for silence in (True, False)
    )
    assert with_it.weight.tolist() == [1, 1, 1]
    assert without.weight.tolist() == [1, 1, 0]


def test_what_is_not_scored_is_learnt_all_the_same(small: Any) -> None:
    near = Neighbours(small.busy(), small.spec)
    rules = [NEXT_CHANNEL, replace(NEXT_CHANNEL, not_scored=("shop",))]
    draws = [
        NextObjective(asked, censored=False)
        .points(near, small.split)
        .draw(np.random.default_rng(6))
        for asked in rules
    ]
    for scored, not_scored in zip(*draws, strict=True):
        assert (scored == not_scored).all()
    shop = small.spec.channel.categories.index("shop")
    assert (draws[1].label[draws[1].weight > 0] == shop).any()
