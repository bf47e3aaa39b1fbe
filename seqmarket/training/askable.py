"""Whether the configured tasks can be asked of a log at all; said before anything is trained."""

from __future__ import annotations

import logging

from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.data.splits import FOLDS
from seqmarket.data.store import SequenceStore
from seqmarket.errors import SeqmarketError, did_you_mean
from seqmarket.schema import MICROSECONDS_PER_DAY, NextRule, WindowRule

log = logging.getLogger(__name__)


def check_rows(data: JourneyDataModule) -> None:
    """Says how many rows each fold has; a task without any cannot be trained or judged.

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
        for name, table in data.tables(fold).items():
            log.info("%-10s %-14s %7s rows", fold, name, f"{len(table):,}")
            if len(table) == 0:
                period, rule = store.split.periods[fold], data.rules[name]
                what = f"the task {name} has no rows in the {fold} period ({period})"
                if isinstance(rule, WindowRule) and rule.window >= period.end - period.start:
                    days = rule.window / MICROSECONDS_PER_DAY
                    what += f": it is not longer than the task's window of {days:g} days"
                raise SeqmarketError(
                    what,
                    where="data.split, task",
                    fix="lengthen that period (data.split.train_fraction=0.5 "
                    "data.split.validation_fraction=0.25), shorten the task's window or horizon, "
                    f"or leave the task out (~task.{name})",
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
    for name in rule.not_scored:
        if name not in classes:
            raise SeqmarketError(
                f"the {what} {name!r}, which is not to be scored, "
                "does not occur in the training period",
                where=f"task.{task}.not_scored",
                fix=did_you_mean(name, classes),
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
