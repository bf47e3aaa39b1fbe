"""The tasks: what is predicted, with which head and loss, and which metric speaks for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own idiom

from seqmarket.data.labels import TaskRule
from seqmarket.nn.heads import BinaryHead, ClassificationHead
from seqmarket.schema import LabelTable, SequenceSpec, TaskKind
from seqmarket.training.config import TasksConfig
from seqmarket.training.rules import task_rules


@dataclass(frozen=True)
class Task:
    """One thing that is predicted.

    Attributes:
        name: Key in the configuration, in every metric name and in every table.
        kind: Binary or categorical.
        rule: How it is labelled; None for the next channel.
        weight: Weight of its loss among the tasks.
        positive_weight: Weight of a positive row in the training loss.
        definition: The task in words, for the model card.
    """

    name: str
    kind: TaskKind
    rule: TaskRule
    weight: float
    positive_weight: float
    definition: str

    def as_of(self, cutoff_every: timedelta) -> str:
        """When the task is asked, in words, for the model card."""
        if self.rule is None:
            return "Asked right after each event whose successor lies in the period"
        return f"Asked every {_in_words(cutoff_every)}, from the events up to then"

    def make_head(self, spec: SequenceSpec, d_model: int, hidden: int, dropout: float) -> nn.Module:
        """The head of a deep model for this task."""
        if self.kind == "binary":
            return BinaryHead(d_model, spec, hidden=hidden, dropout=dropout)
        return ClassificationHead(d_model, spec, spec.n_channels, hidden=hidden, dropout=dropout)

    def loss(self, logits: Tensor, label: Tensor, weight: Tensor) -> Tensor:
        """Weighted mean of the losses of N points; 0 where there are none.

        Args:
            logits: (N,) for a binary task, (N, classes) for a categorical one.
            label: (N,) int64.
            weight: (N,) float32.
        """
        if self.kind == "binary":
            target = label.to(logits.dtype)
            losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")  # (N,)
            importance = weight * torch.where(label == 1, self.positive_weight, 1.0)
        else:
            losses = F.cross_entropy(logits, label, reduction="none")  # (N,)
            importance = weight
        # Relative to the batch's own weight: long and short journeys are batched apart, and the
        # gaps of the short ones, hence their weights, are many times longer.
        return (losses * importance).sum() / weight.sum().clamp(min=1e-6)

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Of label 1, or of each class, from a model's logits."""
        values = torch.from_numpy(logits).double()
        result = values.sigmoid() if self.kind == "binary" else values.softmax(dim=-1)
        return result.numpy()

    def prior(self, table: LabelTable, spec: SequenceSpec) -> NDArray[np.float64]:
        """Base rate, or share of each class with one row added to each, of a label table."""
        if self.kind == "binary":
            return np.array([(table.label.sum() + 1) / (len(table) + 2)])
        count = np.bincount(table.label, minlength=spec.n_channels) + 1
        return np.asarray(count / count.sum())


def make_tasks(config: TasksConfig) -> dict[str, Task]:
    """The configured tasks, by name, in a fixed order."""
    return {name: _task(name, rule, config) for name, rule in task_rules(config).items()}


def _task(name: str, rule: TaskRule, config: TasksConfig) -> Task:
    if rule is None:
        assert config.next_channel is not None
        return Task(
            name=name,
            kind="categorical",
            rule=None,
            weight=config.next_channel.weight,
            positive_weight=1.0,
            definition="the channel of the customer's next event, asked right after each event",
        )
    settings = config.purchase if name == "purchase" else config.churn
    assert settings is not None
    what = "a purchase" if rule.purchase_means else "no purchase"
    doing = "with a purchase" if rule.active_by == "purchase" else "with an event"
    window = _in_words(timedelta(microseconds=rule.window))
    return Task(
        name=name,
        kind="binary",
        rule=rule,
        weight=settings.weight,
        positive_weight=settings.positive_weight,
        definition=(
            f"{what} in the {window} after the prediction time, for customers "
            f"{doing} in the {_in_words(settings.active_within)} before it"
        ),
    )


def _in_words(duration: timedelta) -> str:
    days = duration / timedelta(days=1)
    count, unit = (days, "day") if days >= 1 else (days * 24, "hour")
    return f"{count:g} {unit}" if count == 1 else f"{count:g} {unit}s"
