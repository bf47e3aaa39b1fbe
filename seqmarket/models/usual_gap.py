"""Predicts that the next event takes as long as it usually does after events of the same type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from seqmarket.nn.per_task import PerTask, answerable
from seqmarket.schema import QUANTILES, EventArrays, LabelTable, SequenceSpec, TaskKind


class UsualGap:
    """Quantiles of the time to the next event, by the type of the last one.

    Args:
        spec: Sizes of the data.
        fewest_rows: After a type with fewer training rows, the quantiles of all rows are used.
    """

    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"duration"})

    def __init__(self, spec: SequenceSpec, fewest_rows: Annotated[int, Ge(1)] = 20) -> None:
        self._n_types = spec.event_type.size
        self._fewest_rows = fewest_rows
        self._quantiles: PerTask[NDArray[np.float64]] = PerTask("usual_gap")

    def fit(self, events: EventArrays, tables: Mapping[str, LabelTable]) -> None:
        """Takes the quantiles of each type's rows."""
        for task, table in answerable(tables, self.kinds, "usual_gap").items():
            after = events.event_type[table.event]
            quantiles = np.tile(np.quantile(table.label, QUANTILES), (self._n_types, 1))
            for kind in np.flatnonzero(np.bincount(after) >= self._fewest_rows):
                quantiles[kind] = np.quantile(table.label[after == kind], QUANTILES)
            self._quantiles[task] = quantiles

    def predict(self, events: EventArrays, table: LabelTable) -> NDArray[np.float64]:
        """(N, len(QUANTILES)) days."""
        return self._quantiles[table.task][events.event_type[table.event]]
