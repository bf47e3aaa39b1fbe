"""Training points: as of their moment, never beyond the training period, labelled by definition."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from seqmarket.data.dense import Dense, Draw, HazardObjective, NextObjective, WindowObjective
from seqmarket.data.labels import Neighbours, window_table
from seqmarket.data.splits import Period, Split
from seqmarket.schema import (
    EVERY_EVENT,
    MICROSECONDS_PER_DAY,
    PURCHASES,
    SPECIAL_TOKENS,
    CategoricalFeature,
    EventArrays,
    NextRule,
    NumericFeature,
    Outcome,
    SequenceSpec,
    WindowRule,
)

Journeys = list[list[tuple[int, int, bool]]]
"""Per customer: (time, channel id, purchase)."""

SPLIT = Split(
    periods={"train": Period(0, 60), "validation": Period(60, 90), "test": Period(90, 130)},
    customer_fold=None,
    warm_up=10,
    cutoff_every=7,
)


SPEC = SequenceSpec(
    channel=CategoricalFeature("channel", ("mail", "shop", "web", "app")),
    event_type=CategoricalFeature("event_type", ("purchase", "touch")),
    categorical=(),
    numeric=(NumericFeature("value", 0.0, 1.0, has_missing=False),),
    static_categorical=(),
    static_numeric=(),
    purchase_event_types=("purchase",),
    max_length=32,
    time_scale=1.0,
)
NEXT_CHANNEL = NextRule("next_channel", "channel")


def arrays(journeys: Journeys) -> EventArrays:
    """Event arrays of small journeys; times are in microseconds."""
    flat = [event for journey in journeys for event in journey]
    n, c = len(flat), len(journeys)
    return EventArrays(
        offsets=np.cumsum([0, *map(len, journeys)]).astype(np.int64),
        time=np.array([t for t, _, _ in flat], dtype=np.int64),
        channel=np.array([k for _, k, _ in flat], dtype=np.int32),
        event_type=np.array([2 if p else 3 for _, _, p in flat], dtype=np.int32),
        purchase=np.array([p for _, _, p in flat], dtype=np.bool_),
        value=(np.arange(n) % 7 * 1.25).astype(np.float32),
        categorical=np.zeros((n, 0), dtype=np.int32),
        features=np.zeros((n, 1), dtype=np.float32),
        static_categorical=np.zeros((c, 0), dtype=np.int32),
        static_features=np.zeros((c, 0), dtype=np.float32),
    )


def rule(outcome: Outcome = "happens", window: int = 9) -> WindowRule:
    return WindowRule("asked", window, outcome, PURCHASES, 20, PURCHASES)


def dense(near: Neighbours, asked: WindowRule) -> Dense:
    return WindowObjective(asked).points(near, SPLIT)


def draw_is_as_of(
    events: EventArrays, time: NDArray[np.int64], weight: NDArray[np.float32]
) -> None:
    """A drawn moment lies at or after its event and before the customer's next one."""
    asked = weight > 0
    near = Neighbours(events, SPEC)
    assert asked.any()
    assert (time[asked] >= events.time[asked]).all()
    assert (time[asked] < near.next_time[asked]).all()


def busy() -> EventArrays:
    rng = np.random.default_rng(0)
    journeys: Journeys = []
    for _ in range(40):
        times = np.sort(rng.integers(0, 130, 12))
        journeys.append(
            [(int(t), int(rng.integers(2, 6)), bool(rng.random() < 0.4)) for t in times]
        )
    return arrays(journeys)


def test_dense_draws_are_as_of_uncensored_and_labelled_by_the_definition() -> None:
    events = busy()
    near = Neighbours(events, SPEC)
    for asked in (rule("happens"), rule("absent")):
        draw = dense(near, asked).draw(np.random.default_rng(1))
        draw_is_as_of(events, draw.time, draw.weight)
        for i in np.flatnonzero(draw.weight > 0):
            mine = slice(events.offsets[near.customer[i]], events.offsets[near.customer[i] + 1])
            bought = events.time[mine][events.purchase[mine]]
            t = draw.time[i]
            assert t + asked.window < SPLIT.periods["train"].end
            assert t - bought[bought <= t].max() < asked.active_within
            buys = ((bought > t) & (bought <= t + asked.window)).any()
            assert draw.label[i] == (buys if asked.outcome == "happens" else not buys)


def test_a_draw_that_ignores_the_next_event_is_caught() -> None:
    events = busy()
    draw = dense(Neighbours(events, SPEC), rule()).draw(np.random.default_rng(1))
    with pytest.raises(AssertionError):
        draw_is_as_of(events, draw.time + 15, draw.weight)


def test_dense_weights_make_the_average_that_of_a_random_moment() -> None:
    """The weighted label rate of the draws is the calendar's, the unweighted one is not."""
    # A purchase every 2 units for a while, then one every 18: most moments lie in long gaps.
    journey = [(t, 2, True) for t in [*range(0, 12, 2), *range(12, 60, 18)]]
    events = arrays([[(t * 1_000, c, p) for t, c, p in journey]])
    split = Split({**SPLIT.periods, "train": Period(0, 60_000)}, None, 0, 1)
    asked = WindowRule("purchase", 3_000, "happens", PURCHASES, 20_000, PURCHASES)
    near = Neighbours(events, SPEC)
    dense = WindowObjective(asked).points(near, split)
    draws = [dense.draw(np.random.default_rng(seed)) for seed in range(4_000)]
    weighted = np.mean([np.average(d.label, weights=d.weight) for d in draws])
    plain = np.mean([d.label[d.weight > 0].mean() for d in draws])
    calendar = window_table(near, split, "train", asked).label.mean()
    assert abs(weighted - calendar) < 0.02
    assert abs(plain - calendar) > 0.2


def test_dense_next_channel_asks_half_right_after_the_event() -> None:
    events = busy()
    near = Neighbours(events, SPEC)
    draw = (
        NextObjective(NEXT_CHANNEL, censored=False)
        .points(near, SPLIT)
        .draw(np.random.default_rng(2))
    )
    asked = np.flatnonzero(draw.weight > 0)
    assert (draw.time[asked] >= events.time[asked]).all()
    assert (draw.time[asked] <= near.next_time[asked]).all()
    assert (near.next_time[asked] < SPLIT.periods["train"].end).all()
    assert (draw.label[asked] == events.channel[asked + 1] - SPECIAL_TOKENS).all()
    at_once = (draw.time[asked] == events.time[asked]).mean()
    assert 0.4 < at_once < 0.75


HAZARD = HazardObjective(PURCHASES, horizon=14, active=((PURCHASES, 20), (EVERY_EVENT, 5)))


def hazard_is_as_defined(events: EventArrays, draw: Draw) -> None:
    """One point after the other: what is known of the next purchase, and nothing later."""
    near, end = Neighbours(events, SPEC), SPLIT.periods["train"].end
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


def test_hazard_points_say_what_is_known_and_no_more() -> None:
    events = busy()
    draw = HAZARD.points(Neighbours(events, SPEC), SPLIT).draw(np.random.default_rng(3))
    hazard_is_as_defined(events, draw)
    late = draw.time >= SPLIT.periods["train"].end - 9
    assert (draw.weight[late] > 0).any()  # moments without a label of their own teach, too


def test_a_hazard_that_looks_beyond_the_training_period_is_caught() -> None:
    events = busy()
    periods = {**SPLIT.periods, "train": Period(0, 90)}
    longer = Split(periods, None, SPLIT.warm_up, SPLIT.cutoff_every)
    draw = HAZARD.points(Neighbours(events, SPEC), longer).draw(np.random.default_rng(3))
    with pytest.raises(AssertionError):
        hazard_is_as_defined(events, draw)


def test_points_about_the_next_event_end_with_the_training_period() -> None:
    events = busy()
    near, end = Neighbours(events, SPEC), SPLIT.periods["train"].end
    draw = (
        NextObjective(NEXT_CHANNEL, censored=True)
        .points(near, SPLIT)
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


def test_points_about_the_time_alone_need_no_class() -> None:
    events = busy()
    near = Neighbours(events, SPEC)
    objective = NextObjective(NextRule("time_to_next", "time"), censored=True)
    draw = objective.points(near, SPLIT).draw(np.random.default_rng(2))
    known = (draw.weight > 0) & (near.next_time < SPLIT.periods["train"].end)
    assert (draw.label[known] == 0).all()


def test_values_are_summed_after_the_moment_and_inside_the_window() -> None:
    events = busy()
    near, asked = Neighbours(events, SPEC), rule("value")
    draw = dense(near, asked).draw(np.random.default_rng(4))
    some = np.flatnonzero(draw.weight > 0)
    for i in some:
        mine = slice(events.offsets[near.customer[i]], events.offsets[near.customer[i] + 1])
        inside = (events.time[mine] > draw.time[i]) & (events.time[mine] <= draw.time[i] + 9)
        expected = events.value[mine][inside & events.purchase[mine]].sum()
        assert draw.amount[i] == pytest.approx(expected, abs=1e-3)
        assert draw.label[i] == (expected > 0)
    assert (draw.amount[some] > 0).any()
