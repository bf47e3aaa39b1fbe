"""Labels are counted per cutoff, in bounded memory; censored cutoffs are named."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from seqmarket.data.labels import Neighbours, label_table
from seqmarket.data.quality import labels
from seqmarket.data.quality.labels import (
    LabelCount,
    LabelRates,
    customer_blocks,
    label_rates,
)
from seqmarket.data.splits import FOLDS, Period, Split, to_datetime, to_microseconds
from seqmarket.schema import (
    EVERY_EVENT,
    PURCHASES,
    CategoricalFeature,
    EventArrays,
    NextRule,
    SequenceSpec,
    TaskRule,
    WindowRule,
)

DAY = 86_400_000_000


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
    warm_up=7 * DAY,
    cutoff_every=7 * DAY,
)
PURCHASE = WindowRule("purchase", 5 * DAY, "happens", PURCHASES, 60 * DAY, EVERY_EVENT)
CHURN = WindowRule("churn", 3 * DAY, "absent", PURCHASES, 10 * DAY, PURCHASES)
VALUE = WindowRule("value", 3 * DAY, "value", PURCHASES, 10 * DAY, PURCHASES)
NEXT_CHANNEL = NextRule("next_channel", "channel")
RULES: dict[str, TaskRule] = {
    "next_channel": NEXT_CHANNEL,
    "next_event_type": NextRule("next_event_type", "event_type", not_scored=("purchase",)),
    "time_to_next": NextRule("time_to_next", "time"),
    "purchase": PURCHASE,
    "churn": CHURN,
    "value": VALUE,
}
SPEC = SequenceSpec(
    channel=CategoricalFeature("channel", ("mail", "shop", "web", "app")),
    event_type=CategoricalFeature("event_type", ("purchase", "touch")),
    categorical=(),
    numeric=(),
    static_categorical=(),
    static_numeric=(),
    purchase_event_types=("purchase",),
    max_length=32,
    time_scale=1.0,
)


def journeys(lengths: list[int], seed: int = 1) -> EventArrays:
    """Journeys of random events in the 45 days of the split."""
    rng = np.random.default_rng(seed)
    offsets = np.cumsum([0, *lengths]).astype(np.int64)
    n, c = int(offsets[-1]), len(lengths)
    time = micro(0) + rng.integers(0, 45 * DAY, n)
    for first, last in pairwise(offsets):
        time[first:last].sort()
    return EventArrays(
        offsets=offsets,
        time=time,
        channel=rng.integers(1, 6, n, dtype=np.int32),
        event_type=(np.arange(n) % 2 + 2).astype(np.int32),
        purchase=rng.random(n) < 0.3,
        value=np.ones(n, dtype=np.float32),
        categorical=np.zeros((n, 0), dtype=np.int32),
        features=np.zeros((n, 1), dtype=np.float32),
        static_categorical=np.zeros((c, 0), dtype=np.int32),
        static_features=np.zeros((c, 0), dtype=np.float32),
    )


def counted_whole(events: EventArrays, split: Split) -> tuple[LabelRates, ...]:
    """The same counts by their definition: of the rows of each table, made of the whole log."""
    near, found = Neighbours(events, SPEC), []
    for task, rule in RULES.items():
        counts: list[LabelCount] = []
        censored: dict[str, tuple[datetime, ...]] = {}
        for fold in FOLDS:
            table = label_table(near, split, fold, rule)
            if isinstance(rule, NextRule):
                counts.append(LabelCount(fold, None, len(table), None))
                continue
            asked = split.cutoffs(fold, rule.window)
            for cutoff in asked.tolist():
                of_cutoff = table.label[table.time == cutoff]
                ones = int((of_cutoff > 0).sum())
                counts.append(LabelCount(fold, to_datetime(cutoff), len(of_cutoff), ones))
            late = split.cutoffs(fold, 0)[len(asked) :]
            censored[fold] = tuple(map(to_datetime, late.tolist()))
        found.append(LabelRates(task, tuple(counts), censored))
    return tuple(found)


LENGTHS = [1, 4, 30, 2, 2, 9, 1, 17, 5, 3]


@pytest.fixture(params=["all in every fold", "customers in folds"])
def split(request: pytest.FixtureRequest) -> Split:
    if request.param == "all in every fold":
        return SPLIT
    folds = np.random.default_rng(3).integers(0, 3, len(LENGTHS)).astype(np.int8)
    return replace(SPLIT, customer_fold=folds)


def counts_do_not_depend_on_the_block(split: Split) -> None:
    events = journeys(LENGTHS)
    whole = counted_whole(events, split)
    assert any(count.positives for rates in whole for count in rates.counts)
    for block in (1, 5, 20, 1_000):  # one customer; a few; all
        assert label_rates(events, SPEC, split, RULES, block=block) == whole


def test_blocks(split: Split) -> None:
    counts_do_not_depend_on_the_block(split)


def without_last(blocks: list[tuple[EventArrays, Split]]) -> list[tuple[EventArrays, Split]]:
    return blocks[:-1]


def folds_not_cut(blocks: list[tuple[EventArrays, Split]]) -> list[tuple[EventArrays, Split]]:
    folds = np.concatenate([split.customer_fold for _, split in blocks])
    return [
        (part, replace(split, customer_fold=folds[: part.n_customers])) for part, split in blocks
    ]


@pytest.mark.parametrize("broken", [without_last, folds_not_cut])
def test_mutants(
    broken: Callable[[list[tuple[EventArrays, Split]]], list[tuple[EventArrays, Split]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def mutant(
        events: EventArrays, split: Split, block: int
    ) -> Iterator[tuple[EventArrays, Split]]:
        yield from broken(list(customer_blocks(events, split, block)))

    monkeypatch.setattr(labels, "customer_blocks", mutant)
    folds = np.random.default_rng(3).integers(0, 3, len(LENGTHS)).astype(np.int8)
    with pytest.raises(AssertionError):
        counts_do_not_depend_on_the_block(replace(SPLIT, customer_fold=folds))


def test_blocks_hold_whole_customers() -> None:
    parts = [part for part, _ in customer_blocks(journeys(LENGTHS), SPLIT, 20)]
    assert [np.diff(part.offsets).tolist() for part in parts] == [
        [1, 4],
        [30],
        [2, 2, 9, 1],
        [17],
        [5, 3],
    ]


def test_memory_is_that_of_a_block() -> None:
    def peak(block: int) -> int:
        tracemalloc.start()
        label_rates(events, SPEC, SPLIT, RULES, block=block)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    events = journeys([10] * 20_000)
    assert peak(2_000) < peak(events.n_events) / 20


def test_mapped_columns(tmp_path: Path) -> None:
    plain, columns = journeys(LENGTHS), {}
    for field in fields(plain):
        np.save(tmp_path / field.name, getattr(plain, field.name))
        columns[field.name] = np.load(tmp_path / f"{field.name}.npy", mmap_mode="r")
    mapped = EventArrays(**columns)
    assert label_rates(mapped, SPEC, SPLIT, RULES, block=5) == label_rates(
        plain, SPEC, SPLIT, RULES
    )


def test_cutoffs() -> None:
    events = replace(
        journeys([2, 1, 1]),
        time=np.array([micro(1), micro(9), micro(20), micro(31)], dtype=np.int64),
        purchase=np.array([False, True, False, True]),
    )
    (rates,) = label_rates(events, SPEC, SPLIT, {"purchase": PURCHASE})
    assert rates.folds == ("train", "validation", "test")
    assert rates == LabelRates(
        "purchase",
        (
            LabelCount("train", day(7), 1, 1),
            LabelCount("train", day(14), 1, 0),
            LabelCount("train", day(21), 2, 0),
            LabelCount("validation", day(30), 2, 0),
        ),
        {"train": (day(28),), "validation": (day(37),), "test": (day(40),)},
    )


def test_a_cutoff_at_which_nobody_is_asked() -> None:
    events = replace(journeys([1]), time=np.array([micro(15)], dtype=np.int64))
    (rates,) = label_rates(events, SPEC, SPLIT, {"purchase": PURCHASE})
    assert rates.of("train")[0] == LabelCount("train", day(7), 0, 0)


def test_a_task_without_cutoffs() -> None:
    events = replace(
        journeys([3]),
        time=np.array([micro(1), micro(2), micro(32)], dtype=np.int64),
        channel=np.array([2, 3, 4], dtype=np.int32),
    )
    counts = tuple(
        LabelCount(fold, None, n, None) for fold, n in zip(FOLDS, (1, 1, 0), strict=True)
    )
    assert label_rates(events, SPEC, SPLIT, {"next_channel": NEXT_CHANNEL}) == (
        LabelRates("next_channel", counts, {}),
    )
