"""Labels against a plain-Python oracle, and what must not happen: leaks and false negatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from seqmarket.data.labels import (
    DenseNextChannel,
    DenseWindow,
    Neighbours,
    WindowRule,
    newest_event,
    next_channel_table,
    window_table,
)
from seqmarket.data.splits import FOLDS, Period, Split
from seqmarket.schema import NEVER, SPECIAL_TOKENS, EventArrays, LabelTable

Journeys = list[list[tuple[int, int, bool]]]
"""Per customer: (time, channel id, purchase)."""

SPLIT = Split(
    periods={"train": Period(0, 60), "validation": Period(60, 90), "test": Period(90, 130)},
    customer_fold=None,
    warm_up=10,
    cutoff_every=7,
)


def arrays(journeys: Journeys) -> EventArrays:
    """Event arrays of small journeys; times are in microseconds."""
    flat = [event for journey in journeys for event in journey]
    n, c = len(flat), len(journeys)
    return EventArrays(
        offsets=np.cumsum([0, *map(len, journeys)]).astype(np.int64),
        time=np.array([t for t, _, _ in flat], dtype=np.int64),
        channel=np.array([k for _, k, _ in flat], dtype=np.int32),
        event_type=np.full(n, 2, dtype=np.int32),
        purchase=np.array([p for _, _, p in flat], dtype=np.bool_),
        value=np.ones(n, dtype=np.float32),
        categorical=np.zeros((n, 0), dtype=np.int32),
        features=np.zeros((n, 1), dtype=np.float32),
        static_categorical=np.zeros((c, 0), dtype=np.int32),
        static_features=np.zeros((c, 0), dtype=np.float32),
    )


def rule(
    means: Literal[0, 1] = 1, window: int = 9, by: Literal["purchase", "event"] = "purchase"
) -> WindowRule:
    return WindowRule("churn" if means == 0 else "purchase", window, means, 20, by)


journeys_strategy = st.lists(
    st.lists(
        st.tuples(st.integers(0, 129), st.integers(1, 5), st.booleans()), min_size=1, max_size=12
    ).map(lambda journey: sorted(journey, key=lambda event: event[0])),
    min_size=1,
    max_size=6,
)


def oracle(journeys: Journeys, fold: str, asked: WindowRule) -> list[tuple[int, int, int, int]]:
    """The label table as its definition reads, one customer and cutoff at a time."""
    period = SPLIT.periods[fold]  # type: ignore[index]
    cutoff = period.start + (SPLIT.warm_up if fold == "train" else 0)
    cutoffs = []
    while cutoff + asked.window < period.end:
        cutoffs.append(cutoff)
        cutoff += SPLIT.cutoff_every
    rows, first = [], 0
    for customer, journey in enumerate(journeys):
        for t in cutoffs:
            seen = [e for e in journey if e[0] <= t]
            active = [e for e in seen if asked.active_by == "event" or e[2]]
            if active and active[-1][0] > t - asked.active_within:
                buys = any(p and t < time <= t + asked.window for time, _, p in journey)
                label = asked.purchase_means if buys else 1 - asked.purchase_means
                rows.append((customer, first + len(seen) - 1, t, label))
        first += len(journey)
    return rows


def as_rows(table: LabelTable) -> list[tuple[int, int, int, int]]:
    columns = (table.customer, table.event, table.time, table.label)
    return [tuple(int(x) for x in row) for row in zip(*columns, strict=True)]  # type: ignore[misc]


@settings(max_examples=80, deadline=None)
@given(
    journeys=journeys_strategy,
    means=st.sampled_from([0, 1]),
    by=st.sampled_from(["purchase", "event"]),
)
def test_window_tables_equal_the_oracle(
    journeys: Journeys, means: Literal[0, 1], by: Literal["purchase", "event"]
) -> None:
    near = Neighbours(arrays(journeys))
    for fold in FOLDS:
        asked = rule(means, by=by)
        assert as_rows(window_table(near, SPLIT, fold, asked)) == oracle(journeys, fold, asked)


def test_a_purchase_at_the_prediction_time_is_input_and_not_label() -> None:
    near = Neighbours(arrays([[(10, 2, True), (17, 2, True), (26, 2, True)]]))
    table = window_table(near, SPLIT, "train", rule())
    at_cutoff = {t: (event, label) for _, event, t, label in as_rows(table)}
    assert at_cutoff[17] == (1, 1)  # (17, 26] holds the purchase at 26, the window is closed there
    assert at_cutoff[10] == (0, 1)
    assert at_cutoff[31][1] == 0


def test_no_label_window_crosses_the_end_of_its_fold() -> None:
    journeys: Journeys = [[(t, 2, True) for t in range(130)]]
    near = Neighbours(arrays(journeys))
    for fold in FOLDS:
        table = window_table(near, SPLIT, fold, rule())
        assert len(table) > 0
        assert (table.time + 9 < SPLIT.periods[fold].end).all()
        assert (table.time >= SPLIT.periods[fold].start).all()


def test_next_channel_rows_are_the_successors_inside_the_fold() -> None:
    journeys: Journeys = [
        [(5, 2, False), (59, 3, False), (60, 4, False), (95, 1, False), (100, 2, False)],
        [(89, 5, False)],
        [(58, 2, False), (91, 3, False)],
    ]
    near = Neighbours(arrays(journeys))
    found = {fold: as_rows(next_channel_table(near, SPLIT, fold)) for fold in FOLDS}
    assert found["train"] == [(0, 0, 5, 3 - SPECIAL_TOKENS)]
    assert found["validation"] == [(0, 1, 59, 4 - SPECIAL_TOKENS)]
    # The successor at 95 has an unknown channel, which is no class.
    assert found["test"] == [(0, 3, 95, 0), (2, 6, 58, 1)]


def test_the_next_channel_goes_by_position_where_times_are_the_same() -> None:
    near = Neighbours(arrays([[(15, 2, False), (15, 4, True), (15, 3, False)]]))
    table = next_channel_table(near, SPLIT, "train")
    labels = [4 - SPECIAL_TOKENS, 3 - SPECIAL_TOKENS]
    assert as_rows(table) == [(0, 0, 15, labels[0]), (0, 1, 15, labels[1])]


def test_newest_event_is_minus_one_before_the_first() -> None:
    events = arrays([[(5, 2, False), (7, 2, False)], [(6, 2, False)]])
    assert newest_event(events, 4).tolist() == [-1, -1]
    assert newest_event(events, 5).tolist() == [0, -1]
    assert newest_event(events, 9).tolist() == [1, 2]


def test_neighbours_do_not_look_into_other_customers() -> None:
    near = Neighbours(arrays([[(1, 2, False)], [(2, 2, True), (3, 2, False)]]))
    assert near.next_time.tolist() == [NEVER, 3, NEVER]
    assert near.next_purchase.tolist() == [NEVER, NEVER, NEVER]
    assert near.last_purchase[0] < 0
    assert near.last_purchase[1:].tolist() == [2, 2]


def draw_is_as_of(
    events: EventArrays, time: NDArray[np.int64], weight: NDArray[np.float32]
) -> None:
    """A drawn moment lies at or after its event and before the customer's next one."""
    asked = weight > 0
    near = Neighbours(events)
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
    near = Neighbours(events)
    for asked in (rule(1), rule(0)):
        draw = DenseWindow(near, SPLIT, asked).draw(np.random.default_rng(1))
        draw_is_as_of(events, draw.time, draw.weight)
        for i in np.flatnonzero(draw.weight > 0):
            mine = slice(events.offsets[near.customer[i]], events.offsets[near.customer[i] + 1])
            bought = events.time[mine][events.purchase[mine]]
            t = draw.time[i]
            assert t + asked.window < SPLIT.periods["train"].end
            assert t - bought[bought <= t].max() < asked.active_within
            buys = ((bought > t) & (bought <= t + asked.window)).any()
            assert draw.label[i] == (asked.purchase_means if buys else 1 - asked.purchase_means)


def test_a_draw_that_ignores_the_next_event_is_caught() -> None:
    events = busy()
    draw = DenseWindow(Neighbours(events), SPLIT, rule()).draw(np.random.default_rng(1))
    with pytest.raises(AssertionError):
        draw_is_as_of(events, draw.time + 15, draw.weight)


def test_dense_weights_make_the_average_that_of_a_random_moment() -> None:
    """The weighted label rate of the draws is the calendar's, the unweighted one is not."""
    # A purchase every 2 units for a while, then one every 18: most moments lie in long gaps.
    journey = [(t, 2, True) for t in [*range(0, 12, 2), *range(12, 60, 18)]]
    events = arrays([[(t * 1_000, c, p) for t, c, p in journey]])
    split = Split({**SPLIT.periods, "train": Period(0, 60_000)}, None, 0, 1)
    asked = WindowRule("purchase", 3_000, 1, 20_000, "purchase")
    near = Neighbours(events)
    dense = DenseWindow(near, split, asked)
    draws = [dense.draw(np.random.default_rng(seed)) for seed in range(4_000)]
    weighted = np.mean([np.average(d.label, weights=d.weight) for d in draws])
    plain = np.mean([d.label[d.weight > 0].mean() for d in draws])
    calendar = window_table(near, split, "train", asked).label.mean()
    assert abs(weighted - calendar) < 0.02
    assert abs(plain - calendar) > 0.2


def test_dense_next_channel_asks_half_right_after_the_event() -> None:
    events = busy()
    near = Neighbours(events)
    draw = DenseNextChannel(near, SPLIT).draw(np.random.default_rng(2))
    asked = np.flatnonzero(draw.weight > 0)
    assert (draw.time[asked] >= events.time[asked]).all()
    assert (draw.time[asked] <= near.next_time[asked]).all()
    assert (near.next_time[asked] < SPLIT.periods["train"].end).all()
    assert (draw.label[asked] == events.channel[asked + 1] - SPECIAL_TOKENS).all()
    at_once = (draw.time[asked] == events.time[asked]).mean()
    assert 0.4 < at_once < 0.75


def changes_nothing_before(
    plant: Callable[[Journeys], Journeys], cutoff: int, fold: Literal["test"]
) -> None:
    journeys: Journeys = [[(3, 2, True), (80, 3, True), (92, 4, False)], [(85, 2, True)]]
    before = window_table(Neighbours(arrays(journeys)), SPLIT, fold, rule())
    after = window_table(Neighbours(arrays(plant(journeys))), SPLIT, fold, rule())
    at = [row[2] == cutoff for row in as_rows(before)]
    assert any(at)
    inputs = [(row[0], row[2]) for row in as_rows(before) if row[2] == cutoff]
    assert inputs == [(row[0], row[2]) for row in as_rows(after) if row[2] == cutoff]


def test_rows_do_not_depend_on_what_comes_after_the_cutoff() -> None:
    """Who is asked about is decided by the past; only the label may look ahead."""
    changes_nothing_before(lambda js: [[*j, (99, 2, True)] for j in js], 97, "test")
    with pytest.raises(AssertionError):
        changes_nothing_before(lambda js: [[(70, 2, False)], js[1]], 97, "test")
