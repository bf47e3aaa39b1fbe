"""Predicts what is frequent, for everybody alike: the floor under every other model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt
from numpy.typing import NDArray

from seqmarket.nn.per_task import PerTask, answerable, next_rule
from seqmarket.schema import QUANTILES, EventArrays, LabelTable, SequenceSpec, TaskKind


class Majority:
    """Class frequencies of the training rows, base rates, mean and median, or quantiles.

    Args:
        spec: Sizes of the data.
        smoothing: Rows added to each class, so that no class has the probability 0.
    """

    kinds: ClassVar[frozenset[TaskKind]] = frozenset(
        {"binary", "categorical", "amount", "duration"}
    )

    def __init__(self, spec: SequenceSpec, smoothing: Annotated[float, Gt(0)] = 1.0) -> None:
        self._spec = spec
        self._smoothing = smoothing
        self._answer: PerTask[NDArray[np.float64]] = PerTask("majority")

    def fit(self, events: EventArrays, tables: Mapping[str, LabelTable]) -> None:
        """Looks at the labels of each table; the events do not matter."""
        for task, table in answerable(tables, self.kinds, "majority").items():
            self._answer[task] = self._usual(table)

    def predict(self, events: EventArrays, table: LabelTable) -> NDArray[np.float64]:
        """(N,) the base rate, or (N, width) the same for each row."""
        answer = self._answer[table.task]
        if table.kind == "binary":
            return np.full(len(table), answer[1])
        return np.tile(answer, (len(table), 1))

    def _usual(self, table: LabelTable) -> NDArray[np.float64]:
        if table.kind == "amount":
            return np.array([table.label.mean(), np.median(table.label)])
        if table.kind == "duration":
            return np.asarray(np.quantile(table.label, QUANTILES))
        classes = 2 if table.kind == "binary" else len(next_rule(table).classes(self._spec))
        counts = np.bincount(table.label, minlength=classes) + self._smoothing
        return np.asarray(counts / counts.sum())
