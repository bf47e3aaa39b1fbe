"""The baseline bg_nbd: what it is asked, what it learns from, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from seqmarket.errors import SeqmarketError
from seqmarket.models.bg_nbd import BgNbd
from seqmarket.nn.repurchase import BetaGeometric, Histories
from seqmarket.schema import (
    MICROSECONDS_PER_DAY,
    PURCHASES,
    SPECIAL_TOKENS,
    CategoricalFeature,
    EventArrays,
    EventFilter,
    LabelTable,
    NumericFeature,
    Outcome,
    SequenceSpec,
    WindowRule,
)

DAY = MICROSECONDS_PER_DAY
N_CUSTOMERS = 300
END = 10_200 * DAY
SPEC = SequenceSpec(
    channel=CategoricalFeature("channel", ("a", "b")),
    event_type=CategoricalFeature("event_type", ("purchase", "visit")),
    categorical=(),
    numeric=(NumericFeature("value", 0.0, 1.0, False),),
    static_categorical=(),
    static_numeric=(),
    purchase_event_types=("purchase",),
    max_length=64,
    time_scale=1.0,
)


def make_events() -> EventArrays:
    """Customers at several paces, who leave some day; a third of the events are visits."""
    rng = np.random.default_rng(4)
    days = []
    for _ in range(N_CUSTOMERS):
        steps = rng.exponential(rng.gamma(2.0, 10.0), rng.geometric(0.2))
        times = rng.uniform(0, 60) + np.cumsum(steps) - steps[0]
        days.append(times[times < 200])
    lengths = np.array([len(times) for times in days])
    n = int(lengths.sum())
    purchase = rng.random(n) < 0.67
    return EventArrays(
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        time=((np.concatenate(days) + 10_000) * DAY).astype(np.int64),
        channel=rng.integers(SPECIAL_TOKENS, SPECIAL_TOKENS + 2, n).astype(np.int32),
        event_type=np.where(purchase, 2, 3).astype(np.int32),
        purchase=purchase,
        value=np.where(purchase, rng.gamma(3.0, 10.0, n), 0.0).astype(np.float32),
        categorical=np.zeros((n, 0), dtype=np.int32),
        features=np.zeros((n, 1), dtype=np.float32),
        static_categorical=np.zeros((N_CUSTOMERS, 0), dtype=np.int32),
        static_features=np.zeros((N_CUSTOMERS, 0), dtype=np.float32),
    )


EVENTS = make_events()
FIRST, LAST = EVENTS.offsets[:-1], EVENTS.offsets[1:] - 1


def table(
    outcome: Outcome = "happens",
    target: EventFilter = PURCHASES,
    window: int = 90 * DAY,
    event: np.ndarray = LAST,
    time: int = END,
) -> LabelTable:
    rule = WindowRule("asked", window, outcome, target, 999 * DAY, PURCHASES)
    n = len(event)
    label = np.zeros(n, dtype=np.float64 if outcome == "value" else np.int64)
    return LabelTable(
        "asked", rule.kind, np.arange(n, dtype=np.int64), event, np.full(n, time), label, rule
    )


def fitted(asked: LabelTable, events: EventArrays = EVENTS) -> BgNbd:
    model = BgNbd(SPEC)
    model.fit(events, {"asked": asked})
    return model


def test_something_or_nothing() -> None:
    happens = fitted(table()).predict(EVENTS, table())
    absent = fitted(table("absent")).predict(EVENTS, table("absent"))
    np.testing.assert_allclose(happens + absent, 1.0)
    assert happens.std() > 0.1


def test_windows_agree_with_each_other() -> None:
    model = fitted(table())
    answers = [model.predict(EVENTS, table(window=days * DAY)) for days in (1, 30, 365)]
    assert (np.diff(answers, axis=0) > 0).all()


def test_it_is_the_model_of_the_histories() -> None:
    """Days of purchase counted by hand, and the parameters fitted to them."""
    customer = np.repeat(np.arange(N_CUSTOMERS), np.diff(EVENTS.offsets))
    rows = []
    for one in range(N_CUSTOMERS):
        bought = np.unique(EVENTS.time[(customer == one) & EVENTS.purchase] // DAY)
        if len(bought):
            rows.append((len(bought), bought[-1] - bought[0], END // DAY - bought[0], one))
    days, last, age, who = (np.array(column) for column in zip(*rows, strict=True))
    assert len(who) < N_CUSTOMERS
    seen = Histories(days, days - 1.0, last.astype(float), age.astype(float))
    expected = BetaGeometric.fit(seen)
    model = fitted(table())
    assert model.learnt("asked").purchases == expected
    np.testing.assert_allclose(model.predict(EVENTS, table())[who], expected.buys(seen, 90.0))


def test_who_has_not_bought_counts_from_the_first_event() -> None:
    model = fitted(table())
    never = np.array(
        [not EVENTS.purchase[a : b + 1].any() for a, b in zip(FIRST, LAST, strict=True)]
    )
    assert never.any()
    age = (END // DAY - EVENTS.time[FIRST[never]] // DAY).astype(float)
    nothing = np.zeros(int(never.sum()))
    seen = Histories(nothing.astype(np.int64), nothing, nothing, age)
    expected = model.learnt("asked").purchases.buys(seen, 90.0)
    np.testing.assert_allclose(model.predict(EVENTS, table())[never], expected)


def labels_do_not_matter(kind: type[BgNbd]) -> None:
    asked = table("value")
    other = replace(asked, label=np.random.default_rng(0).gamma(1.0, 9.0, len(asked)))
    answers = []
    for labelled in (asked, other):
        model = kind(SPEC)
        model.fit(EVENTS, {"asked": labelled})
        answers.append(model.predict(EVENTS, asked))
    np.testing.assert_array_equal(*answers)


def test_no_label_is_looked_at() -> None:
    labels_do_not_matter(BgNbd)


def test_a_look_at_the_labels_is_noticed() -> None:
    class Looks(BgNbd):
        def fit(self, events: EventArrays, tables: dict[str, LabelTable]) -> None:
            some = {name: t.take(t.label >= np.median(t.label)) for name, t in tables.items()}
            super().fit(events, {name: t.take(np.arange(len(t) // 3)) for name, t in some.items()})

    with pytest.raises(AssertionError):
        labels_do_not_matter(Looks)


def test_a_customer_counts_once_in_the_newest_row() -> None:
    asked, earlier = table(), table(event=FIRST, time=10_061 * DAY)
    columns = {
        name: np.concatenate([getattr(earlier, name), getattr(asked, name)])
        for name in ("customer", "event", "time", "label")
    }
    shuffled = np.random.default_rng(1).permutation(2 * N_CUSTOMERS)
    twice = replace(asked, **columns).take(shuffled)
    assert fitted(twice).learnt("asked").purchases == fitted(asked).learnt("asked").purchases
    assert fitted(earlier).learnt("asked").purchases != fitted(asked).learnt("asked").purchases


def test_amounts_are_those_of_the_events_that_are_meant() -> None:
    asked = table("value")
    answer = fitted(asked).predict(EVENTS, asked)
    mean, median = answer.T
    assert (mean > 0).all()
    assert ((median == 0) == (fitted(table()).predict(EVENTS, table()) < 0.5)).all()
    assert (median[median > 0] < 1.5 * mean[median > 0]).all()
    dear = replace(EVENTS, value=10 * EVENTS.value)
    np.testing.assert_allclose(fitted(asked, dear).predict(dear, asked), 10 * answer, rtol=1e-2)
    visits = replace(EVENTS, value=np.where(EVENTS.purchase, EVENTS.value, 1e6).astype(np.float32))
    np.testing.assert_array_equal(fitted(asked, visits).predict(visits, asked), answer)


def test_other_events_than_purchases_can_be_waited_for() -> None:
    visits = table(target=EventFilter(event_type=("visit",)))
    swapped = replace(EVENTS, purchase=~EVENTS.purchase)
    np.testing.assert_array_equal(
        fitted(visits).predict(EVENTS, visits), fitted(table(), swapped).predict(swapped, table())
    )


def test_nobody_has_bought() -> None:
    nobody = replace(EVENTS, purchase=np.zeros_like(EVENTS.purchase))
    with pytest.raises(SeqmarketError, match="needs customers who have bought") as caught:
        fitted(table(), nobody)
    assert "~model@baselines.bg_nbd" in (caught.value.fix or "")


def test_nothing_is_worth_anything() -> None:
    worthless = replace(EVENTS, value=np.zeros_like(EVENTS.value))
    fitted(table(), worthless)
    with pytest.raises(SeqmarketError, match="purchases with a value above 0"):
        fitted(table("value"), worthless)


def test_a_window_has_to_be_given() -> None:
    with pytest.raises(SeqmarketError, match="does not say which"):
        fitted(replace(table(), rule=None))
