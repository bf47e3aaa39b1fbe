"""How the configured tasks are labelled. Without torch, so that a log is reported on at once."""

from __future__ import annotations

from datetime import timedelta

from seqmarket.data.labels import NEXT_CHANNEL, TaskRule, WindowRule
from seqmarket.training.config import TasksConfig

_MICROSECOND = timedelta(microseconds=1)


def task_rules(config: TasksConfig) -> dict[str, TaskRule]:
    """The rule of each configured task, by name, in a fixed order."""
    rules: dict[str, TaskRule] = {}
    if config.next_channel is not None:
        rules[NEXT_CHANNEL] = None
    if (purchase := config.purchase) is not None:
        rules["purchase"] = WindowRule(
            task="purchase",
            window=purchase.horizon // _MICROSECOND,
            purchase_means=1,
            active_within=purchase.active_within // _MICROSECOND,
            active_by=purchase.active_by,
        )
    if (churn := config.churn) is not None:
        rules["churn"] = WindowRule(
            task="churn",
            window=churn.window // _MICROSECOND,
            purchase_means=0,
            active_within=churn.active_within // _MICROSECOND,
            active_by=churn.active_by,
        )
    return rules
