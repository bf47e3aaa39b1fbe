"""What every baseline must do; baselines are found through the files of conf/model."""

from __future__ import annotations

import importlib
import inspect
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from torch import nn

from seqmarket.errors import SeqmarketError
from seqmarket.metrics.classification import binary_metrics
from seqmarket.metrics.ranking import categorical_metrics
from seqmarket.models.majority import Majority
from seqmarket.models.repeat_last import RepeatLast
from seqmarket.schema import (
    MICROSECONDS_PER_DAY,
    SPECIAL_TOKENS,
    UNK,
    Baseline,
    CategoricalFeature,
    EventArrays,
    LabelTable,
    NumericFeature,
    SequenceSpec,
)

DAY = MICROSECONDS_PER_DAY
N_CHANNELS = 4
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
    event_type=CategoricalFeature("event_type", ("purchase", "touch")),
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


def make_events() -> EventArrays:
    """Sticky channels, customers who are busy or quiet for good, some channels unknown."""
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(N_CUSTOMERS):
        pace = rng.choice([1.0, 3.0, 12.0])
        n = rng.integers(3, 30)
        channel = rng.integers(SPECIAL_TOKENS, SPECIAL_TOKENS + N_CHANNELS, n)
        for i in range(1, n):
            if rng.random() < 0.7:
                channel[i] = channel[i - 1]
        channel[rng.random(n) < 0.05] = UNK
        parts.append((np.cumsum(rng.exponential(pace, n)), channel, rng.random(n) < 0.5))
    days, channel, purchase = (np.concatenate(column) for column in zip(*parts, strict=True))
    n = len(days)
    return EventArrays(
        offsets=np.concatenate([[0], np.cumsum([len(part[0]) for part in parts])]),
        time=(days * DAY).astype(np.int64) + 17_000 * DAY,
        channel=channel.astype(np.int32),
        event_type=np.where(purchase, 2, 3).astype(np.int32),
        purchase=purchase,
        value=np.where(purchase, rng.gamma(2.0, 10.0, n), 0.0).astype(np.float32),
        categorical=np.zeros((n, 0), dtype=np.int32),
        features=np.zeros((n, 1), dtype=np.float32),
        static_categorical=rng.integers(1, 4, (N_CUSTOMERS, 1)).astype(np.int32),
        static_features=rng.normal(size=(N_CUSTOMERS, 1)).astype(np.float32),
    )


def make_tables(events: EventArrays) -> dict[str, LabelTable]:
    """From every event but a customer's last: the next channel, and a purchase within 4 days."""
    owner = np.repeat(np.arange(events.n_customers), np.diff(events.offsets))
    event = np.flatnonzero(owner[:-1] == owner[1:])
    time = events.time[event]
    buys = np.zeros(len(event), dtype=np.int64)
    for row, (i, now) in enumerate(zip(event, time, strict=True)):
        later = slice(i + 1, events.offsets[owner[i] + 1])
        buys[row] = (events.purchase[later] & (events.time[later] <= now + 4 * DAY)).any()
    following = events.channel[event + 1].astype(np.int64) - SPECIAL_TOKENS
    channel = LabelTable("next_channel", "categorical", owner[event], event, time, following)
    return {
        "purchase": LabelTable("purchase", "binary", owner[event], event, time, buys),
        "next_channel": channel.take(following >= 0),
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


def test_every_promised_baseline_is_found() -> None:
    assert set(BASELINES) >= {"majority", "repeat_last", "markov", "rfm_logistic", "gbdt"}


@pytest.mark.parametrize("name", BASELINES)
def test_yaml_names_every_hyperparameter_with_its_default(name: str) -> None:
    node = BASELINES[name]
    parameters = inspect.signature(target(node)).parameters
    defaults = {key: p.default for key, p in parameters.items() if key != "spec"}
    assert node["_partial_"] is True
    assert {key: value for key, value in node.items() if not key.startswith("_")} == defaults


@pytest.mark.parametrize(("name", "task"), ANSWERS)
def test_predictions_are_probabilities(name: str, task: str) -> None:
    table = half(TABLES[task], odd=True)
    probability = trained(name).predict(EVENTS, table)
    assert probability.dtype == np.float64
    assert ((probability > 0) & (probability < 1)).all()
    if table.kind == "binary":
        assert probability.shape == (len(table),)
    else:
        assert probability.shape == (len(table), N_CHANNELS)
        np.testing.assert_allclose(probability.sum(axis=1), 1.0)


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

    def log_loss(model: str) -> float:
        probability = trained(model).predict(EVENTS, table)
        score = binary_metrics if table.kind == "binary" else categorical_metrics
        return score(table.label, probability)["log_loss"]

    assert log_loss(name) < 0.95 * log_loss("majority")


def assert_as_of(build_model) -> None:
    """Neither fitting nor predicting may depend on what happens after a row's event."""
    rng = np.random.default_rng(1)
    for task, everything in TABLES.items():
        if everything.kind not in build_model().kinds:
            continue
        rows = rng.permutation(len(everything))
        one_each = np.unique(everything.customer[rows], return_index=True)[1]
        table = everything.take(rows[one_each])
        newest = EVENTS.offsets[:-1].copy()
        newest[table.customer] = table.event
        owner = np.repeat(np.arange(N_CUSTOMERS), np.diff(EVENTS.offsets))
        later = np.arange(EVENTS.n_events) > newest[owner]
        other = rng.integers(1, SPECIAL_TOKENS + N_CHANNELS, EVENTS.n_events)
        rewritten = replace(
            EVENTS,
            time=np.where(later, EVENTS.time + DAY, EVENTS.time),
            channel=np.where(later, other, EVENTS.channel).astype(np.int32),
            event_type=np.where(later, 5 - EVENTS.event_type, EVENTS.event_type),
            purchase=np.where(later, ~EVENTS.purchase, EVENTS.purchase),
            value=np.where(later, np.float32(1e6), EVENTS.value),
        )
        predictions = []
        for events in (EVENTS, rewritten):
            model = build_model()
            model.fit(events, {task: half(table, odd=False)})
            predictions.append(model.predict(events, half(table, odd=True)))
        np.testing.assert_array_equal(*predictions)


@pytest.mark.parametrize("name", BASELINES)
def test_later_events_change_nothing(name: str) -> None:
    assert_as_of(lambda: build(name))


class Clairvoyant(RepeatLast):
    """A mutant that looks at the event after the last one it may see."""

    def predict(self, events: EventArrays, table: LabelTable) -> np.ndarray:
        return super().predict(events, replace(table, event=table.event + 1))


class TaughtByTheFuture(RepeatLast):
    """A mutant that looks ahead while it is fitted."""

    def fit(self, events: EventArrays, tables: dict[str, LabelTable]) -> None:
        super().fit(
            events, {task: replace(table, event=table.event + 1) for task, table in tables.items()}
        )


@pytest.mark.parametrize("mutant", [Clairvoyant, TaughtByTheFuture])
def test_a_baseline_that_looks_ahead_is_caught(mutant: type[RepeatLast]) -> None:
    with pytest.raises(AssertionError):
        assert_as_of(lambda: mutant(SPEC))


@pytest.mark.parametrize(("name", "task"), ANSWERS)
def test_an_unfitted_task_is_a_clear_error(name: str, task: str) -> None:
    model = trained(name)
    with pytest.raises(SeqmarketError, match="not fitted for the task 'churn'"):
        model.predict(EVENTS, replace(TABLES[task], task="churn"))


@pytest.mark.parametrize(("name", "task"), ANSWERS)
def test_no_training_rows_is_a_clear_error(name: str, task: str) -> None:
    empty = TABLES[task].take(np.empty(0, dtype=np.int64))
    with pytest.raises(SeqmarketError, match="no training row"):
        build(name).fit(EVENTS, {task: empty})


@pytest.mark.parametrize(("name", "task"), ANSWERS)
def test_no_rows_to_predict_is_no_error(name: str, task: str) -> None:
    empty = TABLES[task].take(np.empty(0, dtype=np.int64))
    assert len(trained(name).predict(EVENTS, empty)) == 0


@pytest.mark.parametrize(("name", "task"), ANSWERS)
def test_a_single_class_in_training_gives_usable_probabilities(name: str, task: str) -> None:
    table = TABLES[task]
    model = build(name)
    model.fit(EVENTS, {task: table.take(table.label == 0)})
    probability = model.predict(EVENTS, table)
    assert np.isfinite(np.log(probability)).all()
    share = 1 - probability if table.kind == "binary" else probability[:, 0]
    assert share.mean() > 0.5


def test_majority_predicts_frequencies() -> None:
    model = Majority(SPEC, smoothing=0.0)
    model.fit(EVENTS, TABLES)
    assert model.predict(EVENTS, TABLES["purchase"]) == pytest.approx(
        TABLES["purchase"].label.mean()
    )
    frequency = np.bincount(TABLES["next_channel"].label) / len(TABLES["next_channel"])
    assert model.predict(EVENTS, TABLES["next_channel"])[0] == pytest.approx(frequency)


def test_repeat_last_repeats_at_the_trained_rate() -> None:
    table = TABLES["next_channel"]
    model = RepeatLast(SPEC, smoothing=0.0)
    model.fit(EVENTS, TABLES)
    probability = model.predict(EVENTS, table)
    last = EVENTS.channel[table.event] - SPECIAL_TOKENS
    known = last >= 0
    assert (probability.argmax(axis=1) == last)[known].all()
    for channel in range(N_CHANNELS):
        rows = last == channel
        rate = (table.label == channel)[rows].mean()
        assert probability[rows, channel] == pytest.approx(rate)
    frequency = (np.bincount(table.label) + 1) / (len(table) + N_CHANNELS)
    assert probability[~known][0] == pytest.approx(frequency)


def test_repeat_last_repeats_even_what_never_repeated() -> None:
    table = TABLES["next_channel"]
    last = EVENTS.channel[table.event] - SPECIAL_TOKENS
    moving = table.take((last >= 0) & (last != table.label))
    model = RepeatLast(SPEC)
    model.fit(EVENTS, {"next_channel": moving})
    probability = model.predict(EVENTS, moving)
    last = EVENTS.channel[moving.event] - SPECIAL_TOKENS
    assert (probability.argmax(axis=1) == last).all()
    np.testing.assert_allclose(probability.sum(axis=1), 1.0)


def test_without_lightgbm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(SeqmarketError, match=r"pip install 'seqmarket\[gbdt\]'"):
        build("gbdt")
