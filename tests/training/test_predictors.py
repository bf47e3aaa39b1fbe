"""Any model, asked the same way: rows in the order of the table, probabilities calibrated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from seqmarket.data.batch import TaskBatch
from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.data.datasets import EvaluationSet
from seqmarket.data.store import SequenceStore
from seqmarket.metrics.calibration import PlattScaling, TemperatureScaling
from seqmarket.models.majority import Majority
from seqmarket.models.rfm_logistic import RfmLogistic
from seqmarket.nn.journey_model import JourneyModel
from seqmarket.schema import EventArrays, LabelTable, NextRule, TaskKind
from seqmarket.training import predictors
from seqmarket.training.checkpoint import build_model
from seqmarket.training.config import ComponentConfig, TrainingConfig
from seqmarket.training.predictors import (
    BaselinePredictor,
    CalibratedPredictor,
    DeepPredictor,
    Predictions,
    Predictor,
    Tables,
    calibrations_of,
    to_device,
)
from seqmarket.training.tasks import Task


@pytest.fixture(scope="module")
def model(tasks: Mapping[str, Task], store: SequenceStore) -> JourneyModel:
    torch.manual_seed(2)
    spec = store.spec
    settings = TrainingConfig(head_hidden=8, head_dropout=0.5)
    gru = ComponentConfig(
        target="seqmarket.models.gru.GRUEncoder", options={"d_model": 8, "dropout": 0.5}
    )
    model = build_model(gru, spec, tasks, settings)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    hazard: Any = model.heads["time_to_purchase"]
    hazard.reader.out.bias.data.fill_(-3.2)  # or every purchase would be sure
    return model


def deep(
    model: JourneyModel, data: JourneyDataModule, tasks: Mapping[str, Task], tokens: int
) -> DeepPredictor:
    return DeepPredictor(model, tasks, data.store.events, data.store.spec, tokens=tokens)


def one_by_one(
    model: JourneyModel, data: JourneyDataModule, tasks: Mapping[str, Task]
) -> Predictions:
    """What the model says of the first test rows when each is asked alone."""
    answers: Predictions = {}
    predictor = deep(model, data, tasks, tokens=1)
    for name, table in data.tables("test").items():
        rows = [predictor.predict({name: table.take(np.array([i]))})[name] for i in range(20)]
        answers[name] = np.concatenate(rows)
    return answers


def answers_in_table_order(
    model: JourneyModel, data: JourneyDataModule, tasks: Mapping[str, Task], tokens: int
) -> None:
    expected = one_by_one(model, data, tasks)
    mixed = np.random.default_rng(0).permutation(20)
    tables = {name: table.take(mixed) for name, table in data.tables("test").items()}
    for name, probability in deep(model, data, tasks, tokens).predict(tables).items():
        assert probability == pytest.approx(expected[name][mixed], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("tokens", [50, 5_000])
def test_rows_are_answered_in_their_order_whatever_the_batches(
    model: JourneyModel, data: JourneyDataModule, tasks: Mapping[str, Task], tokens: int
) -> None:
    answers_in_table_order(model, data, tasks, tokens)


class OrderOfBatches(EvaluationSet):
    """The mutant: rows come back in the order in which the batches ask them."""

    def __getitem__(self, index: int) -> TaskBatch:
        batch = super().__getitem__(index)
        targets = {
            name: target._replace(table_row=target.table_row.sort().values)
            for name, target in batch.targets.items()
        }
        return batch._replace(targets=targets)


def test_rows_in_the_order_of_the_batches_are_noticed(
    model: JourneyModel,
    data: JourneyDataModule,
    tasks: Mapping[str, Task],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def mutant(events: EventArrays, tables: Tables, max_length: int, tokens: int) -> EvaluationSet:
        kind = OrderOfBatches if any(len(t) > 1 for t in tables.values()) else EvaluationSet
        return kind(events, tables, max_length, tokens)

    monkeypatch.setattr(predictors, "EvaluationSet", mutant)
    with pytest.raises(AssertionError):
        answers_in_table_order(model, data, tasks, 5_000)


def test_the_token_budget_changes_nothing(
    model: JourneyModel, data: JourneyDataModule, tasks: Mapping[str, Task]
) -> None:
    tables = data.tables("test")
    few = deep(model, data, tasks, 50).predict(tables)
    many = deep(model, data, tasks, 5_000).predict(tables)
    spec = data.store.spec
    for name, table in tables.items():
        width = {
            "binary": (),
            "categorical": (len(tasks[name].classes(spec)),),
            "amount": (2,),
            "duration": (9,),
        }
        assert few[name].shape == (len(table), *width[table.kind])
        assert few[name].dtype == np.float64
        near = 1e-5 if table.kind == "duration" else 1e-6  # days: about a second
        assert few[name] == pytest.approx(many[name], rel=1e-4, abs=near)
        assert few[name].std() > 0.01


def test_dropout_is_off(
    model: JourneyModel, data: JourneyDataModule, tasks: Mapping[str, Task]
) -> None:
    model.train()
    tables = data.tables("test")
    first = deep(model, data, tasks, 500).predict(tables)
    second = deep(model, data, tasks, 500).predict(tables)
    assert all((first[name] == second[name]).all() for name in tables)


def test_a_table_without_rows_gets_an_answer_without_rows(
    model: JourneyModel, data: JourneyDataModule, tasks: Mapping[str, Task]
) -> None:
    tables = data.tables("test")
    nothing = tables["churn"].take(np.empty(0, dtype=np.int64))
    answers = deep(model, data, tasks, 500).predict({**tables, "churn": nothing})
    assert answers["churn"].shape == (0,)
    assert len(answers["purchase"]) == len(tables["purchase"])


def test_baselines_answer_their_kinds_only(data: JourneyDataModule) -> None:
    tables = data.tables("train")
    spec, events = data.store.spec, data.store.events
    logistic, majority = RfmLogistic(spec), Majority(spec)
    logistic.fit(events, {name: tables[name] for name in ("purchase", "churn")})
    majority.fit(events, tables)
    test = data.tables("test")
    assert set(BaselinePredictor(logistic, events).predict(test)) == {"purchase", "churn"}
    every = BaselinePredictor(majority, events).predict(test)
    assert set(every) == set(tables)
    assert every["churn"] == pytest.approx(
        (tables["churn"].label.sum() + 1) / (len(tables["churn"]) + 2)
    )


class Overconfident:
    """Says what is true of half of the rows, and far too loudly."""

    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary"})

    def fit(self, events: EventArrays, tables: Mapping[str, LabelTable]) -> None:
        """Nothing to learn."""

    def predict(self, events: EventArrays, table: LabelTable) -> NDArray[np.float64]:
        right = np.where(table.label == 1, 0.999, 0.001)
        return np.where(np.arange(len(table)) % 2 == 0, right, 1 - table.label.mean())


def log_loss(predictor: Predictor, table: LabelTable) -> float:
    p = predictor.predict({table.task: table})[table.task]
    return float(-np.log(np.where(table.label == 1, p, 1 - p)).mean())


def test_calibration_corrects_task_by_task(data: JourneyDataModule) -> None:
    raw = BaselinePredictor(Overconfident(), data.store.events)
    validation = data.tables("validation")
    calibrated = CalibratedPredictor.fit(raw, validation, data.store.spec)
    assert set(calibrated.calibrations) == {"purchase", "churn"}
    assert calibrated.calibrations["purchase"] != calibrated.calibrations["churn"]
    for name in ("purchase", "churn"):
        assert log_loss(calibrated, validation[name]) < log_loss(raw, validation[name])
        # Correction is fitted on the validation rows, and applied to any others.
        before = raw.predict(data.tables("test"))[name]
        after = calibrated.predict(data.tables("test"))[name]
        fitted = PlattScaling.fit(raw.predict(validation)[name], validation[name].label)
        assert after == pytest.approx(fitted.apply(before))


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_durations_and_medians_are_not_corrected(
    model: JourneyModel,
    data: JourneyDataModule,
    tasks: Mapping[str, Task],
    method: Literal["platt", "isotonic"],
) -> None:
    raw = deep(model, data, tasks, 5_000)
    calibrated = CalibratedPredictor.fit(raw, data.tables("validation"), data.store.spec, method)
    assert set(calibrated.calibrations) == set(tasks) - {"time_to_next"}
    assert calibrations_of(calibrated)["churn"]["method"] == method
    assert calibrations_of(calibrated)["next_channel"]["method"] == "temperature"
    before, after = raw.predict(data.tables("test")), calibrated.predict(data.tables("test"))
    assert (after["time_to_next"] == before["time_to_next"]).all()
    assert (after["value"][:, 1] == before["value"][:, 1]).all()
    assert not np.allclose(after["value"][:, 0], before["value"][:, 0])
    assert not np.allclose(after["churn"], before["churn"])


class Said:
    """Answers one task with what it was given."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {task: np.asarray(answer) for task, answer in answers.items()}

    def predict(self, tables: Tables) -> Predictions:
        """The same, whatever is asked."""
        return self.answers


def half_scored(store: SequenceStore, label: list[int]) -> Tables:
    """Rows of a task whose first class, and the end of a journey, are not scored."""
    first = store.spec.channel.categories[0]
    rule = NextRule("next_channel", "channel", not_scored=(first,), end="learnt")
    row = np.arange(len(label))
    table = LabelTable("next_channel", "categorical", row, row, row, np.array(label), rule)
    return {"next_channel": table}


def answers_lie_among_the_scored(store: SequenceStore) -> None:
    tables = half_scored(store, [1, 2, 1])
    k = len(store.spec.channel.categories) + 1
    said = np.zeros((3, k))
    said[0, [0, 1, 2, -1]] = 0.5, 0.1, 0.3, 0.1
    said[1, [1, 2]] = 0.25, 0.75
    said[2, [0, -1]] = 0.5, 0.5  # neither of which is asked
    found = predictors.among_scored({"next_channel": said}, tables, store.spec)["next_channel"]
    assert found[0, [0, 1, 2, -1]] == pytest.approx([0, 0.25, 0.75, 0])
    assert (found[1] == said[1]).all()
    assert found[2] == pytest.approx([0, *[1 / (k - 2)] * (k - 2), 0])


def test_what_is_not_scored_is_not_answered_in_an_evaluation(store: SequenceStore) -> None:
    answers_lie_among_the_scored(store)


def test_an_answer_that_nobody_asked_for_is_noticed(
    store: SequenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictors, "_given", lambda probability, scored: probability)
    with pytest.raises(AssertionError):
        answers_lie_among_the_scored(store)


def test_calibration_looks_at_the_scored_classes_only(store: SequenceStore) -> None:
    numbers = np.random.default_rng(3)
    k = len(store.spec.channel.categories) + 1
    some = numbers.dirichlet(np.ones(k - 2), size=400)
    label = 1 + np.array([numbers.choice(k - 2, p=row**0.5 / (row**0.5).sum()) for row in some])
    # The share of what is not scored changes from row to row, and must not matter.
    rest = numbers.dirichlet(np.ones(3), size=400)
    said = np.column_stack([rest[:, 0], some * rest[:, 2:], rest[:, 1]])
    tables = half_scored(store, label.tolist())
    predictor = CalibratedPredictor.fit(Said(next_channel=said), tables, store.spec)
    fitted = predictor.calibrations["next_channel"]
    wanted = TemperatureScaling.fit(some, label - 1)
    assert isinstance(fitted, TemperatureScaling)
    assert fitted.temperature == pytest.approx(wanted.temperature)
    assert fitted.temperature != pytest.approx(TemperatureScaling.fit(said, label).temperature)


def test_a_task_without_a_correction_stays_as_it_is(data: JourneyDataModule) -> None:
    raw = BaselinePredictor(Overconfident(), data.store.events)
    tables = data.tables("test")
    partly = CalibratedPredictor(raw, {"churn": PlattScaling(2.0, 0.5)}).predict(tables)
    assert (partly["purchase"] == raw.predict(tables)["purchase"]).all()
    assert not np.allclose(partly["churn"], raw.predict(tables)["churn"])


def test_corrections_as_plain_containers(data: JourneyDataModule) -> None:
    raw = BaselinePredictor(Overconfident(), data.store.events)
    assert calibrations_of(raw) == {}
    both = CalibratedPredictor(
        raw, {"churn": PlattScaling(2.0, 0.5), "next_channel": TemperatureScaling(1.5)}
    )
    assert calibrations_of(both) == {
        "churn": {"method": "platt", "a": 2.0, "b": 0.5},
        "next_channel": {"method": "temperature", "temperature": 1.5},
    }


def test_to_another_device_goes_everything_but_the_row_numbers(data: JourneyDataModule) -> None:
    batch = EvaluationSet(data.store.events, data.tables("test"), 16, 500)[0]
    assert to_device(batch, torch.device("cpu")) is batch
    moved = to_device(batch, torch.device("meta"))
    assert all(tensor.is_meta for tensor in moved.journeys)
    for name, target in moved.targets.items():
        assert all(
            tensor.is_meta
            for tensor in (*target.points, target.label, target.amount, target.weight)
        )
        assert torch.equal(target.table_row, batch.targets[name].table_row)
