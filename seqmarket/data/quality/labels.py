"""Customers asked about at each cutoff, the positive ones among them, and censored cutoffs."""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime

import numpy as np

from seqmarket.data.labels import Neighbours, asked_at_cutoffs, next_table
from seqmarket.data.splits import FOLDS, Split, to_datetime
from seqmarket.schema import EventArrays, NextRule, SequenceSpec, TaskRule

BLOCK = 1 << 18
"""Events of a block; what is computed of one takes some 80 bytes per event."""


@dataclass(frozen=True)
class LabelCount:
    """The rows of a fold at one cutoff.

    Attributes:
        fold: Name of the fold.
        cutoff: The prediction time; None for a task that is not asked at cutoffs.
        rows: Number of rows.
        positives: Rows with label 1, or a value above 0; None for a task about the next event.
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
    events: EventArrays,
    spec: SequenceSpec,
    split: Split,
    rules: Mapping[str, TaskRule],
    *,
    block: int = BLOCK,
) -> tuple[LabelRates, ...]:
    """Counts the labels of all tasks, one block of whole customers after the other.

    Memory is bounded by the block, or by the longest journey, whatever the size of the log.

    Args:
        events: All events; those of a store are memory-mapped.
        spec: How they were encoded.
        split: The folds.
        rules: How each task is labelled, by its name.
        block: Events of a block; the counts do not depend on it.
    """
    rows: Counter[_Place] = Counter()
    positives: Counter[_Place] = Counter()
    for part, of_part in customer_blocks(events, split, block):
        near = Neighbours(part, spec)
        for task, rule in rules.items():
            for fold in FOLDS:
                if isinstance(rule, NextRule):
                    rows[task, fold, None] += len(next_table(near, of_part, fold, rule))
                    continue
                for asked in asked_at_cutoffs(near, of_part, fold, rule):
                    rows[task, fold, asked.cutoff] += len(asked.label)
                    positives[task, fold, asked.cutoff] += int((asked.label > 0).sum())
        _let_go(events)
    return tuple(_rates(task, rule, split, rows, positives) for task, rule in rules.items())


def customer_blocks(
    events: EventArrays, split: Split, block: int
) -> Iterator[tuple[EventArrays, Split]]:
    """Stretches of whole customers, in order, each as a log of its own, without a copy.

    Args:
        events: All events.
        split: The folds; those of the customers are cut with them.
        block: Most events of a stretch; a longer journey is a stretch alone.
    """
    offsets, first = events.offsets, 0
    while first < events.n_customers:
        fitting = int(np.searchsorted(offsets, offsets[first] + block, side="right")) - 1
        last = max(fitting, first + 1)
        columns = {
            field.name: getattr(events, field.name)[
                slice(first, last)
                if field.name.startswith("static_")
                else slice(offsets[first], offsets[last])
            ]
            for field in fields(events)
            if field.name != "offsets"
        }
        part = EventArrays(offsets=offsets[first : last + 1] - offsets[first], **columns)
        groups = split.customer_fold
        yield part, split if groups is None else replace(split, customer_fold=groups[first:last])
        first = last


_Place = tuple[str, str, int | None]
"""Task, fold and cutoff."""


def _rates(
    task: str, rule: TaskRule, split: Split, rows: Counter[_Place], positives: Counter[_Place]
) -> LabelRates:
    if isinstance(rule, NextRule):
        return LabelRates(
            task, tuple(LabelCount(fold, None, rows[task, fold, None], None) for fold in FOLDS), {}
        )
    counts: list[LabelCount] = []
    censored: dict[str, tuple[datetime, ...]] = {}
    for fold in FOLDS:
        # Cutoffs at which nobody is asked count too: that there are none is worth knowing.
        asked = split.cutoffs(fold, rule.window).tolist()
        for cutoff in asked:
            place = (task, fold, cutoff)
            counts.append(LabelCount(fold, to_datetime(cutoff), rows[place], positives[place]))
        late = split.cutoffs(fold, 0)[len(asked) :]
        censored[fold] = tuple(to_datetime(cutoff) for cutoff in late.tolist())
    return LabelRates(task, tuple(counts), censored)


def _let_go(events: EventArrays) -> None:
    """Gives back the pages of memory-mapped columns; the system would when memory is short."""
    for field in fields(events):
        pages = getattr(events, field.name).base
        if isinstance(pages, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            pages.madvise(mmap.MADV_DONTNEED)
