"""The engine in plain Python: no NumPy, no Polars, one row after the other."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from seqmarket.data.settings import SplitSettings

Row = dict[str, Any]
Case = Any
"""See the tests: how rows are ordered (`order`), divided (`kind`), and encoded."""

MASK = 2**64 - 1
DAY = 86_400_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TEXTS = ("channel", "event_type", "campaign")
NUMBERS = ("value", "cost", "price")


class RefusedError(Exception):
    """The settings do not fit the log."""


def plain_hash(text: str) -> int:
    def mix(state: int) -> int:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & MASK
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & MASK
        return state ^ (state >> 31)

    content = text.encode()
    state = mix((len(content) + 0x9E3779B97F4A7C15) & MASK)
    for at in range(0, len(content), 8):
        state = mix(state ^ int.from_bytes(content[at : at + 8], "little"))
    return state


def as_read(row: Row, position: int) -> Row:
    """A row as the log has it: a blank text is none, and there is one zero."""
    read = {k: None if isinstance(v, str) and not v.strip() else v for k, v in row.items()}
    return {k: v + 0.0 if isinstance(v, float) else v for k, v in read.items()} | {"at": position}


def sort_key(row: Row, case: Case) -> tuple[Any, ...]:
    def text(name: str) -> tuple[bool, str]:
        return row[name] is not None, row[name] or ""  # without one first

    def number(name: str) -> tuple[bool, float]:
        return row[name] is None, row[name] or 0.0  # without one last

    declared = {"content": (), "position": (row["at"],), "declared": (row["rank"],)}[case.order]
    content = (*map(text, TEXTS), *map(number, NUMBERS))
    return row["time"], *declared, *content, text("segment"), number("age")


def kept_rows(rows: Sequence[Row], case: Case) -> tuple[list[list[Row]], int]:
    """The customers' journeys in the order of the store, and the number of repetitions."""
    by_customer: dict[str, list[Row]] = defaultdict(list)
    for position, row in enumerate(rows):
        by_customer[row["customer_id"]].append(as_read(row, position))
    journeys, repeats = [], 0
    for customer in sorted(by_customer, key=lambda name: (plain_hash(name), name)):
        journey, seen = [], set()
        for row in sorted(by_customer[customer], key=lambda row: sort_key(row, case)):
            same = (row["time"], *(row[name] for name in (*TEXTS, *NUMBERS)))
            same += (row["rank"],) if case.order == "declared" else ()
            repeats += same in seen
            if case.duplicates == "keep" or same not in seen:
                journey.append(row)
            seen.add(same)
        journeys.append(journey)
    return journeys, repeats if case.duplicates == "drop" else 0


def periods_of(case: Case, split: SplitSettings, first: int, end: int) -> list[tuple[int, int]]:
    if case.kind == "cohort":
        return [(first // DAY * DAY, end)] * 3
    given = [split.train_end, split.validation_end]
    shares = [split.train_fraction, split.train_fraction + split.validation_fraction]
    bounds = [first]
    for moment, share in zip(given, shares, strict=True):
        bound = first + int((end - first) * share)
        bound = bound // DAY * DAY if end - first >= 10 * DAY else bound
        bounds.append(bound if moment is None else (moment - EPOCH) // timedelta(microseconds=1))
    bounds.append(end)
    if any(not earlier < later <= end for earlier, later in pairwise(bounds)):
        raise RefusedError
    return list(pairwise(bounds))


def folds_of(case: Case, split: SplitSettings, journeys: list[list[Row]]) -> list[int] | None:
    def fold(position: float) -> int:
        edges = (split.train_fraction, split.train_fraction + split.validation_fraction)
        return sum(position >= edge for edge in edges)

    names = [journey[0]["customer_id"] for journey in journeys]
    if case.kind == "time_and_customer":
        digests = [hashlib.blake2b(n.encode(), digest_size=8, key=b"fold") for n in names]
        return [fold(int.from_bytes(digest.digest()) / 2**64) for digest in digests]
    if case.kind == "cohort":
        starts = [(journey[0]["time"], name) for journey, name in zip(journeys, names, strict=True)]
        return [fold(sorted(starts).index(start) / len(starts)) for start in starts]
    return None


def signed_log1p(value: float) -> float:
    return math.copysign(math.log1p(abs(value)), value)


def quantile(values: list[float], share: float) -> float:
    """Between the two values around a rank; both are looked at as `of` shows them."""
    position = share * (len(values) - 1)
    low, weight = values[int(position)], position - int(position)
    high = values[int(position) + 1] if weight > 0 else low
    return low + (high - low) * weight if weight < 0.5 else high - (high - low) * (1 - weight)


def scaling(name: str, column: list[float | None]) -> tuple[str, float, float, bool]:
    values = [signed_log1p(x) for x in sorted(x for x in column if x is not None)]
    if not values:
        return name, 0.0, 1.0, True
    for low, high, width in ((25, 75, 1.349), (5, 95, 3.290), (0.5, 99.5, 5.152), (0, 100, 1.0)):
        scale = (quantile(values, high / 100) - quantile(values, low / 100)) / width
        if scale > 1e-30:
            break
    else:
        scale = 1.0
    return name, quantile(values, 0.5), scale, None in column


def categories(column: list[str | None], case: Case) -> tuple[str, ...]:
    counts = Counter(text for text in column if text is not None)
    ranked = sorted(counts, key=lambda text: (-counts[text], text))
    return tuple(t for t in ranked if counts[t] >= case.min_count)[: case.max_categories]


@dataclass(frozen=True)
class Wanted:
    """What plain Python makes of a log."""

    journeys: list[list[Row]]
    repeats: int
    end: int
    periods: list[tuple[int, int]]
    folds: list[int] | None
    vocabularies: dict[str, tuple[str, ...]]
    scalings: list[tuple[str, float, float, bool]]
    age: tuple[str, float, float, bool]
    time_scale: float


def plainly(rows: list[Row], case: Case, split: SplitSettings) -> Wanted:
    """Reads, divides and fits.

    Raises:
        RefusedError: The split does not fit the log.
    """
    journeys, repeats = kept_rows(rows, case)
    first, end = min(row["time"] for row in rows), max(row["time"] for row in rows) + 1
    periods = periods_of(case, split, first, end)
    folds = folds_of(case, split, journeys)
    inside = [j for i, j in enumerate(journeys) if folds is None or folds[i] == 0]
    training = [row for journey in inside for row in journey if row["time"] < periods[0][1]]
    if not training:
        raise RefusedError
    gaps = sorted(
        later["time"] - earlier["time"]
        for journey in inside
        for earlier, later in pairwise(journey)
        if earlier["time"] < later["time"] < periods[0][1]
    )
    heads = [journey[0] for journey in inside if journey[0]["time"] < periods[0][1]]
    used = [n for n in NUMBERS if n != "cost" or any(r["cost"] is not None for r in training)]
    vocabularies = {name: categories([row[name] for row in training], case) for name in TEXTS}
    return Wanted(
        journeys,
        repeats,
        end,
        periods,
        folds,
        vocabularies | {"segment": categories([row["segment"] for row in heads], case)},
        [scaling(name, [row[name] for row in training]) for name in used],
        scaling("age", [row["age"] for row in heads]),
        quantile([float(gap) for gap in gaps], 0.5) / DAY if gaps else 1.0,
    )
