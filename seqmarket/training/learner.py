"""The Lightning module: one optimisation step, one validation, and what makes both repeatable."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    BinaryAUROC,
    BinaryAveragePrecision,
    MulticlassAccuracy,
)
from torchmetrics.regression import MeanAbsoluteError

from seqmarket.data.batch import Targets, TaskBatch
from seqmarket.nn.journey_model import JourneyModel
from seqmarket.schema import QUANTILES, NextRule, SequenceSpec
from seqmarket.training.config import TrainingConfig
from seqmarket.training.objectives import Trained
from seqmarket.training.tasks import Task

OptimizerFactory = Callable[[Any], Optimizer]


class JourneyLearner(LightningModule):
    """Trains a journey model on all objectives at once.

    Args:
        model: Encoder and heads.
        tasks: The tasks, by name.
        objectives: What each head is trained on, by the name of the head.
        spec: What the model was built for.
        make_optimizer: Builds the optimizer from parameter groups.
        usual_weight: What the points of a batch weigh on average, by objective.
        settings: Learning-rate schedule.
        seed: Seed of the random numbers of each step.
        provenance: Plain containers that every checkpoint carries, enough to rebuild the model.
    """

    _steps: Tensor
    _weights: Tensor
    _usual: Tensor

    def __init__(
        self,
        model: JourneyModel,
        tasks: Mapping[str, Task],
        objectives: Mapping[str, Trained],
        spec: SequenceSpec,
        *,
        make_optimizer: OptimizerFactory,
        usual_weight: Mapping[str, float],
        settings: TrainingConfig,
        seed: int,
        provenance: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.model = model
        self.tasks = dict(tasks)
        self.objectives = dict(objectives)
        self._make_optimizer = make_optimizer
        self._settings = settings
        self._seed = seed
        self._spec = spec
        self._provenance = dict(provenance)
        # As modules they follow the learner to its device; the typed views are for this file.
        self._metrics = {name: _metrics(task, spec) for name, task in tasks.items()}
        self.metric_modules = torch.nn.ModuleList(self._metrics.values())
        # Sums of loss and rows per task, kept by hand: a mean metric would drop what is not finite.
        self._loss_sums: dict[str, Tensor] = {}
        # (classes,) per task: those that no row of an evaluation has, and that are not answered.
        self._not_scored: dict[str, Tensor] = {}
        # Of the epoch's steps: their number, the loss, and that of each objective.
        self.register_buffer("_steps", torch.zeros(2 + len(objectives)), persistent=False)
        weights = torch.tensor([objective.weight for objective in objectives.values()])
        self.register_buffer("_weights", weights, persistent=False)
        usual = torch.tensor([max(usual_weight[name], 1e-6) for name in objectives])
        self.register_buffer("_usual", usual, persistent=False)

    def on_train_batch_start(self, batch: TaskBatch, batch_idx: int) -> None:
        """Seeds dropout by the step alone, so that a resumed run draws what it would have drawn."""
        state = np.random.SeedSequence((self._seed, self.global_step, self.global_rank))
        torch.manual_seed(int(state.generate_state(1)[0]))

    def training_step(self, batch: TaskBatch, batch_idx: int) -> Tensor:
        """Weighted sum of the objectives' losses on one batch."""
        states = self.model.encode(batch.journeys).states  # (B, T, D)
        losses = []
        for name in self.objectives:
            target = batch.targets[name]
            raw = self.model.read(states, batch.journeys.time, name, target.points)
            head: Any = self.model.heads[name]
            losses.append(torch.dot(head.losses(raw, target.label, target.amount), target.weight))
        # By the weight of an average batch, not its own: long journeys and short ones are batched
        # apart, and a point is to count the same in both.
        each = torch.stack(losses) / self._usual
        total = torch.dot(each, self._weights)
        with torch.no_grad():
            self._steps[0] += 1
            self._steps[1] += total
            self._steps[2:] += each
        return total

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips the norm, with a fused optimizer too.

        Lightning refuses that in every mixed precision; but only gradients in float16 are scaled.
        """
        if self.trainer.precision == "16-mixed":
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def on_train_epoch_start(self) -> None:
        """Starts the sums at zero; they stay on the device until the epoch ends."""
        self._steps.zero_()

    def _log_steps(self) -> None:
        """Logs the mean losses of the epoch's steps."""
        summed = self.trainer.strategy.reduce(self._steps.clone(), reduce_op="sum")
        means = summed[1:] / summed[0].clamp(min=1)
        self.log("train/loss", means[0], sync_dist=True)
        for name, loss in zip(self.objectives, means[1:], strict=True):
            self.log(f"train/{name}/loss", loss, sync_dist=True)

    def on_validation_epoch_start(self) -> None:
        """Starts the sums of the losses at zero."""
        self._loss_sums = {name: torch.zeros(2, device=self.device) for name in self.tasks}
        for name, task in self.tasks.items():
            if isinstance(task.rule, NextRule) and task.kind == "categorical":
                scored = torch.from_numpy(task.rule.scored(self._spec))
                self._not_scored[name] = ~scored.to(self.device)

    def validation_step(self, batch: TaskBatch, batch_idx: int) -> None:
        """Updates the metrics, which stay on the device until the epoch ends."""
        states = self.model.encode(batch.journeys).states  # (B, T, D)
        for name, task in self.tasks.items():
            target = batch.targets[name]
            if len(target.label) == 0:
                continue
            which = self.model.head_of[name]
            head: Any = self.model.heads[which]
            raw = self.model.read(states, batch.journeys.time, which, target.points)
            answer = head.answer(raw, name)
            if task.kind == "categorical":
                answer = answer.masked_fill(self._not_scored[name], -torch.inf)
            losses = _losses(task, head, raw, answer, target)
            self._loss_sums[name] += torch.stack(
                [losses.sum(), losses.new_tensor(float(len(losses)))]
            )
            # Left to torchmetrics, a batch whose logits all lie in [0, 1] would pass for one of
            # probabilities, and be mixed with batches that do not.
            answer = answer.sigmoid() if task.kind == "binary" else answer
            if task.kind in ("binary", "categorical"):
                self._metrics[name].update(answer, target.label)
            else:
                self._metrics[name].update(_median(task, answer), target.amount)

    def on_validation_epoch_end(self) -> None:
        """Logs each task's metrics, and their weighted loss, by which the best epoch is chosen.

        And the training losses: callbacks read them before the module is told of the epoch's end.
        """
        if self.trainer.state.fn == TrainerFn.FITTING:
            self._log_steps()
        total = torch.zeros((), device=self.device)
        for name, task in self.tasks.items():
            summed = self.trainer.strategy.reduce(self._loss_sums[name], reduce_op="sum")
            if summed[1] == 0:  # a window longer than the validation period
                continue
            loss = summed[0] / summed[1]
            total = total + task.weight * loss
            self.log(f"validation/{name}/loss", loss, sync_dist=True)
            for metric, value in self._metrics[name].compute().items():
                self.log(f"validation/{name}/{metric}", value, sync_dist=True)
            self._metrics[name].reset()
        self.log("validation/loss", total, prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """The optimizer, with weight decay on matrices only, and its schedule."""
        decayed = [p for p in self.model.parameters() if p.requires_grad and p.ndim >= 2]
        others = [p for p in self.model.parameters() if p.requires_grad and p.ndim < 2]
        groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
        optimizer = self._make_optimizer(groups)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = LambdaLR(optimizer, warm_up_then_cosine(steps, self._settings))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what rebuilds the model, as plain containers that load safely."""
        checkpoint["seqmarket"] = self._provenance


def warm_up_then_cosine(steps: int, settings: TrainingConfig) -> Callable[[int], float]:
    """Learning-rate factor of each step: linear warm-up, then half a cosine to the final share.

    Source: Loshchilov and Hutter, SGDR, ICLR 2017, without restarts.
    """
    warm_up = max(int(steps * settings.warm_up_fraction), 1)
    final = settings.final_lr_fraction

    def factor(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        progress = min((step - warm_up) / max(steps - warm_up, 1), 1.0)
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))

    return factor


def _losses(task: Task, head: Any, raw: Tensor, answer: Tensor, target: Targets) -> Tensor:
    """(N,) losses on evaluated rows, whose labels are those of the task and not of the head."""
    if task.kind == "binary":
        return binary_cross_entropy_with_logits(answer, target.label.float(), reduction="none")
    if task.kind == "categorical":
        return cross_entropy(answer, target.label, reduction="none")
    if task.kind == "duration":
        quantiles = answer.new_tensor(QUANTILES)
        missed = target.amount.unsqueeze(1) - answer  # (N, Q)
        return torch.maximum(quantiles * missed, (quantiles - 1) * missed).mean(dim=1)
    losses: Tensor = head.losses(raw, target.label, target.amount)
    return losses


def _median(task: Task, answer: Tensor) -> Tensor:
    return answer[:, 1] if task.kind == "amount" else answer[:, QUANTILES.index(0.5)]


def _metrics(task: Task, spec: SequenceSpec) -> MetricCollection:
    if task.kind == "binary":
        return MetricCollection(
            {"auroc": BinaryAUROC(), "average_precision": BinaryAveragePrecision()},
            compute_groups=False,
        )
    if task.kind != "categorical":
        return MetricCollection({"mean_absolute_error": MeanAbsoluteError()})
    classes = len(task.classes(spec))
    accuracy = MulticlassAccuracy(num_classes=classes, average="micro")
    return MetricCollection({"accuracy": accuracy}, compute_groups=False)
