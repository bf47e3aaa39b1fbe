"""Tells deep models from baselines, and fits the latter."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
from torch import nn

from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.data.labels import newest_event
from seqmarket.errors import SeqmarketError
from seqmarket.schema import Baseline, LabelTable
from seqmarket.training.config import ComponentConfig
from seqmarket.training.instantiate import build, resolve_target
from seqmarket.training.predictors import BaselinePredictor
from seqmarket.training.tasks import Task

log = logging.getLogger(__name__)


def is_deep(component: ComponentConfig) -> bool:
    """Whether a model is a network, to be trained by Lightning, or a baseline that fits itself."""
    return issubclass(resolve_target(component.target), nn.Module)


def model_name(component: ComponentConfig) -> str:
    """The name of a model's file, which is also its name on the command line."""
    return component.target.rsplit(".", 2)[-2]


def needs_labels(component: ComponentConfig) -> bool:
    """Whether a baseline learns from labelled rows; some learn from the customers' histories."""
    return bool(getattr(resolve_target(component.target), "needs_labels", True))


def fit_baseline(
    component: ComponentConfig, data: JourneyDataModule, prefix: str
) -> BaselinePredictor:
    """Builds a baseline and fits it on what it can learn from the training period.

    That is the training rows of the tasks that it can answer, or, where it needs no labels, the
    customers as they stand at the end of the period. A task without such rows is left out: none of
    its windows fits into the period.
    """
    baseline: Baseline = build(component, data.store.spec, prefix=prefix)
    tables = data.tables("train") if needs_labels(component) else closing_tables(data)
    tables = {name: table for name, table in tables.items() if table.kind in baseline.kinds}
    without = frozenset(name for name, table in tables.items() if not len(table))
    for name in sorted(without):
        log.warning(
            "%s does not answer %s: no whole window of the task fits into the training period",
            model_name(component),
            name,
        )
    tables = {name: table for name, table in tables.items() if name not in without}
    if tables:
        baseline.fit(data.store.events, tables)
    return BaselinePredictor(baseline, data.store.events, without)


def closing_tables(data: JourneyDataModule) -> dict[str, LabelTable]:
    """The training customers as they stand at the end of the training period, one row each.

    Their labels are not known: they are all 0, and mean nothing.
    """
    split, events = data.store.split, data.store.events
    end = split.periods["train"].end
    newest = newest_event(events, end - 1)
    known = (newest >= 0) & split.customers("train", events.n_customers)
    customer, event = np.flatnonzero(known), newest[known]
    time, label = np.full(len(customer), end), np.zeros(len(customer), dtype=np.int64)
    return {
        name: LabelTable(name, rule.kind, customer, event, time, label, rule)
        for name, rule in data.rules.items()
    }


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
