"""The optimisation: its schedule, what decays, what validation measures, where a fit starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer

from seqmarket.cli.compose import load_plain
from seqmarket.data.batch import TaskBatch
from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.data.datasets import EvaluationSet
from seqmarket.nn.journey_model import JourneyModel
from seqmarket.schema import NextRule
from seqmarket.training.checkpoint import build_model
from seqmarket.training.config import TrainingConfig, parse_config
from seqmarket.training.evaluation import SCORES
from seqmarket.training.fit import fit
from seqmarket.training.learner import JourneyLearner, warm_up_then_cosine
from seqmarket.training.objectives import make_objectives
from seqmarket.training.predictors import DeepPredictor, among_scored
from seqmarket.training.tasks import Task

SMALL = ["model.d_model=8", "model.dropout=0", "training.head_hidden=8", "training.head_dropout=0"]
SETTINGS = TrainingConfig(warm_up_fraction=0.1, final_lr_fraction=0.2)


def make_learner(data: JourneyDataModule, tasks: Mapping[str, Task]) -> JourneyLearner:
    spec = data.store.spec
    torch.manual_seed(5)
    config = parse_config(load_plain(["data=synthetic", "model=gru", *SMALL]))
    model = build_model(config.model, spec, tasks, config.training)
    for head in model.heads.values():
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return JourneyLearner(
        model,
        tasks,
        make_objectives(tasks, config.training),
        spec,
        make_optimizer=lambda groups: torch.optim.AdamW(groups, lr=0.1, weight_decay=0.5),
        usual_weight=data.usual_weight(),
        settings=SETTINGS,
        seed=1,
        provenance={"config": {"seed": 1}},
    )


def test_the_learning_rate_rises_then_falls_like_a_cosine() -> None:
    factor = warm_up_then_cosine(100, SETTINGS)
    rates = np.array([factor(step) for step in range(101)])
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert rates[10] == 1
    assert (np.diff(rates[10:]) < 0).all()
    assert rates[55] == pytest.approx((1 + 0.2) / 2)  # half-way down
    assert rates[100] == pytest.approx(0.2)
    assert factor(1_000) == pytest.approx(0.2)  # a resumed run may go beyond the plan
    # Flat at both ends: a straight line would fall as fast there as in the middle.
    assert rates[10] - rates[12] < 0.1 * (rates[54] - rates[56])
    assert rates[98] - rates[100] < 0.1 * (rates[54] - rates[56])


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_very_short_fits_have_a_schedule(steps: int) -> None:
    factor = warm_up_then_cosine(steps, TrainingConfig(warm_up_fraction=0))
    assert factor(0) == 1
    assert all(0 <= factor(step) <= 1 for step in range(4))


def only_matrices_decay(model: JourneyModel, optimizer: torch.optim.Optimizer) -> None:
    """Without a gradient, nothing but the decay moves the weights."""
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, value in model.named_parameters():
        if value.ndim >= 2:
            assert value.abs().sum() < before[name].abs().sum(), name
        else:
            assert torch.equal(value, before[name]), name


@pytest.fixture
def learner(
    data: JourneyDataModule, tasks: Mapping[str, Task], monkeypatch: pytest.MonkeyPatch
) -> JourneyLearner:
    learner = make_learner(data, tasks)
    for parameter in learner.model.parameters():
        torch.nn.init.normal_(parameter)
    plan = SimpleNamespace(estimated_stepping_batches=100)
    monkeypatch.setattr(JourneyLearner, "trainer", plan)
    return learner


def test_weight_decay_is_for_matrices(learner: JourneyLearner) -> None:
    configured = learner.configure_optimizers()
    optimizer = configured["optimizer"]
    assert configured["lr_scheduler"]["interval"] == "step"
    optimised = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert optimised == {id(p) for p in learner.model.parameters()}
    only_matrices_decay(learner.model, optimizer)


def test_decay_of_everything_is_noticed(learner: JourneyLearner) -> None:
    optimizer = torch.optim.AdamW(learner.model.parameters(), lr=0.1, weight_decay=0.5)
    with pytest.raises(AssertionError):
        only_matrices_decay(learner.model, optimizer)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec")
@pytest.mark.parametrize("tokens", [30, 5_000])
@pytest.mark.parametrize("leaves_out", [(), ("store", "web")])
def test_validation_measures_what_the_final_metrics_measure(
    data: JourneyDataModule, tasks: Mapping[str, Task], tokens: int, leaves_out: tuple[str, ...]
) -> None:
    """Small batches too, in some of which every logit happens to look like a probability."""
    rule = tasks["next_channel"].rule
    assert isinstance(rule, NextRule)
    partly = replace(tasks["next_channel"], rule=replace(rule, not_scored=leaves_out))
    tasks = {**tasks, "next_channel": partly}
    data.rules = {name: task.rule for name, task in tasks.items()}
    data.eval_tokens = tokens
    learner = make_learner(data, tasks)
    hazard: Any = learner.model.heads["time_to_purchase"]
    hazard.reader.out.bias.data.fill_(-3.2)  # or every purchase would be sure
    hazard.reader.out.weight.data.mul_(0.3)
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.validate(learner, datamodule=data, verbose=False)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}

    tables = data.tables("validation")
    predictor = DeepPredictor(
        learner.model, tasks, data.store.events, data.store.spec, tokens=5_000
    )
    expected = {}
    total = 0.0
    answers = among_scored(predictor.predict(tables), tables, data.store.spec)
    for name, probability in answers.items():
        table = tables[name]
        scores = SCORES[table.kind](table.label, probability)
        metrics = dict(zip(scores.metrics, scores.evaluate(), strict=True))
        expected |= {
            f"validation/{name}/{metric}": metrics[metric] for metric in LOGGED[table.kind]
        }
        loss = metrics.get("log_loss", metrics.get("pinball_loss"))
        if loss is None:
            loss = mean_loss_of_its_head(learner.model, data, name)
        expected[f"validation/{name}/loss"] = loss
        total += tasks[name].weight * loss
    expected["validation/loss"] = total
    assert logged == pytest.approx(expected, rel=1e-4, abs=2e-5)


def mean_loss_of_its_head(model: JourneyModel, data: JourneyDataModule, task: str) -> float:
    """What the head of an amount is trained on has no metric of its own."""
    table = data.tables("validation")[task]
    rows = EvaluationSet(data.store.events, {task: table}, 16, tokens=100_000)
    head: Any = model.heads[model.head_of[task]]
    losses = []
    for i in range(len(rows)):
        batch = rows[i]
        target = batch.targets[task]
        states = model.encode(batch.journeys).states
        raw = model.read(states, batch.journeys.time, model.head_of[task], target.points)
        amount = torch.from_numpy(table.label)[target.table_row].float()
        losses.append(head.losses(raw, (amount > 0).long(), amount).detach())
    return float(torch.cat(losses).mean())


def step_is_the_weighted_sum(learner: JourneyLearner, data: JourneyDataModule) -> None:
    """Each objective's loss counts with its weight, and is logged under its name."""
    learner.on_train_epoch_start()
    batches = [data.training_set(0)[i] for i in range(3)]
    totals = [float(learner.training_step(batch, 0).detach()) for batch in batches]
    steps, total, *each = learner._steps.tolist()
    assert steps == 3
    assert total == pytest.approx(sum(totals), rel=1e-5)
    value = learner.tasks["value"].weight
    weights = {"next_event": 1.0, "next_event_type": 1.0, "value": value, "time_to_purchase": 0.75}
    assert list(learner.objectives) == list(weights)
    assert total == pytest.approx(np.dot(each, list(weights.values())), rel=1e-5)


def test_a_step_is_the_weighted_sum_of_the_objectives(
    data: JourneyDataModule, tasks: Mapping[str, Task]
) -> None:
    step_is_the_weighted_sum(make_learner(data, tasks), data)


def test_objectives_that_all_weigh_the_same_are_noticed(
    data: JourneyDataModule, tasks: Mapping[str, Task]
) -> None:
    learner = make_learner(data, tasks)
    learner._weights = torch.full((4,), 0.5)
    with pytest.raises(AssertionError):
        step_is_the_weighted_sum(learner, data)


def every_point_counts_the_same(learner: JourneyLearner, data: JourneyDataModule) -> None:
    """The mean loss of an epoch's steps is that of its points, in whichever batches they are."""
    learner.on_train_epoch_start()
    training = data.training_set(0)
    summed, weighed = np.zeros(4), np.zeros(4)
    for i in range(len(training)):
        batch = training[i]
        learner.training_step(batch, 0)
        states = learner.model.encode(batch.journeys).states
        for j, name in enumerate(learner.objectives):
            target = batch.targets[name]
            head: Any = learner.model.heads[name]
            raw = learner.model.read(states, batch.journeys.time, name, target.points)
            losses = head.losses(raw, target.label, target.amount).detach().numpy()
            summed[j] += (losses * target.weight.numpy()).sum()
            weighed[j] += float(target.weight.sum())
    steps, _, *each = learner._steps.tolist()
    assert steps == len(training) > 3
    assert np.array(each) / steps == pytest.approx(summed / weighed, rel=1e-4)


def test_a_point_counts_the_same_in_every_batch(
    data: JourneyDataModule, tasks: Mapping[str, Task]
) -> None:
    every_point_counts_the_same(make_learner(data, tasks), data)


def test_points_that_count_less_in_long_batches_are_noticed(
    data: JourneyDataModule, tasks: Mapping[str, Task]
) -> None:
    learner = make_learner(data, tasks)
    step = learner.training_step

    def relative_to_the_batch(batch: TaskBatch, batch_idx: int) -> torch.Tensor:
        weights = [float(batch.targets[name].weight.sum()) for name in learner.objectives]
        learner._usual = torch.tensor(weights).clamp(min=1e-6)
        return step(batch, batch_idx)

    learner.training_step = relative_to_the_batch  # type: ignore[method-assign]
    with pytest.raises(AssertionError):
        every_point_counts_the_same(learner, data)


LOGGED = {
    "binary": ("auroc", "average_precision"),
    "categorical": ("accuracy",),
    "amount": ("mean_absolute_error",),
    "duration": ("mean_absolute_error",),
}


class StopHereError(Exception):
    pass


def first_model(
    data: JourneyDataModule,
    tasks: Mapping[str, Task],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> JourneyModel:
    """The model that `fit` starts from, taken before its first step."""
    found: list[JourneyModel] = []

    def stop(learner: JourneyLearner, batch: Any, batch_idx: int) -> None:
        found.append(learner.model)
        raise StopHereError

    monkeypatch.setattr(JourneyLearner, "training_step", stop)
    config = parse_config(load_plain(["data=synthetic", "model=gru", "model.d_model=8"]))
    with pytest.raises(StopHereError):
        fit(
            config,
            tasks,
            data,
            checkpoints=folder,
            resume_from=None,
            provenance={},
            report=lambda *_: None,
        )
    return found[0]


def starts_from_the_base_rates(
    model: JourneyModel, data: JourneyDataModule, tasks: Mapping[str, Task]
) -> None:
    spec, tables = data.store.spec, data.tables("train")
    predictor = DeepPredictor(model, tasks, data.store.events, spec, tokens=5_000)
    for name, probability in predictor.predict(tables).items():
        # Every row, not the mean alone: the features hardly matter yet.
        label, reached = tables[name].label, probability.reshape(len(probability), -1)
        if tasks[name].kind == "binary":
            assert np.abs(reached - label.mean()).max() < 0.12  # cutoffs, of which there are few
        elif tasks[name].kind == "categorical":
            shares = np.bincount(label, minlength=reached.shape[1]) / len(label)
            assert np.abs(reached - shares).max() < 0.07
        else:
            usual = np.median(label[label > 0])
            assert 0.4 < np.median(reached.mean(axis=1)) / usual < 2.5


def test_the_first_prediction_is_the_base_rate(
    data: JourneyDataModule,
    tasks: Mapping[str, Task],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = first_model(data, tasks, tmp_path, monkeypatch)
    starts_from_the_base_rates(model, data, tasks)


def test_a_start_without_base_rates_is_noticed(
    data: JourneyDataModule,
    tasks: Mapping[str, Task],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("seqmarket.nn.hazard.HazardHead.start_from", lambda head, *points: None)
    model = first_model(data, tasks, tmp_path, monkeypatch)
    with pytest.raises(AssertionError):
        starts_from_the_base_rates(model, data, tasks)


def test_dropout_depends_on_seed_and_step_alone(
    data: JourneyDataModule, tasks: Mapping[str, Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = make_learner(data, tasks)
    batch = data.training_set(0)[0]

    def drawn(step: int, disturbance: int) -> torch.Tensor:
        torch.manual_seed(disturbance)
        monkeypatch.setattr(JourneyLearner, "global_step", step)
        monkeypatch.setattr(JourneyLearner, "global_rank", 0)
        learner.on_train_batch_start(batch, 0)
        return torch.rand(4)

    assert torch.equal(drawn(3, disturbance=1), drawn(3, disturbance=2))
    assert not torch.equal(drawn(3, disturbance=1), drawn(4, disturbance=1))


def test_every_checkpoint_carries_what_rebuilds_the_model(
    data: JourneyDataModule, tasks: Mapping[str, Task], tmp_path: Path
) -> None:
    checkpoint: dict[str, Any] = {}
    make_learner(data, tasks).on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert content == {"seqmarket": {"config": {"seed": 1}}}
