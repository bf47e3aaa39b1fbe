"""Labels are counted per cutoff, and cutoffs whose window is cut off are named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from seqmarket.data.quality.labels import LabelCount, LabelRates, label_rates
from seqmarket.data.splits import Fold, Period, Split, to_microseconds
from seqmarket.schema import LabelTable


def day(number: int) -> datetime:
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=number)


def micro(number: int) -> int:
    return to_microseconds(day(number))


SPLIT = Split(
    {
        "train": Period(micro(0), micro(30)),
        "validation": Period(micro(30), micro(40)),
        "test": Period(micro(40), micro(45)),
    },
    None,
    warm_up=7 * 86_400_000_000,
    cutoff_every=7 * 86_400_000_000,
)


def table(rows: list[tuple[int, int]], kind: str = "binary") -> LabelTable:
    time = np.array([micro(number) for number, _ in rows], dtype=np.int64)
    zeros = np.zeros(len(rows), dtype=np.int64)
    label = np.array([label for _, label in rows], dtype=np.int64)
    return LabelTable("buy", kind, zeros, zeros, time, label)  # type: ignore[arg-type]


def test_cutoffs() -> None:
    tables: dict[Fold, LabelTable] = {
        "train": table([(7, 1), (21, 0), (7, 0), (21, 1), (21, 1)]),
        "validation": table([(30, 0)]),
        "test": table([]),
    }
    rates = label_rates(tables, SPLIT, timedelta(days=5))
    assert rates.folds == ("train", "validation", "test")
    assert rates == LabelRates(
        "buy",
        (
            LabelCount("train", day(7), 2, 1),
            LabelCount("train", day(14), 0, 0),
            LabelCount("train", day(21), 3, 2),
            LabelCount("validation", day(30), 1, 0),
        ),
        {"train": (day(28),), "validation": (day(37),), "test": (day(40),)},
    )


def test_a_task_without_cutoffs() -> None:
    tables: dict[Fold, LabelTable] = {"train": table([(1, 4), (2, 0)], "categorical")}
    assert label_rates(tables, SPLIT, None) == LabelRates(
        "buy", (LabelCount("train", None, 2, None),), {}
    )
