"""Tells deep models from baselines, and fits the latter."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.errors import SeqmarketError
from seqmarket.schema import Baseline
from seqmarket.training.config import ComponentConfig
from seqmarket.training.instantiate import build, resolve_target
from seqmarket.training.predictors import BaselinePredictor
from seqmarket.training.tasks import Task


def is_deep(component: ComponentConfig) -> bool:
    """Whether a model is a network, to be trained by Lightning, or a baseline that fits itself."""
    return issubclass(resolve_target(component.target), nn.Module)


def model_name(component: ComponentConfig) -> str:
    """The name of a model's file, which is also its name on the command line."""
    return component.target.rsplit(".", 2)[-2]


def fit_baseline(
    component: ComponentConfig, data: JourneyDataModule, prefix: str
) -> BaselinePredictor:
    """Builds a baseline and fits it on the training rows of the tasks that it can answer."""
    baseline: Baseline = build(component, data.store.spec, prefix=prefix)
    tables = {
        name: table for name, table in data.tables("train").items() if table.kind in baseline.kinds
    }
    if tables:
        baseline.fit(data.store.events, tables)
    return BaselinePredictor(baseline, data.store.events)


def refuse_unanswerable(component: ComponentConfig, tasks: Mapping[str, Task]) -> None:
    """Refuses a run whose own model answers none of its tasks.

    Raises:
        SeqmarketError: Says which tasks the model can answer.
    """
    kinds = resolve_target(component.target).kinds
    if not any(task.kind in kinds for task in tasks.values()):
        asked = {
            "categorical": "next_channel",
            "binary": "purchase, churn",
            "amount": "value",
            "duration": "time_to_next",
        }
        wanted = ", ".join(asked[kind] for kind in asked if kind in kinds)
        raise SeqmarketError(
            f"{model_name(component)} answers none of the tasks {', '.join(tasks)}",
            where="model, task",
            fix=f"choose task=multitask, or one of {wanted}",
        )
