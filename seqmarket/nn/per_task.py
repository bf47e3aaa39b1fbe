"""What a baseline learnt, task by task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from seqmarket.errors import SeqmarketError
from seqmarket.schema import LabelTable, NextRule, TaskKind

T = TypeVar("T")


class PerTask(dict[str, T]):
    """The learnt parameters by task; to ask for a task that was not learnt is the user's mistake.

    Args:
        model: Name of the baseline, for the message.
    """

    def __init__(self, model: str) -> None:
        super().__init__()
        self._model = model

    def __missing__(self, task: str) -> T:
        learnt = ", ".join(sorted(self)) or "none"
        raise SeqmarketError(
            f"the baseline {self._model} was not fitted for the task '{task}'",
            where=f"tasks that it was fitted for: {learnt}",
            fix="fit it with training rows of that task, or choose a baseline that answers it",
        )


def answerable(
    tables: Mapping[str, LabelTable], kinds: frozenset[TaskKind], model: str
) -> dict[str, LabelTable]:
    """The tables of those kinds of task.

    Raises:
        SeqmarketError: If one of them has no rows to learn from.
    """
    found = {task: table for task, table in tables.items() if table.kind in kinds}
    for task, table in found.items():
        if not len(table):
            raise SeqmarketError(
                f"the baseline {model} has no training row of the task '{task}'",
                fix="widen the training period (data.split), or shorten the label window",
            )
    return found


def next_rule(table: LabelTable) -> NextRule:
    """What of the next event a categorical table asks for: its channel, where it does not say."""
    return table.rule if isinstance(table.rule, NextRule) else NextRule(table.task, "channel")
