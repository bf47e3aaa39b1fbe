"""Canaries: the future must not be seen, and labels that mean nothing must not be predicted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray

from seqmarket.data import dense, labels
from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.data.datasets import EvaluationSet
from seqmarket.data.event_log import EventLog
from seqmarket.data.labels import Neighbours
from seqmarket.data.settings import EncodingSettings, SplitSettings
from seqmarket.data.sources.synthetic import SyntheticJourneys
from seqmarket.data.splits import to_datetime
from seqmarket.data.store import SequenceStore, open_store
from seqmarket.data.store_writing import write_store
from seqmarket.metrics.amounts import AmountScores
from seqmarket.metrics.classification import BinaryScores, binary_metrics
from seqmarket.models.gru import GRUEncoder
from seqmarket.models.repeat_last import RepeatLast
from seqmarket.models.rfm_logistic import RfmLogistic
from seqmarket.nn.journey_model import JourneyModel
from seqmarket.schema import MICROSECONDS_PER_DAY, PURCHASES, LabelTable, SequenceSpec, WindowRule
from seqmarket.training.config import TrainingConfig
from seqmarket.training.objectives import Trained, make_objectives
from seqmarket.training.predictors import BaselinePredictor, DeepPredictor, Predictor
from seqmarket.training.task_settings import PurchaseTask, TasksConfig, ValueTask
from seqmarket.training.tasks import Task, make_tasks

TASKS = make_tasks(TasksConfig(purchase=PurchaseTask(), value=ValueTask()))
HAZARD = TrainingConfig(head_hidden=8, head_dropout=0.0)
LOGISTIC = TrainingConfig(window_heads="logistic", head_hidden=16, head_dropout=0.0)
ENCODING = EncodingSettings(max_length=24)
SECOND = timedelta(seconds=1)


LogLike = Callable[[EventLog, pl.DataFrame], EventLog]


@pytest.fixture(scope="module")
def log(read_log: Callable[..., EventLog]) -> EventLog:
    return read_log(SyntheticJourneys(n_customers=150, days=200, seed=11))


def encoded(log: EventLog, path: Path) -> JourneyDataModule:
    write_store(path, log, SplitSettings(), ENCODING)
    return data_of(open_store(path))


def data_of(store: SequenceStore) -> JourneyDataModule:
    rules = {name: task.rule for name, task in TASKS.items()}
    points = {name: found.points for name, found in make_objectives(TASKS, LOGISTIC).items()}
    return JourneyDataModule(store, rules, points, batch_size=16, eval_tokens=2_000, seed=1)


def at_cutoff(table: LabelTable, cutoff: int) -> LabelTable:
    return table.take(table.time == cutoff)


def with_canaries(log: EventLog, store: SequenceStore, table: LabelTable) -> pl.DataFrame:
    """Plants, a second after the cutoff, an event that tells the label of each row."""
    planted = pl.DataFrame(
        {
            "customer_id": store.customer_ids().gather(table.customer),
            "time": [to_datetime(int(t)) + SECOND for t in table.time],
            "channel": np.array(store.spec.channel.categories)[(table.label > 0).astype(int)],
            "value": table.label.astype(np.float64),
        }
    ).with_columns(pl.col("time").cast(pl.Datetime("us", "UTC")), event_type=pl.lit("touch"))
    return pl.concat([log.frame.collect(), planted], how="diagonal")


def network_of(
    spec: SequenceSpec, objectives: Mapping[str, Trained], settings: TrainingConfig, d_model: int
) -> JourneyModel:
    heads = {name: found.make_head(spec, d_model, settings) for name, found in objectives.items()}
    head_of = {task.name: name for name, found in objectives.items() for task in found.tasks}
    return JourneyModel(GRUEncoder(spec, d_model=d_model, dropout=0.0), heads, head_of)


def models(data: JourneyDataModule) -> dict[str, Predictor]:
    spec, events = data.store.spec, data.store.events
    torch.manual_seed(0)
    network = network_of(spec, make_objectives(TASKS, HAZARD), HAZARD, d_model=8)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    logistic = RfmLogistic(spec)
    logistic.fit(events, data.tables("train"))
    return {
        "gru": DeepPredictor(network, TASKS, events, spec, tokens=2_000),
        "rfm_logistic": BaselinePredictor(logistic, events),
        "repeat_last": BaselinePredictor(RepeatLast(spec), events),
    }


def scores(table: LabelTable, answer: NDArray[np.float64]) -> list[float]:
    kind = AmountScores if table.kind == "amount" else BinaryScores
    return kind(table.label, answer).evaluate().tolist()


NewestVisible = Callable[[LabelTable, SequenceStore], LabelTable]


def honest(table: LabelTable, store: SequenceStore) -> LabelTable:
    return table


def peeking(table: LabelTable, store: SequenceStore) -> LabelTable:
    """The mutant: a label table whose rows may see an event a moment after the cutoff."""
    later = labels.newest_event(store.events, int(table.time[0]) + MICROSECONDS_PER_DAY)
    return replace(table, event=later[table.customer])


def canaries_change_nothing(
    log: EventLog, log_like: LogLike, folder: Path, task: str, visible: NewestVisible
) -> None:
    clean = encoded(log, folder / "clean")
    table = clean.tables("test")[task]
    assert len(np.unique(table.label)) > 1
    for cutoff in np.unique(table.time):
        asked = at_cutoff(table, cutoff)
        changed = log_like(log, with_canaries(log, clean.store, asked))
        planted = encoded(changed, folder / f"planted-{cutoff}")
        assert planted.store.spec == clean.store.spec
        again = at_cutoff(planted.tables("test")[task], cutoff)
        assert (again.label == asked.label).all()
        assert (again.customer == asked.customer).all()
        before, after = visible(asked, clean.store), visible(again, planted.store)

        left = EvaluationSet(clean.store.events, {task: before}, 24, 2_000)
        right = EvaluationSet(planted.store.events, {task: after}, 24, 2_000)
        assert len(left) == len(right)
        for i in range(len(left)):
            for x, y in zip(left[i].journeys, right[i].journeys, strict=True):
                assert torch.equal(x, y)

        old, new = models(clean), models(planted)
        answered = 0
        for name in old:
            p = old[name].predict({task: before})
            q = new[name].predict({task: after})
            if task in p:
                assert (p[task] == q[task]).all()
                assert scores(asked, p[task]) == scores(again, q[task])
                answered += 1
        assert answered == 2


@pytest.mark.parametrize("task", TASKS)
def test_an_event_planted_after_each_cutoff_changes_no_input_and_no_metric(
    log: EventLog, log_like: LogLike, tmp_path: Path, task: str
) -> None:
    canaries_change_nothing(log, log_like, tmp_path, task, honest)


@pytest.mark.parametrize("task", TASKS)
def test_a_pipeline_that_peeks_is_caught(
    log: EventLog, log_like: LogLike, tmp_path: Path, task: str
) -> None:
    with pytest.raises(AssertionError):
        canaries_change_nothing(log, log_like, tmp_path, task, peeking)


Times = NDArray[np.int64] | int
Labeller = Callable[[Neighbours, NDArray[np.int64], Times, WindowRule], NDArray[np.int64]]


def coin(
    near: Neighbours, event: NDArray[np.int64], time: Times, rule: WindowRule
) -> NDArray[np.int64]:
    """Labels that mean nothing, the same for the same row."""
    seed = [len(event), int(np.sum(time)) % 2**32]
    return np.random.default_rng(seed).integers(0, 2, len(event))


def telling(
    near: Neighbours, event: NDArray[np.int64], time: Times, rule: WindowRule
) -> NDArray[np.int64]:
    """The mutant: labels that the inputs give away, here by whether a purchase comes at all."""
    return (near.next(PURCHASES)[event] - time < 14 * MICROSECONDS_PER_DAY).astype(np.int64)


def trained(data: JourneyDataModule, tasks: dict[str, Task]) -> dict[str, Predictor]:
    """A small network after a few epochs of dense training, and a logistic regression."""
    store = data.store
    torch.manual_seed(0)
    model = network_of(store.spec, make_objectives(tasks, LOGISTIC), LOGISTIC, d_model=16)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for epoch in range(4):
        training = data.training_set(epoch)
        for i in range(len(training)):
            batch = training[i]
            states = model.encode(batch.journeys).states
            target = batch.targets["purchase"]
            raw = model.read(states, batch.journeys.time, "purchase", target.points)
            head: Any = model.heads["purchase"]
            optimizer.zero_grad()
            losses = head.losses(raw, target.label, target.amount)
            (losses * target.weight).mean().backward()
            optimizer.step()
    logistic = RfmLogistic(store.spec)
    logistic.fit(store.events, data.tables("train"))
    return {
        "gru": DeepPredictor(model, tasks, store.events, store.spec, tokens=4_000),
        "rfm_logistic": BaselinePredictor(logistic, store.events),
    }


def shuffled_labels_are_not_predicted(
    log: EventLog, folder: Path, labeller: Labeller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "window_label", labeller)
    monkeypatch.setattr(dense, "window_label", labeller)
    data = encoded(log, folder / "store")
    tables = {"purchase": data.tables("test")["purchase"]}
    label = tables["purchase"].label
    n_one = int(label.sum())
    n_zero = len(label) - n_one
    # Standard error of the AUROC of scores that know nothing (Hanley and McNeil, 1982).
    error = np.sqrt((len(label) + 1) / (12 * n_one * n_zero))
    for predictor in trained(data, {"purchase": TASKS["purchase"]}).values():
        auroc = binary_metrics(label, predictor.predict(tables)["purchase"])["auroc"]
        assert abs(auroc - 0.5) < 4 * error


def test_shuffled_labels_give_an_auroc_of_one_half(
    log: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shuffled_labels_are_not_predicted(log, tmp_path, coin, monkeypatch)


def test_labels_that_the_inputs_tell_are_noticed(
    log: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError):
        shuffled_labels_are_not_predicted(log, tmp_path, telling, monkeypatch)
