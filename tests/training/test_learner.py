"""The optimisation: its schedule, what decays, what validation measures, where a fit starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer

from seqmarket.cli.compose import load_plain
from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.metrics.classification import binary_metrics
from seqmarket.metrics.ranking import categorical_metrics
from seqmarket.models.gru import GRUEncoder
from seqmarket.nn.journey_model import JourneyModel
from seqmarket.training.config import TrainingConfig, parse_config
from seqmarket.training.fit import fit
from seqmarket.training.learner import JourneyLearner, warm_up_then_cosine
from seqmarket.training.predictors import DeepPredictor
from seqmarket.training.tasks import Task

SETTINGS = TrainingConfig(warm_up_fraction=0.1, final_lr_fraction=0.2)


def make_learner(data: JourneyDataModule, tasks: Mapping[str, Task]) -> JourneyLearner:
    spec = data.store.spec
    torch.manual_seed(5)
    heads = {name: task.make_head(spec, 8, hidden=8, dropout=0.0) for name, task in tasks.items()}
    model = JourneyModel(GRUEncoder(spec, d_model=8, dropout=0.0), heads)
    for head in heads.values():
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return JourneyLearner(
        model,
        tasks,
        spec,
        make_optimizer=lambda groups: torch.optim.AdamW(groups, lr=0.1, weight_decay=0.5),
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
def test_validation_measures_what_the_final_metrics_measure(
    data: JourneyDataModule, tasks: Mapping[str, Task], tokens: int
) -> None:
    """Small batches too, in some of which every logit happens to look like a probability."""
    data.eval_tokens = tokens
    learner = make_learner(data, tasks)
    for name in ("purchase", "churn"):
        learner.model.heads[name].scores.out.bias.data.fill_(0.6)
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
    for name, probability in predictor.predict(tables).items():
        table = tables[name]
        measure: Callable[..., dict[str, float]] = (
            binary_metrics if table.kind == "binary" else categorical_metrics
        )
        metrics = measure(table.label, probability)
        names = ("auroc", "average_precision") if table.kind == "binary" else ("accuracy",)
        expected |= {f"validation/{name}/{metric}": metrics[metric] for metric in names}
        expected[f"validation/{name}/loss"] = metrics["log_loss"]
        total += tasks[name].weight * metrics["log_loss"]
    expected["validation/loss"] = total
    assert logged == pytest.approx(expected, abs=2e-5)


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
        prior = tasks[name].prior(tables[name], spec)
        reached = probability.reshape(len(probability), -1)
        assert np.abs(reached - prior).max() < 0.07


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
    monkeypatch.setattr("seqmarket.nn.heads.BinaryHead.set_prior", lambda head, probability: None)
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
