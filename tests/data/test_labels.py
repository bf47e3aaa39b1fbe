"""Labels against a plain-Python oracle, and what must not happen: leaks and false negatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmarket.data import labels
from seqmarket.data.labels import Neighbours, label_table, newest_event, window_table
from seqmarket.data.splits import FOLDS, Period, Split
from seqmarket.schema import (
    EVERY_EVENT,
    MICROSECONDS_PER_DAY,
    NEVER,
    PURCHASES,
    SPECIAL_TOKENS,
    EventFilter,
    LabelTable,
    NextRule,
    Outcome,
    WindowRule,
)

Journeys = list[list[tuple[int, int, bool]]]
"""Per customer: (time, channel id, purchase)."""

NEXT_CHANNEL = NextRule("next_channel", "channel")
NAMES = {2: "mail", 3: "shop", 4: "web", 5: "app"}
"""Of the channels' ids."""


def rule(
    outcome: Outcome = "happens",
    window: int = 9,
    active: EventFilter = PURCHASES,
    target: EventFilter = PURCHASES,
) -> WindowRule:
    return WindowRule("asked", window, outcome, target, 20, active)


journeys_strategy = st.lists(
    st.lists(
        st.tuples(st.integers(0, 129), st.integers(1, 5), st.booleans()), min_size=1, max_size=12
    ).map(lambda journey: sorted(journey, key=lambda event: event[0])),
    min_size=1,
    max_size=6,
)


def meant(small: Any, which: EventFilter, event: tuple[int, int, bool], place: int) -> bool:
    """Whether an event fulfils every condition, one condition after the other."""
    _, channel, purchase = event
    kind = "purchase" if purchase else "touch"
    return not (
        (which.purchase and not purchase)
        or (which.channel and NAMES.get(channel) not in which.channel)
        or (which.event_type and kind not in which.event_type)
        or (which.least_value is not None and small.value(place) < which.least_value)
    )


def oracle(
    small: Any, journeys: Journeys, fold: str, asked: WindowRule
) -> list[tuple[int, int, int, float]]:
    """The label table as its definition reads, one customer and cutoff at a time."""
    period = small.split.periods[fold]  # type: ignore[index]
    cutoff = period.start + (small.split.warm_up if fold == "train" else 0)
    cutoffs = []
    while cutoff + asked.window < period.end:
        cutoffs.append(cutoff)
        cutoff += small.split.cutoff_every
    rows, first = [], 0
    for customer, journey in enumerate(journeys):
        events = [(event, first + i) for i, event in enumerate(journey)]
        for t in cutoffs:
            seen = [(event, place) for event, place in events if event[0] <= t]
            active = [event for event, place in seen if meant(small, asked.active, event, place)]
            if active and active[-1][0] > t - asked.active_within:
                values = [
                    small.value(place)
                    for event, place in events
                    if t < event[0] <= t + asked.window and meant(small, asked.target, event, place)
                ]
                label = {
                    "happens": float(bool(values)),
                    "absent": float(not values),
                    "value": sum(values),
                }
                rows.append((customer, first + len(seen) - 1, t, label[asked.outcome]))
        first += len(journey)
    return rows


def as_rows(table: LabelTable) -> list[tuple[int, int, int, float]]:
    columns = (table.customer, table.event, table.time, table.label)
    return [(int(c), int(e), int(t), float(label)) for c, e, t, label in zip(*columns, strict=True)]


FILTERS = (
    PURCHASES,
    EVERY_EVENT,
    EventFilter(channel=("shop", "app")),
    EventFilter(event_type=("touch",), least_value=2.5),
    EventFilter(purchase=True, channel=("web",)),
    EventFilter(channel=("nowhere",)),
)


@settings(max_examples=120, deadline=None)
@given(
    journeys=journeys_strategy,
    outcome=st.sampled_from(["happens", "absent", "value"]),
    target=st.sampled_from(FILTERS),
    active=st.sampled_from(FILTERS),
)
def test_window_tables_equal_the_oracle(
    small: Any, journeys: Journeys, outcome: Outcome, target: EventFilter, active: EventFilter
) -> None:
    near, asked = small.near(journeys), rule(outcome, target=target, active=active)
    for fold in FOLDS:
        table = window_table(near, small.split, fold, asked)
        assert as_rows(table) == oracle(small, journeys, fold, asked)
        assert table.kind == ("amount" if outcome == "value" else "binary")
        assert table.label.dtype == (np.float64 if outcome == "value" else np.int64)


@pytest.mark.parametrize("outcome", ["happens", "absent", "value"])
@pytest.mark.parametrize("early", [-1, 1])
def test_windows_that_are_open_at_the_wrong_end_are_caught(
    small: Any, outcome: Outcome, early: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = labels.window_label
    journeys: Journeys = [[(16, 2, True), (26, 3, True)], [(16, 2, True), (27, 3, True)]]
    monkeypatch.setattr(
        labels, "window_label", lambda near, event, t, asked: honest(near, event, t - early, asked)
    )
    table = window_table(small.near(journeys), small.split, "train", rule(outcome))
    with pytest.raises(AssertionError):
        assert as_rows(table) == oracle(small, journeys, "train", rule(outcome))


def test_a_sum_is_the_same_in_any_company(small: Any) -> None:
    """Running sums through the whole log would carry the rounding of others along."""
    cents = [0.1, 0.2, 19.99, 1.1, 0.7]
    journey = [(t, 2, True) for t in range(len(cents))]
    alone = replace(small.events([journey]), value=np.array(cents, dtype=np.float32))
    rich = np.array([3e9, 0.3, *cents], dtype=np.float32)
    beside = replace(small.events([[(0, 2, True), (1, 2, True)], journey]), value=rich)
    event = np.zeros(len(cents), dtype=np.int64)
    until = np.arange(len(cents))
    found = Neighbours(alone, small.spec).value_within(event, until, PURCHASES)
    assert found.tolist() == [0.0, 0.2, 20.19, 21.29, 21.99]
    again = Neighbours(beside, small.spec).value_within(event + 2, until, PURCHASES)
    assert (found == again).all()


def test_a_purchase_at_the_prediction_time_is_input_and_not_label(small: Any) -> None:
    near = small.near([[(10, 2, True), (17, 2, True), (26, 2, True)]])
    table = window_table(near, small.split, "train", rule())
    at_cutoff = {t: (event, label) for _, event, t, label in as_rows(table)}
    assert at_cutoff[17] == (1, 1)  # (17, 26] holds the purchase at 26, the window is closed there
    assert at_cutoff[10] == (0, 1)
    assert at_cutoff[31][1] == 0


def test_no_label_window_crosses_the_end_of_its_fold(small: Any) -> None:
    journeys: Journeys = [[(t, 2, True) for t in range(130)]]
    near = small.near(journeys)
    for fold in FOLDS:
        table = window_table(near, small.split, fold, rule())
        assert len(table) > 0
        assert (table.time + 9 < small.split.periods[fold].end).all()
        assert (table.time >= small.split.periods[fold].start).all()


def oracle_of_next(
    small: Any, journeys: Journeys, fold: str, asked: NextRule
) -> list[tuple[int, int, int, float]]:
    """What follows each event, one pair of neighbours after the other."""
    period, rows, first = small.split.periods[fold], [], 0
    for customer, journey in enumerate(journeys):
        for i, (now, then) in enumerate(pairwise(journey)):
            channel = NAMES.get(then[1])
            kind = "purchase" if then[2] else "touch"
            asks = {"channel": channel, "event_type": kind, "time": "a time"}[asked.of]
            left_out = fold != "train" and asks in asked.not_scored
            if period.start <= then[0] < period.end and asks and not left_out:
                label = {
                    "channel": float(then[1] - SPECIAL_TOKENS),
                    "event_type": float(not then[2]),
                    "time": (then[0] - now[0]) / MICROSECONDS_PER_DAY,
                }
                rows.append((customer, first + i, now[0], label[asked.of]))
        first += len(journey)
    return rows


@settings(max_examples=60, deadline=None)
@given(
    journeys=journeys_strategy,
    of=st.sampled_from(["channel", "event_type", "time"]),
    not_scored=st.sampled_from([(), ("shop",), ("touch", "web"), ("nowhere",)]),
)
def test_next_tables_equal_the_oracle(
    small: Any,
    journeys: Journeys,
    of: Literal["channel", "event_type", "time"],
    not_scored: tuple[str, ...],
) -> None:
    near, asked = small.near(journeys), NextRule("asked", of, not_scored)
    for fold in FOLDS:
        table = label_table(near, small.split, fold, asked)
        assert as_rows(table) == oracle_of_next(small, journeys, fold, asked)
        assert table.kind == ("duration" if of == "time" else "categorical")
        assert table.label.dtype == (np.float64 if of == "time" else np.int64)


def test_next_channel_rows_are_the_successors_inside_the_fold(small: Any) -> None:
    journeys: Journeys = [
        [(5, 2, False), (59, 3, False), (60, 4, False), (95, 1, False), (100, 2, False)],
        [(89, 5, False)],
        [(58, 2, False), (91, 3, False)],
    ]
    near = small.near(journeys)
    found = {fold: as_rows(label_table(near, small.split, fold, NEXT_CHANNEL)) for fold in FOLDS}
    assert found["train"] == [(0, 0, 5, 3 - SPECIAL_TOKENS)]
    assert found["validation"] == [(0, 1, 59, 4 - SPECIAL_TOKENS)]
    # The successor at 95 has an unknown channel, which is no class.
    assert found["test"] == [(0, 3, 95, 0), (2, 6, 58, 1)]


def test_the_next_channel_goes_by_position_where_times_are_the_same(small: Any) -> None:
    near = small.near([[(15, 2, False), (15, 4, True), (15, 3, False)]])
    table = label_table(near, small.split, "train", NEXT_CHANNEL)
    labels = [4 - SPECIAL_TOKENS, 3 - SPECIAL_TOKENS]
    assert as_rows(table) == [(0, 0, 15, labels[0]), (0, 1, 15, labels[1])]


def test_types_and_times_of_the_next_event(small: Any) -> None:
    day = MICROSECONDS_PER_DAY
    journeys: Journeys = [[(5, 2, False), (8, 1, True), (8, 3, False)], [(1, 2, True)]]
    split = Split({**small.split.periods, "train": Period(0, 60 * day)}, None, 10, 7)
    near = small.near([[(t * day, c, p) for t, c, p in journey] for journey in journeys])
    types = label_table(near, split, "train", NextRule("next_event_type", "event_type"))
    assert [label for *_, label in as_rows(types)] == [0, 1]
    times = label_table(near, split, "train", NextRule("time_to_next", "time"))
    # The channel of the second event is unknown: no class, and still an event to wait for.
    assert [label for *_, label in as_rows(times)] == [3.0, 0.0]
    assert times.kind == "duration"
    assert [row[1] for row in as_rows(label_table(near, split, "train", NEXT_CHANNEL))] == [1]


def test_classes_that_are_not_scored_have_no_rows(small: Any) -> None:
    near = small.near(
        [[(15, 2, False), (96, 4, True), (97, 3, False)], [(1, 2, True), (2, 4, True)]]
    )
    rule = NextRule("next_channel", "channel", not_scored=("web",))
    train, test = (label_table(near, small.split, fold, rule) for fold in ("train", "test"))
    assert as_rows(test) == [(0, 1, 96, 3 - SPECIAL_TOKENS)]
    assert [label for *_, label in as_rows(train)] == [4 - SPECIAL_TOKENS]  # baselines learn it


def test_newest_event_is_minus_one_before_the_first(small: Any) -> None:
    events = small.events([[(5, 2, False), (7, 2, False)], [(6, 2, False)]])
    assert newest_event(events, 4).tolist() == [-1, -1]
    assert newest_event(events, 5).tolist() == [0, -1]
    assert newest_event(events, 9).tolist() == [1, 2]


def test_neighbours_do_not_look_into_other_customers(small: Any) -> None:
    near = small.near([[(1, 2, False)], [(2, 2, True), (3, 2, False)]])
    assert near.next_time.tolist() == [NEVER, 3, NEVER]
    assert near.next(PURCHASES).tolist() == [NEVER, NEVER, NEVER]
    assert near.last(PURCHASES)[0] < 0
    assert near.last(PURCHASES)[1:].tolist() == [2, 2]
    assert near.last(EVERY_EVENT).tolist() == [1, 2, 3]
    event = np.arange(3)
    assert near.value_within(event, 99, EVERY_EVENT).tolist() == [0, 2.5, 0]


def changes_nothing_before(
    small: Any, plant: Callable[[Journeys], Journeys], cutoff: int, fold: Literal["test"]
) -> None:
    journeys: Journeys = [[(3, 2, True), (80, 3, True), (92, 4, False)], [(85, 2, True)]]
    before = window_table(small.near(journeys), small.split, fold, rule())
    after = window_table(small.near(plant(journeys)), small.split, fold, rule())
    at = [row[2] == cutoff for row in as_rows(before)]
    assert any(at)
    inputs = [(row[0], row[2]) for row in as_rows(before) if row[2] == cutoff]
    assert inputs == [(row[0], row[2]) for row in as_rows(after) if row[2] == cutoff]


def test_rows_do_not_depend_on_what_comes_after_the_cutoff(small: Any) -> None:
    """Who is asked about is decided by the past; only the label may look ahead."""
    changes_nothing_before(small, lambda js: [[*j, (99, 2, True)] for j in js], 97, "test")
    with pytest.raises(AssertionError):
        changes_nothing_before(small, lambda js: [[(70, 2, False)], js[1]], 97, "test")
