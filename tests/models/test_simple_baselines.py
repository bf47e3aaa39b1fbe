"""What the baselines without features stand for, each against its definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seqmarket.models.majority import Majority
from seqmarket.models.repeat_last import RepeatLast
from seqmarket.models.usual_gap import UsualGap
from seqmarket.schema import (
    EVERY_EVENT,
    MICROSECONDS_PER_DAY,
    PURCHASES,
    QUANTILES,
    SPECIAL_TOKENS,
    UNK,
    CategoricalFeature,
    EventArrays,
    EventFilter,
    LabelTable,
    NextRule,
    NumericFeature,
    SequenceSpec,
    WindowRule,
)

DAY = MICROSECONDS_PER_DAY
N_CUSTOMERS = 60
SPEC = SequenceSpec(
    channel=CategoricalFeature("channel", tuple("abcd")),
    event_type=CategoricalFeature("event_type", ("purchase", "touch", "return")),
    categorical=(),
    numeric=(NumericFeature("value", 0.0, 1.0, False),),
    static_categorical=(),
    static_numeric=(),
    purchase_event_types=("purchase",),
    max_length=64,
    time_scale=1.0,
)
IDS = {"next_channel": "channel", "next_event_type": "event_type"}


def make_events() -> EventArrays:
    """Up to 30 events of each customer, some at the same time, some of unknown class."""
    rng = np.random.default_rng(3)
    lengths = rng.integers(1, 30, N_CUSTOMERS)
    n = int(lengths.sum())
    channel = rng.integers(UNK, SPECIAL_TOKENS + 4, n)
    event_type = rng.choice([UNK, 2, 3, 4], n, p=[0.04, 0.46, 0.45, 0.05])
    days = [np.cumsum(rng.integers(0, 9, length) / 2) for length in lengths]
    return EventArrays(
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        time=((np.concatenate(days) + 17_000) * DAY).astype(np.int64),
        channel=channel.astype(np.int32),
        event_type=event_type.astype(np.int32),
        purchase=event_type == 2,
        value=np.round(rng.normal(20.0, 15.0, n), 2).astype(np.float32),
        categorical=np.zeros((n, 0), dtype=np.int32),
        features=np.zeros((n, 1), dtype=np.float32),
        static_categorical=np.zeros((N_CUSTOMERS, 0), dtype=np.int32),
        static_features=np.zeros((N_CUSTOMERS, 0), dtype=np.float32),
    )


EVENTS = make_events()
CUSTOMER = np.repeat(np.arange(N_CUSTOMERS), np.diff(EVENTS.offsets))
EVENT = np.flatnonzero(CUSTOMER[:-1] == CUSTOMER[1:])


def next_table(task: str) -> LabelTable:
    """The known class of every next event, or the days until it comes."""
    if task == "time_to_next":
        rule = NextRule(task, "time")
        label = (EVENTS.time[EVENT + 1] - EVENTS.time[EVENT]) / DAY
    else:
        rule = NextRule(task, "channel" if task == "next_channel" else "event_type")
        label = rule.ids(EVENTS)[EVENT + 1].astype(np.int64) - SPECIAL_TOKENS
    table = LabelTable(task, rule.kind, CUSTOMER[EVENT], EVENT, EVENTS.time[EVENT], label, rule)
    return table.take(label >= 0)


def amount_table(target: EventFilter, window: int) -> LabelTable:
    """At some moment before each next event; the labels mean nothing."""
    rng = np.random.default_rng(0)
    rule = WindowRule("value", window, "value", target, 999 * DAY, EVERY_EVENT)
    time = EVENTS.time[EVENT]
    time = time + (rng.random(len(EVENT)) * (EVENTS.time[EVENT + 1] - time)).astype(np.int64)
    label = np.round(rng.gamma(1.0, 9.0, len(EVENT)), 2)
    return LabelTable("value", "amount", CUSTOMER[EVENT], EVENT, time, label, rule)


@pytest.mark.parametrize("task", IDS)
def test_majority_predicts_frequencies(task: str) -> None:
    table = next_table(task)
    model = Majority(SPEC, smoothing=0.0)
    model.fit(EVENTS, {task: table})
    frequency = np.bincount(table.label) / len(table)
    assert model.predict(EVENTS, table)[0] == pytest.approx(frequency)


def test_majority_predicts_base_rates() -> None:
    label = (EVENT % 3 == 0).astype(np.int64)
    table = LabelTable("purchase", "binary", CUSTOMER[EVENT], EVENT, EVENTS.time[EVENT], label)
    model = Majority(SPEC, smoothing=0.0)
    model.fit(EVENTS, {"purchase": table})
    assert model.predict(EVENTS, table) == pytest.approx(label.mean())


def test_majority_counts_the_classes_that_training_lacks() -> None:
    table = next_table("next_event_type")
    model = Majority(SPEC, smoothing=2.0)
    model.fit(EVENTS, {"next_event_type": table.take(table.label != 2)})
    count = np.bincount(table.label)[:2]
    expected = np.array([*(count + 2.0), 2.0]) / (count.sum() + 6.0)
    assert model.predict(EVENTS, table)[-1] == pytest.approx(expected)


def test_majority_predicts_the_mean_and_the_median_of_an_amount() -> None:
    table = amount_table(PURCHASES, 9 * DAY)
    model = Majority(SPEC)
    model.fit(EVENTS, {"value": table})
    expected = [table.label.mean(), np.median(table.label)]
    assert model.predict(EVENTS, table) == pytest.approx(np.tile(expected, (len(table), 1)))


def test_majority_predicts_the_quantiles_of_a_duration() -> None:
    table = next_table("time_to_next")
    model = Majority(SPEC)
    model.fit(EVENTS, {"time_to_next": table})
    answer = model.predict(EVENTS, table)
    assert (answer == answer[0]).all()
    for share, days in zip(QUANTILES, answer[0], strict=True):
        assert (table.label < days).mean() <= share <= (table.label <= days).mean()


@pytest.mark.parametrize("task", IDS)
def test_repeat_last_repeats_at_the_trained_rate(task: str) -> None:
    table = next_table(task)
    model = RepeatLast(SPEC, smoothing=0.0)
    # Sticky enough that nothing has to be raised for the last one to come out on top.
    last = getattr(EVENTS, IDS[task])[table.event].astype(np.int64) - SPECIAL_TOKENS
    rng = np.random.default_rng(1)
    again = (last >= 0) & (rng.random(len(table)) < 0.6)
    table.label[again] = last[again]
    model.fit(EVENTS, {task: table})
    probability = model.predict(EVENTS, table)
    known = last >= 0
    classes = probability.shape[1]
    assert (probability.argmax(axis=1) == last)[known].all()
    for own in range(classes):
        rate = (table.label == own)[last == own].mean()
        assert probability[last == own, own] == pytest.approx(rate)
    frequency = (np.bincount(table.label, minlength=classes) + 1) / (len(table) + classes)
    assert probability[~known][0] == pytest.approx(frequency)


@pytest.mark.parametrize("task", IDS)
def test_repeat_last_repeats_even_what_never_repeated(task: str) -> None:
    table = next_table(task)
    last = getattr(EVENTS, IDS[task])[table.event] - SPECIAL_TOKENS
    moving = table.take((last >= 0) & (last != table.label))
    model = RepeatLast(SPEC)
    model.fit(EVENTS, {task: moving})
    probability = model.predict(EVENTS, moving)
    last = getattr(EVENTS, IDS[task])[moving.event] - SPECIAL_TOKENS
    assert (probability.argmax(axis=1) == last).all()
    np.testing.assert_allclose(probability.sum(axis=1), 1.0)


def meant(target: EventFilter, i: int) -> bool:
    """Whether an event fulfils every condition, one condition after the other."""
    names = dict(enumerate(SPEC.channel.categories, SPECIAL_TOKENS))
    kinds = dict(enumerate(SPEC.event_type.categories, SPECIAL_TOKENS))
    return not (
        (target.purchase and not EVENTS.purchase[i])
        or (target.channel and names.get(int(EVENTS.channel[i])) not in target.channel)
        or (target.event_type and kinds.get(int(EVENTS.event_type[i])) not in target.event_type)
        or (target.least_value is not None and EVENTS.value[i] < target.least_value)
    )


@pytest.mark.parametrize(
    "target",
    [
        PURCHASES,
        EVERY_EVENT,
        EventFilter(channel=("b", "d"), least_value=10.0),
        EventFilter(event_type=("return",)),
        EventFilter(channel=("nowhere",)),
    ],
)
@pytest.mark.parametrize("days", [2, 9])
def test_repeat_last_repeats_the_amount_of_the_window_before(
    target: EventFilter, days: int
) -> None:
    table = amount_table(target, days * DAY)
    answer = RepeatLast(SPEC).predict(EVENTS, table)
    expected = []
    for customer, event, now in zip(table.customer, table.event, table.time, strict=True):
        window = range(EVENTS.offsets[customer], event + 1)
        inside = [i for i in window if EVENTS.time[i] > now - days * DAY and meant(target, i)]
        expected.append(sum(float(EVENTS.value[i]) for i in inside))
    assert answer[:, 0] == pytest.approx(expected)
    assert (answer[:, 0] == answer[:, 1]).all()


def fitted_gap(**hyper: Any) -> np.ndarray:
    table = next_table("time_to_next")
    model = UsualGap(SPEC, **hyper)
    model.fit(EVENTS, {"time_to_next": table})
    return model.predict(EVENTS, table)


def test_the_usual_gap_is_that_after_events_of_the_same_type() -> None:
    table, answer = next_table("time_to_next"), fitted_gap(fewest_rows=1)
    after = EVENTS.event_type[table.event]
    assert set(after.tolist()) == {UNK, 2, 3, 4}
    for kind in np.unique(after):
        expected = np.quantile(table.label[after == kind], QUANTILES)
        np.testing.assert_allclose(
            answer[after == kind], np.tile(expected, (sum(after == kind), 1))
        )
    assert len(np.unique(answer, axis=0)) > 1


def test_the_usual_gap_after_a_rare_type_is_that_after_any() -> None:
    table = next_table("time_to_next")
    after = EVENTS.event_type[table.event]
    rows = np.bincount(after)
    assert rows[4] + 1 < rows[2]
    at_the_limit, below = fitted_gap(fewest_rows=rows[4]), fitted_gap(fewest_rows=rows[4] + 1)
    own = np.quantile(table.label[after == 4], QUANTILES)
    usual = np.quantile(table.label, QUANTILES)
    assert not np.allclose(own, usual)
    assert at_the_limit[after == 4][0] == pytest.approx(own)
    assert below[after == 4][0] == pytest.approx(usual)
    assert (at_the_limit[after == 2] == below[after == 2]).all()


def test_a_type_that_training_lacks_has_the_gap_of_any() -> None:
    table = next_table("time_to_next")
    after = EVENTS.event_type[table.event]
    model = UsualGap(SPEC)
    model.fit(EVENTS, {"time_to_next": table.take(after != 3)})
    usual = np.quantile(table.label[after != 3], QUANTILES)
    assert model.predict(EVENTS, table)[after == 3][0] == pytest.approx(usual)
