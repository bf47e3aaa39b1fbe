"""Predicts that what was last comes again: the next channel or type, the value of a window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt
from numpy.typing import NDArray

from seqmarket.nn.per_task import PerTask, answerable, next_rule
from seqmarket.nn.rfm import amount_before
from seqmarket.schema import (
    SPECIAL_TOKENS,
    EventArrays,
    LabelTable,
    SequenceSpec,
    TaskKind,
    WindowRule,
)


class RepeatLast:
    """The last channel gets the rate at which it repeated in training, the others share the rest.

    The rest is shared by frequency. Where the last channel would not come out on top that way, its
    probability is raised until it does, because repeating it is what this baseline stands for.
    After an unknown channel the prediction is the frequencies. The same for types.

    An amount is predicted to be what it was in the window of the same length that ends at the
    prediction time.

    Args:
        spec: Sizes of the data.
        smoothing: Rows, repeating at the overall rate, that are added to each channel's own.
    """

    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"categorical", "amount"})

    def __init__(self, spec: SequenceSpec, smoothing: Annotated[float, Gt(0)] = 10.0) -> None:
        self._spec = spec
        self._smoothing = smoothing
        self._rows: PerTask[NDArray[np.float64]] = PerTask("repeat_last")

    def fit(self, events: EventArrays, tables: Mapping[str, LabelTable]) -> None:
        """Counts how often each channel follows itself; an amount needs no fit."""
        nexts = frozenset[TaskKind]({"categorical"})
        for task, table in answerable(tables, nexts, "repeat_last").items():
            n = len(next_rule(table).classes(self._spec))
            counts = np.bincount(table.label, minlength=n) + 1.0
            frequency = counts / counts.sum()
            last = next_rule(table).ids(events)[table.event] - SPECIAL_TOKENS
            known = last >= 0
            again = known & (last == table.label)
            overall = (again.sum() + 1) / (known.sum() + 2)
            rows = np.bincount(last[known], minlength=n) + self._smoothing
            repeat = np.bincount(last[again], minlength=n) + self._smoothing * overall
            self._rows[task] = np.vstack([_repeating(frequency, repeat / rows), frequency])

    def predict(self, events: EventArrays, table: LabelTable) -> NDArray[np.float64]:
        """(N, classes) probabilities, or (N, 2) the same amount twice."""
        if isinstance(table.rule, WindowRule):
            meant = table.rule.target.mask(events, self._spec)
            past = amount_before(events, table, table.rule.window, meant)
            return np.stack([past, past], axis=1)
        rows = self._rows[table.task]
        last = next_rule(table).ids(events)[table.event] - SPECIAL_TOKENS
        return rows[np.where(last >= 0, last, len(rows) - 1)]


def _repeating(frequency: NDArray[np.float64], repeat: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K, K) probabilities of the next channel (columns) after each last one (rows)."""
    others = np.tile(frequency, (len(frequency), 1))
    np.fill_diagonal(others, 0.0)
    total = others.sum(axis=1, keepdims=True)
    others = np.divide(others, total, out=np.zeros_like(others), where=total > 0)
    rival = others.max(axis=1)
    # On top of the largest of the others: p > (1 - p) * rival.
    repeat = np.maximum(repeat, rival / (1 + rival) * (1 + 1e-6))
    repeat = np.where(total[:, 0] > 0, repeat, 1.0)  # the only channel there is
    after: NDArray[np.float64] = others * (1 - repeat[:, None]) + np.diag(repeat)
    return after
