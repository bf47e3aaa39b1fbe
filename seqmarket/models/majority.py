"""Predicts what is frequent, for everybody alike: the floor under every other model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt
from numpy.typing import NDArray

from seqmarket.nn.per_task import PerTask, answerable
from seqmarket.schema import EventArrays, LabelTable, SequenceSpec, TaskKind


class Majority:
    """Class frequencies of the training rows; for a binary task, the base rate.

    Args:
        spec: Sizes of the data.
        smoothing: Rows added to each class, so that no class has the probability 0.
    """

    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "categorical"})

    def __init__(self, spec: SequenceSpec, smoothing: Annotated[float, Gt(0)] = 1.0) -> None:
        self._n_channels = spec.n_channels
        self._smoothing = smoothing
        self._frequency: PerTask[NDArray[np.float64]] = PerTask("majority")

    def fit(self, events: EventArrays, tables: Mapping[str, LabelTable]) -> None:
        """Counts the labels of each table; the events do not matter."""
        for task, table in answerable(tables, self.kinds, "majority").items():
            n_classes = 2 if table.kind == "binary" else self._n_channels
            counts = np.bincount(table.label, minlength=n_classes) + self._smoothing
            self._frequency[task] = counts / counts.sum()

    def predict(self, events: EventArrays, table: LabelTable) -> NDArray[np.float64]:
        """(N,) the base rate, or (N, classes) the frequencies."""
        frequency = self._frequency[table.task]
        if table.kind == "binary":
            return np.full(len(table), frequency[1])
        return np.tile(frequency, (len(table), 1))
