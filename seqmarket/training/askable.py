"""Whether the configured tasks can be asked of a log at all; said before anything is trained."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.data.dense import HazardObjective
from seqmarket.data.splits import FOLDS, Fold
from seqmarket.data.store import SequenceStore
from seqmarket.errors import SeqmarketError, did_you_mean
from seqmarket.schema import END, MICROSECONDS_PER_DAY, NextRule, WindowRule
from seqmarket.training.config import RunConfig
from seqmarket.training.models import is_deep, needs_labels
from seqmarket.training.objectives import make_objectives
from seqmarket.training.tasks import Task

log = logging.getLogger(__name__)


def check_rows(
    data: JourneyDataModule, without: Mapping[Fold, frozenset[str]] | None = None
) -> None:
    """Says how many rows each fold has; a task without any cannot be trained or judged.

    Args:
        data: The rows.
        without: Tasks that need none in a fold; see `tasks_without_rows`.

    Raises:
        SeqmarketError: A task has no rows, or the log lacks what it asks about.
    """
    store = data.store
    for rule in data.rules.values():
        if isinstance(rule, WindowRule):
            check_target(rule, store)
        elif rule.of != "time":
            check_classes(rule, store)
    for fold in FOLDS:
        tables, spared = data.tables(fold), (without or {}).get(fold, frozenset())
        if spared and fold == "validation" and not any(len(table) for table in tables.values()):
            spared = frozenset()  # something has to choose the epoch
        for name, table in tables.items():
            log.info("%-10s %-14s %7s rows", fold, name, f"{len(table):,}")
            if len(table) > 0:
                continue
            if name in spared:
                log.warning("%s: %s", name, _WITHOUT[fold])
            else:
                raise _no_rows(data, fold, name)


_WITHOUT = {
    "train": "no whole window fits into the training period; what is known of windows that it "
    "cuts off is learnt, and baselines that need whole ones do not answer",
    "validation": "no whole window fits into the validation period; the epoch is chosen by the "
    "other tasks, and the probabilities are not calibrated",
}


def tasks_without_rows(config: RunConfig, tasks: Mapping[str, Task]) -> dict[Fold, frozenset[str]]:
    """Tasks that can be asked although no window of theirs fits into training or validation.

    Only where probabilities are not calibrated (`training.calibration=none`). A hazard learns from
    windows that the end of the training period cuts off, and some baselines need no labels.
    """
    if config.training.calibration != "none":
        return {}
    if is_deep(config.model):
        learnt = {
            task.name
            for objective in make_objectives(tasks, config.training).values()
            if isinstance(objective.points, HazardObjective)
            for task in objective.tasks
        }
        return {"train": frozenset(learnt), "validation": frozenset(learnt)}
    return {
        "train": frozenset() if needs_labels(config.model) else frozenset(tasks),
        "validation": frozenset(tasks),
    }


def _no_rows(data: JourneyDataModule, fold: Fold, task: str) -> SeqmarketError:
    period, rule = data.store.split.periods[fold], data.rules[task]
    what = f"the task {task} has no rows in the {fold} period ({period})"
    if isinstance(rule, WindowRule) and rule.window >= period.end - period.start:
        days = rule.window / MICROSECONDS_PER_DAY
        what += f": it is not longer than the task's window of {days:g} days"
    return SeqmarketError(
        what,
        where="data.split, task",
        fix="lengthen that period (data.split.train_fraction=0.5 "
        "data.split.validation_fraction=0.25), shorten the task's window or horizon, "
        f"or leave the task out (~task.{task}); docs/tasks.md says when a window may be longer "
        "than the period",
    )


def check_classes(rule: NextRule, store: SequenceStore) -> None:
    """Makes sure that the log has classes to choose from, and those that are not scored.

    Raises:
        SeqmarketError: It does not; says what would help.
    """
    task, classes, what = rule.task, rule.classes(store.spec), rule.of.replace("_", " ")
    if len(classes) < 2:
        raise SeqmarketError(
            f"the task {task} needs two {what}s at least in the training period; "
            f"there is {len(classes)}",
            where=f"task.{task}",
            fix=f"leave it out: ~task.{task}, or choose task=purchase or task=churn",
        )
    if rule.end != "none":
        check_end(rule, store)
    for name in rule.not_scored:
        if name not in classes:
            raise SeqmarketError(
                f"the {what} {name!r}, which is not to be scored, "
                "does not occur in the training period",
                where=f"task.{task}.not_scored",
                fix=did_you_mean(name, classes),
            )


def check_end(rule: NextRule, store: SequenceStore) -> None:
    """Makes sure that the end of a journey can be a class.

    Raises:
        SeqmarketError: It cannot: which event is a customer's last is known at the end of the
            observation only, or the log has a class of that name.
    """
    if store.split.periods["train"] != store.split.periods["test"]:
        raise SeqmarketError(
            "which event is a customer's last is known at the end of the observation only, so "
            "training on it would look beyond the training period",
            where=f"task.{rule.task}.end",
            fix=f"divide by customers (data.split.kind=cohort), or set task.{rule.task}.end=none",
        )
    if END in rule.classes(store.spec)[:-1]:
        raise SeqmarketError(
            f"the log has a class {END} of its own",
            where=f"task.{rule.task}.end",
            fix=f"set task.{rule.task}.end=none; task.{rule.task}.not_scored leaves it unscored",
        )


def check_target(rule: WindowRule, store: SequenceStore) -> None:
    """Makes sure that the log has the events that decide the labels.

    Raises:
        SeqmarketError: It has none; says what would help.
    """
    events, spec = store.events, store.spec
    if (rule.target.purchase or rule.active.purchase) and not events.purchase.any():
        types = ", ".join(spec.event_type.categories[:8])
        raise SeqmarketError(
            f"the task {rule.task} needs purchases, and no event of the log is one",
            where="data.purchase_event_types",
            fix=f"name the types that are purchases; the log has {types}",
        )
    for column, names, feature in (
        ("channel", rule.target.channel, spec.channel),
        ("event_type", rule.target.event_type, spec.event_type),
    ):
        for name in names:
            if name not in feature.categories:
                raise SeqmarketError(
                    f"the task {rule.task} waits for the {column.replace('_', ' ')} {name!r}, "
                    "which the training period does not show",
                    where=f"task.custom.{rule.task}.{column}",
                    fix=did_you_mean(name, feature.categories),
                )
    meant = rule.target.mask(events, spec)
    if not meant.any():
        raise SeqmarketError(
            f"the task {rule.task} waits for events that the log does not have",
            where=f"task.custom.{rule.task}",
            fix="loosen its conditions: channel, event_type, purchase, least_value",
        )
    if rule.outcome == "value" and not (events.value[meant] > 0).any():
        raise SeqmarketError(
            f"the task {rule.task} needs values, and none of the events it sums has one",
            where="data.columns.value",
            fix=f"name the column with the values, or leave the task out: ~task.{rule.task}",
        )
