"""What every baseline must do; baselines are found through the files of conf/model."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from torch import nn

from seqmarket.errors import SeqmarketError
from seqmarket.metrics.amounts import AmountScores, DurationScores
from seqmarket.metrics.classification import binary_metrics
from seqmarket.metrics.ranking import categorical_metrics
from seqmarket.models.repeat_last import RepeatLast
from seqmarket.models.usual_gap import UsualGap
from seqmarket.schema import (
    MICROSECONDS_PER_DAY,
    PURCHASES,
    QUANTILES,
    SPECIAL_TOKENS,
    UNK,
    Baseline,
    CategoricalFeature,
    EventArrays,
    LabelTable,
    NextRule,
    NumericFeature,
    SequenceSpec,
    TaskRule,
    WindowRule,
)

DAY = MICROSECONDS_PER_DAY
N_CHANNELS = 4
N_TYPES = 3
N_CUSTOMERS = 400


def target(node: dict[str, Any]) -> Any:
    module, _, name = node["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), name)


def is_deep(node: dict[str, Any]) -> bool:
    return issubclass(target(node), nn.Module)


FOLDER = Path(__file__).parents[2] / "conf" / "model"
NODES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yaml"))}
BASELINES = {name: node for name, node in NODES.items() if not is_deep(node)}
SPEC = SequenceSpec(
    channel=CategoricalFeature("channel", tuple("abcd")),
    event_type=CategoricalFeature("event_type", ("purchase", "touch", "visit")),
    categorical=(),
    numeric=(NumericFeature("value", 0.0, 1.0, False),),
    static_categorical=(CategoricalFeature("region", ("north", "south")),),
    static_numeric=(NumericFeature("income", 0.0, 1.0, False),),
    purchase_event_types=("purchase",),
    max_length=64,
    time_scale=1.0,
)


def build(name: str) -> Baseline:
    hyper = {key: value for key, value in BASELINES[name].items() if not key.startswith("_")}
    return target(BASELINES[name])(SPEC, **hyper)


def sticky(rng: np.random.Generator, n: int, classes: int) -> np.ndarray:
    """Ids of classes that mostly come again."""
    ids = rng.integers(SPECIAL_TOKENS, SPECIAL_TOKENS + classes, n)
    for i in range(1, n):
        if rng.random() < 0.7:
            ids[i] = ids[i - 1]
    return ids


def make_events() -> EventArrays:
    """Sticky channels and types, customers who are busy or quiet for good, some ids unknown.

    After a visit the next event is sooner than after others, and after a purchase later.
    """
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(N_CUSTOMERS):
        pace = rng.choice([1.0, 3.0, 12.0])
        n = rng.integers(3, 30)
        channel = sticky(rng, n, N_CHANNELS)
        event_type = sticky(rng, n, N_TYPES)
        gap = rng.exponential(pace, n) * np.array([2.0, 1.0, 0.3])[event_type - SPECIAL_TOKENS]
        purchase = event_type == SPECIAL_TOKENS
        for ids in (channel, event_type):
            ids[rng.random(n) < 0.05] = UNK
        parts.append((np.cumsum(gap) - gap, channel, event_type, purchase))
    days, channel, event_type, purchase = (np.concatenate(c) for c in zip(*parts, strict=True))
    n = len(days)
    return EventArrays(
        offsets=np.concatenate([[0], np.cumsum([len(part[0]) for part in parts])]),
        time=(days * DAY).astype(np.int64) + 17_000 * DAY,
        channel=channel.astype(np.int32),
        event_type=event_type.astype(np.int32),
        purchase=purchase,
        value=np.where(purchase, rng.gamma(2.0, 10.0, n), 0.0).astype(np.float32),
        categorical=np.zeros((n, 0), dtype=np.int32),
        features=np.zeros((n, 1), dtype=np.float32),
        static_categorical=rng.integers(1, 4, (N_CUSTOMERS, 1)).astype(np.int32),
        static_features=rng.normal(size=(N_CUSTOMERS, 1)).astype(np.float32),
    )


RULES: dict[str, TaskRule] = {
    "purchase": WindowRule("purchase", 4 * DAY, "happens", PURCHASES, 999 * DAY, PURCHASES),
    "value": WindowRule("value", 14 * DAY, "value", PURCHASES, 999 * DAY, PURCHASES),
    "next_channel": NextRule("next_channel", "channel"),
    "next_event_type": NextRule("next_event_type", "event_type"),
    "time_to_next": NextRule("time_to_next", "time"),
}


def make_tables(events: EventArrays) -> dict[str, LabelTable]:
    """From every event but a customer's last: what is next, and what is bought in a while."""
    owner = np.repeat(np.arange(events.n_customers), np.diff(events.offsets))
    event = np.flatnonzero(owner[:-1] == owner[1:])
    time = events.time[event]
    buys = np.zeros(len(event), dtype=np.int64)
    value = np.zeros(len(event))
    for row, (i, now) in enumerate(zip(event, time, strict=True)):
        later = slice(i + 1, events.offsets[owner[i] + 1])
        bought, after = events.purchase[later], events.time[later] - now
        buys[row] = (bought & (after <= 4 * DAY)).any()
        value[row] = events.value[later][bought & (after <= 14 * DAY)].sum(dtype=np.float64)
    labels = {
        "purchase": buys,
        "value": value,
        "next_channel": events.channel[event + 1].astype(np.int64) - SPECIAL_TOKENS,
        "next_event_type": events.event_type[event + 1].astype(np.int64) - SPECIAL_TOKENS,
        "time_to_next": (events.time[event + 1] - time) / DAY,
    }
    return {
        task: LabelTable(task, rule.kind, owner[event], event, time, labels[task], rule).take(
            labels[task] >= 0
        )
        for task, rule in RULES.items()
    }


EVENTS = make_events()
TABLES = make_tables(EVENTS)


def half(table: LabelTable, odd: bool) -> LabelTable:
    return table.take(table.customer % 2 == odd)


def trained(name: str, events: EventArrays = EVENTS) -> Baseline:
    model = build(name)
    model.fit(events, {task: half(table, odd=False) for task, table in TABLES.items()})
    return model


ANSWERS = [
    pytest.param(name, task, id=f"{name}-{task}")
    for name, node in BASELINES.items()
    for task, table in TABLES.items()
    if table.kind in target(node).kinds
]
FITTED = [answer for answer in ANSWERS if answer.values != ("repeat_last", "value")]
"""Without the one that has nothing to learn."""


def of_kinds(*kinds: str) -> list[Any]:
    return [answer for answer in ANSWERS if TABLES[answer.values[1]].kind in kinds]


def losses(table: LabelTable, answer: np.ndarray) -> float:
    """What a better model has less of."""
    if table.kind == "binary":
        return binary_metrics(table.label, answer)["log_loss"]
    if table.kind == "categorical":
        return categorical_metrics(table.label, answer)["log_loss"]
    if table.kind == "amount":
        scores = AmountScores(table.label, answer)
        return float(1 - scores.evaluate()[scores.metrics.index("gini")])
    durations = DurationScores(table.label, answer)
    return float(durations.evaluate()[durations.metrics.index("pinball_loss")])


def test_every_promised_baseline_is_found() -> None:
    assert set(BASELINES) >= {
        "majority",
        "repeat_last",
        "markov",
        "usual_gap",
        "rfm_logistic",
        "gbdt",
        "bg_nbd",
    }


def test_every_kind_of_task_is_answered_by_two() -> None:
    for task in TABLES:
        assert len([answer for answer in ANSWERS if answer.values[1] == task]) >= 2


@pytest.mark.parametrize("name", BASELINES)
def test_yaml_names_every_hyperparameter_with_its_default(name: str) -> None:
    node = BASELINES[name]
    parameters = inspect.signature(target(node)).parameters
    defaults = {key: p.default for key, p in parameters.items() if key != "spec"}
    assert node["_partial_"] is True
    assert {key: value for key, value in node.items() if not key.startswith("_")} == defaults


@pytest.mark.parametrize(("name", "task"), of_kinds("binary", "categorical"))
def test_predictions_are_probabilities(name: str, task: str) -> None:
    table = half(TABLES[task], odd=True)
    probability = trained(name).predict(EVENTS, table)
    assert probability.dtype == np.float64
    assert ((probability > 0) & (probability < 1)).all()
    if table.kind == "binary":
        assert probability.shape == (len(table),)
    else:
        classes = {"next_channel": N_CHANNELS, "next_event_type": N_TYPES}[task]
        assert probability.shape == (len(table), classes)
        np.testing.assert_allclose(probability.sum(axis=1), 1.0)


@pytest.mark.parametrize(("name", "task"), of_kinds("amount", "duration"))
def test_predictions_are_amounts_or_quantiles(name: str, task: str) -> None:
    table = half(TABLES[task], odd=True)
    answer = trained(name).predict(EVENTS, table)
    assert answer.dtype == np.float64
    assert np.isfinite(answer).all()
    if table.kind == "amount":
        assert answer.shape == (len(table), 2)
    else:
        assert answer.shape == (len(table), len(QUANTILES))
        assert (answer >= 0).all()
        assert (np.diff(answer, axis=1) >= 0).all()


@pytest.mark.parametrize(("name", "task"), ANSWERS)
def test_fitting_twice_gives_the_same_bits(name: str, task: str) -> None:
    table = half(TABLES[task], odd=True)
    once, again = (trained(name).predict(EVENTS, table) for _ in range(2))
    np.testing.assert_array_equal(once, again)


@pytest.mark.parametrize(("name", "task"), ANSWERS)
def test_a_row_is_predicted_alike_in_any_company(name: str, task: str) -> None:
    table = half(TABLES[task], odd=True)
    rows = np.random.default_rng(0).permutation(len(table))[:50]
    model = trained(name)
    np.testing.assert_allclose(
        model.predict(EVENTS, table)[rows],
        model.predict(EVENTS, table.take(rows)),
        rtol=1e-12,
    )


@pytest.mark.parametrize(("name", "task"), [p for p in ANSWERS if p.values[0] != "majority"])
def test_learns_more_than_the_majority(name: str, task: str) -> None:
    table = half(TABLES[task], odd=True)

    def loss(model: str) -> float:
        return losses(table, trained(model).predict(EVENTS, table))

    assert loss(name) < 0.95 * loss("majority")


def assert_as_of(build_model, task: str) -> None:
    """Neither fitting nor predicting may depend on what happens after a row's event."""
    rng = np.random.default_rng(1)
    everything = TABLES[task]
    rows = rng.permutation(len(everything))
    one_each = np.unique(everything.customer[rows], return_index=True)[1]
    table = everything.take(rows[one_each])
    newest = EVENTS.offsets[:-1].copy()
    newest[table.customer] = table.event
    owner = np.repeat(np.arange(N_CUSTOMERS), np.diff(EVENTS.offsets))
    later = np.arange(EVENTS.n_events) > newest[owner]
    channel = rng.integers(1, SPECIAL_TOKENS + N_CHANNELS, EVENTS.n_events)
    event_type = rng.integers(1, SPECIAL_TOKENS + N_TYPES, EVENTS.n_events)
    rewritten = replace(
        EVENTS,
        time=np.where(later, EVENTS.time + DAY, EVENTS.time),
        channel=np.where(later, channel, EVENTS.channel).astype(np.int32),
        event_type=np.where(later, event_type, EVENTS.event_type).astype(np.int32),
        purchase=np.where(later, ~EVENTS.purchase, EVENTS.purchase),
        value=np.where(later, np.float32(1e6), EVENTS.value),
    )
    predictions = []
    for events in (EVENTS, rewritten):
        model = build_model()
        model.fit(events, {task: half(table, odd=False)})
        predictions.append(model.predict(events, half(table, odd=True)))
    np.testing.assert_array_equal(*predictions)


@pytest.mark.parametrize(("name", "task"), ANSWERS)
def test_later_events_change_nothing(name: str, task: str) -> None:
    assert_as_of(lambda: build(name), task)


def clairvoyant(honest: type[RepeatLast | UsualGap]) -> type[Baseline]:
    """A mutant that looks at the event after the last one it may see."""

    class Clairvoyant(honest):  # type: ignore[valid-type, misc]
        def predict(self, events: EventArrays, table: LabelTable) -> np.ndarray:
            return super().predict(events, replace(table, event=table.event + 1))

    return Clairvoyant


def taught_by_the_future(honest: type[RepeatLast | UsualGap]) -> type[Baseline]:
    """A mutant that looks ahead while it is fitted."""

    class TaughtByTheFuture(honest):  # type: ignore[valid-type, misc]
        def fit(self, events: EventArrays, tables: dict[str, LabelTable]) -> None:
            ahead = {task: replace(t, event=t.event + 1) for task, t in tables.items()}
            super().fit(events, ahead)

    return TaughtByTheFuture


@pytest.mark.parametrize(
    ("mutant", "task"),
    [
        (clairvoyant(RepeatLast), "next_channel"),
        (clairvoyant(RepeatLast), "next_event_type"),
        (clairvoyant(RepeatLast), "value"),
        (clairvoyant(UsualGap), "time_to_next"),
        (taught_by_the_future(RepeatLast), "next_channel"),
        (taught_by_the_future(RepeatLast), "next_event_type"),
        (taught_by_the_future(UsualGap), "time_to_next"),
    ],
)
def test_a_baseline_that_looks_ahead_is_caught(mutant: type[Any], task: str) -> None:
    with pytest.raises(AssertionError):
        assert_as_of(lambda: mutant(SPEC), task)


@pytest.mark.parametrize(("name", "task"), FITTED)
def test_an_unfitted_task_is_a_clear_error(name: str, task: str) -> None:
    model = trained(name)
    with pytest.raises(SeqmarketError, match="not fitted for the task 'churn'"):
        model.predict(EVENTS, replace(TABLES[task], task="churn"))


@pytest.mark.parametrize(("name", "task"), FITTED)
def test_no_training_rows_is_a_clear_error(name: str, task: str) -> None:
    empty = TABLES[task].take(np.empty(0, dtype=np.int64))
    with pytest.raises(SeqmarketError, match="no training row"):
        build(name).fit(EVENTS, {task: empty})


@pytest.mark.parametrize(("name", "task"), ANSWERS)
def test_no_rows_to_predict_is_no_error(name: str, task: str) -> None:
    empty = TABLES[task].take(np.empty(0, dtype=np.int64))
    assert len(trained(name).predict(EVENTS, empty)) == 0


@pytest.mark.parametrize(("name", "task"), of_kinds("binary", "categorical"))
def test_a_single_class_in_training_gives_usable_probabilities(name: str, task: str) -> None:
    table = TABLES[task]
    model = build(name)
    model.fit(EVENTS, {task: table.take(table.label == 0)})
    probability = model.predict(EVENTS, table)
    assert np.isfinite(np.log(probability)).all()
    share = 1 - probability if table.kind == "binary" else probability[:, 0]
    assert share.mean() > 0.5
