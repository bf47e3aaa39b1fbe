"""Customers asked about at each cutoff, the positive ones among them, and censored cutoffs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from seqmarket.data.splits import Fold, Split, to_datetime
from seqmarket.schema import LabelTable


@dataclass(frozen=True)
class LabelCount:
    """The rows of a fold at one cutoff.

    Attributes:
        fold: Name of the fold.
        cutoff: The prediction time; None for a task that is not asked at cutoffs.
        rows: Number of rows.
        positives: Rows with label 1; None for a categorical task.
    """

    fold: str
    cutoff: datetime | None
    rows: int
    positives: int | None


@dataclass(frozen=True)
class LabelRates:
    """The labels of one task.

    Attributes:
        task: Its name.
        counts: By fold, then cutoff.
        censored: Fold -> its cutoffs without labels, since their windows run past its end.
    """

    task: str
    counts: tuple[LabelCount, ...]
    censored: dict[str, tuple[datetime, ...]]

    @property
    def folds(self) -> tuple[str, ...]:
        """The folds that were looked at, those without any label too."""
        return tuple(dict.fromkeys((*self.censored, *(count.fold for count in self.counts))))

    def of(self, fold: str) -> tuple[LabelCount, ...]:
        """The counts of a fold."""
        return tuple(count for count in self.counts if count.fold == fold)


def label_rates(
    tables: Mapping[Fold, LabelTable], split: Split, window: timedelta | None
) -> LabelRates:
    """Counts the label tables of one task.

    Args:
        tables: The table of each fold, at calendar cutoffs if there is a window.
        split: The folds.
        window: Length of the label window; None for a task that is not asked at cutoffs.
    """
    counts: list[LabelCount] = []
    censored: dict[str, tuple[datetime, ...]] = {}
    for fold, table in tables.items():
        if window is None:
            positives = int(table.label.sum()) if table.kind == "binary" else None
            counts.append(LabelCount(fold, None, len(table), positives))
            continue
        asked = split.cutoffs(fold, window)
        # Cutoffs at which nobody is asked count too: that there are none is worth knowing.
        place = np.searchsorted(asked, table.time)
        rows = np.bincount(place, minlength=len(asked)).tolist()
        ones = np.bincount(place[table.label == 1], minlength=len(asked)).tolist()
        counts += [
            LabelCount(fold, to_datetime(cutoff), n, positive)
            for cutoff, n, positive in zip(asked.tolist(), rows, ones, strict=True)
        ]
        late = split.cutoffs(fold, 0)[len(asked) :]
        censored[fold] = tuple(to_datetime(cutoff) for cutoff in late.tolist())
    task = next(iter(tables.values())).task
    return LabelRates(task, tuple(counts), censored)
