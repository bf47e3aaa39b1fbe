"""The tasks: torch's own losses, weighted as said; probabilities, base rates and definitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.data.labels import WindowRule
from seqmarket.data.store import SequenceStore
from seqmarket.nn.heads import BinaryHead, ClassificationHead
from seqmarket.schema import MICROSECONDS_PER_DAY, LabelTable
from seqmarket.training.config import ChurnTask, NextChannelTask, PurchaseTask, TasksConfig
from seqmarket.training.tasks import Task, make_tasks

N = 12


@pytest.fixture
def numbers() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def example(task: Task, numbers: torch.Generator) -> tuple[Tensor, Tensor]:
    """Logits and labels of N points."""
    if task.kind == "binary":
        return torch.randn(N, generator=numbers), torch.randint(2, (N,), generator=numbers)
    return torch.randn(N, 4, generator=numbers), torch.randint(4, (N,), generator=numbers)


def torchs_own(task: Task, logits: Tensor, label: Tensor) -> Tensor:
    if task.kind == "binary":
        return F.binary_cross_entropy_with_logits(logits, label.float())
    return F.cross_entropy(logits, label)


@pytest.mark.parametrize("name", ["next_channel", "purchase", "churn"])
def test_equal_weights_give_torchs_own_loss(
    tasks: Mapping[str, Task], name: str, numbers: torch.Generator
) -> None:
    task = tasks[name]
    logits, label = example(task, numbers)
    expected = float(torchs_own(task, logits, label))
    for weight in (1.0, 0.01, 250.0):
        loss = task.loss(logits, label, torch.full((N,), weight))
        assert float(loss) == pytest.approx(expected, rel=1e-6)


def weighs_as_often_as_it_says(task: Task, numbers: torch.Generator) -> None:
    """A point of weight 3 counts like three points, one of weight 0 like none."""
    logits, label = example(task, numbers)
    times = torch.arange(N) % 4
    weighted = task.loss(logits, label, times.float())
    repeated = torchs_own(
        task, logits.repeat_interleave(times, dim=0), label.repeat_interleave(times)
    )
    assert float(weighted) == pytest.approx(float(repeated), rel=1e-5)


@pytest.mark.parametrize("name", ["next_channel", "purchase", "churn"])
def test_a_point_counts_as_often_as_its_weight(
    tasks: Mapping[str, Task], name: str, numbers: torch.Generator
) -> None:
    weighs_as_often_as_it_says(tasks[name], numbers)


class WeightsForgotten(Task):
    """The mutant of the test above."""

    def loss(self, logits: Tensor, label: Tensor, weight: Tensor) -> Tensor:
        return super().loss(logits, label, torch.ones_like(weight))


@pytest.mark.parametrize("name", ["next_channel", "purchase"])
def test_forgotten_weights_are_noticed(
    tasks: Mapping[str, Task], name: str, numbers: torch.Generator
) -> None:
    with pytest.raises(AssertionError):
        weighs_as_often_as_it_says(WeightsForgotten(**vars(tasks[name])), numbers)


def test_positive_weight_multiplies_the_losses_of_positive_points(
    tasks: Mapping[str, Task], numbers: torch.Generator
) -> None:
    task = replace(tasks["purchase"], positive_weight=3.0)
    logits, label = example(task, numbers)
    loss = task.loss(logits, label, torch.ones(N))
    weight = torch.tensor(3.0)
    expected = F.binary_cross_entropy_with_logits(logits, label.float(), pos_weight=weight)
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    assert loss > torchs_own(task, logits, label)


@pytest.mark.parametrize("name", ["next_channel", "purchase"])
def test_no_points_no_loss(tasks: Mapping[str, Task], name: str) -> None:
    shape = (0,) if tasks[name].kind == "binary" else (0, 4)
    logits = torch.zeros(shape, requires_grad=True)
    loss = tasks[name].loss(logits, torch.zeros(0, dtype=torch.long), torch.zeros(0))
    assert float(loss.detach()) == 0
    loss.backward()
    assert logits.grad is not None


def test_probabilities(tasks: Mapping[str, Task]) -> None:
    logits = np.array([-2.0, 0.0, 60.0], dtype=np.float32)
    binary = tasks["churn"].probabilities(logits)
    assert binary == pytest.approx(1 / (1 + np.exp(-logits.astype(float))))
    assert binary.dtype == np.float64
    scores = np.array([[0.0, 0.0, 0.0], [90.0, 0.0, -90.0]], dtype=np.float32)
    shares = tasks["next_channel"].probabilities(scores)
    assert shares.sum(axis=1) == pytest.approx([1, 1], abs=1e-15)
    assert shares[0] == pytest.approx([1 / 3] * 3)
    assert 0 < shares[1, 2] < shares[1, 1] < 1e-30


def labelled(task: Task, label: list[int]) -> LabelTable:
    zeros = np.zeros(len(label), dtype=np.int64)
    return LabelTable(task.name, task.kind, zeros, zeros, zeros, np.array(label, dtype=np.int64))


def test_the_prior_is_the_base_rate_and_never_certain(
    tasks: Mapping[str, Task], store: SequenceStore, data: JourneyDataModule
) -> None:
    purchase, channel = tasks["purchase"], tasks["next_channel"]
    assert purchase.prior(labelled(purchase, [1, 0, 0]), store.spec) == pytest.approx([2 / 5])
    assert purchase.prior(labelled(purchase, []), store.spec) == pytest.approx([0.5])
    assert purchase.prior(labelled(purchase, [1] * 98), store.spec) == pytest.approx([0.99])

    n = store.spec.n_channels
    shares = channel.prior(labelled(channel, [0, 0, 1]), store.spec)
    assert shares == pytest.approx(np.array([3, 2, *[1] * (n - 2)]) / (n + 3))
    table = data.tables("train")["next_channel"]
    occurring = np.bincount(table.label, minlength=n) / len(table)
    assert channel.prior(table, store.spec) == pytest.approx(occurring, abs=0.01)


def test_heads_fit_the_kind(tasks: Mapping[str, Task], store: SequenceStore) -> None:
    for task in tasks.values():
        head = task.make_head(store.spec, 8, hidden=4, dropout=0.0)
        logits = head(torch.zeros(3, 8), torch.zeros(3), torch.zeros(3, dtype=torch.float64))
        if task.kind == "binary":
            assert isinstance(head, BinaryHead)
            assert logits.shape == (3,)
        else:
            assert isinstance(head, ClassificationHead)
            assert logits.shape == (3, store.spec.n_channels)


def test_tasks_stand_in_a_fixed_order() -> None:
    every = {
        "churn": ChurnTask(),
        "next_channel": NextChannelTask(),
        "purchase": PurchaseTask(),
    }
    assert list(make_tasks(TasksConfig.model_validate(every))) == [
        "next_channel",
        "purchase",
        "churn",
    ]
    assert list(make_tasks(TasksConfig(churn=ChurnTask()))) == ["churn"]
    for name, task in make_tasks(TasksConfig.model_validate(every)).items():
        assert task.name == name


def test_rules_hold_what_is_configured() -> None:
    config = TasksConfig(
        next_channel=NextChannelTask(weight=0.25),
        purchase=PurchaseTask(
            horizon=timedelta(days=3), active_within=timedelta(days=10), active_by="event"
        ),
        churn=ChurnTask(window=timedelta(hours=12), weight=2.0, positive_weight=5.0),
    )
    tasks = make_tasks(config)
    day = MICROSECONDS_PER_DAY
    assert tasks["next_channel"].rule is None
    assert tasks["purchase"].rule == WindowRule("purchase", 3 * day, 1, 10 * day, "event")
    assert tasks["churn"].rule == WindowRule("churn", day // 2, 0, 56 * day, "purchase")
    assert [task.weight for task in tasks.values()] == [0.25, 1.0, 2.0]
    assert [task.positive_weight for task in tasks.values()] == [1.0, 1.0, 5.0]
    assert [task.kind for task in tasks.values()] == ["categorical", "binary", "binary"]


def test_definitions_in_words() -> None:
    tasks = make_tasks(
        TasksConfig(
            next_channel=NextChannelTask(),
            purchase=PurchaseTask(horizon=timedelta(days=1)),
            churn=ChurnTask(window=timedelta(hours=12), active_by="event"),
        )
    )
    assert tasks["purchase"].definition == (
        "a purchase in the 1 day after the prediction time, "
        "for customers with a purchase in the 56 days before it"
    )
    assert tasks["churn"].definition == (
        "no purchase in the 12 hours after the prediction time, "
        "for customers with an event in the 56 days before it"
    )
    assert "next event" in tasks["next_channel"].definition
    week = timedelta(days=7)
    assert tasks["churn"].as_of(week) == "Asked every 7 days, from the events up to then"
    assert tasks["churn"].as_of(week / 7).startswith("Asked every 1 day,")
    assert tasks["next_channel"].as_of(week).startswith("Asked right after each event")
