"""What one column of the kept log holds, without what few customers have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seqmarket.data.quality.counts import CategoryCounts, NumberCounts

SMALL_CELL = 10
"""What fewer customers than this have in common is not told apart."""
TOP = 20
"""So many categories of a column are listed."""
QUANTILES = {"min": 0.0, "p25": 0.25, "median": 0.5, "p75": 0.75, "p99": 0.99, "max": 1.0}
"""Name -> share."""

Per = Literal["event", "customer"]


@dataclass(frozen=True)
class Category:
    """A text that at least `SMALL_CELL` customers have.

    Attributes:
        text: The text.
        events: Events with it; of a customers' feature, customers.
        customers: Customers who have it at least once.
    """

    text: str
    events: int
    customers: int


@dataclass(frozen=True)
class TextProfile:
    """A column of text.

    Attributes:
        name: Its name.
        per: Whether it belongs to events or to customers.
        rows: Number of events or customers.
        nulls: How many have none.
        n_categories: Number of distinct texts.
        categories: The `TOP` most frequent ones that are not small.
        other_events: Events (customers) with any other text.
    """

    name: str
    per: Per
    rows: int
    nulls: int
    n_categories: int
    categories: tuple[Category, ...]
    other_events: int

    @property
    def n_others(self) -> int:
        """Number of texts that are not listed."""
        return self.n_categories - len(self.categories)


@dataclass(frozen=True)
class NumberProfile:
    """A column of numbers.

    Attributes:
        name: Its name.
        per: Whether it belongs to events or to customers.
        rows: Number of events or customers.
        nulls: How many have none.
        quantiles: Of the numbers; the least and the largest exact, others off by an eighth at most.
        zeros: How many are 0.
        negatives: How many are negative.
        whole: How many are whole.
        hundreds: How many are multiples of 100.
        octaves: How many positive ones per power of two, from the smallest to the largest.
    """

    name: str
    per: Per
    rows: int
    nulls: int
    quantiles: dict[str, float]
    zeros: int
    negatives: int
    whole: int
    hundreds: int
    octaves: tuple[int, ...]


def listed(counts: CategoryCounts) -> NDArray[np.int64]:
    """The codes of the most frequent texts that enough customers have; ties by text."""
    known = np.flatnonzero(counts.customers >= SMALL_CELL)
    return known[np.argsort(-counts.events[known], kind="stable")][:TOP]


def profile_text(name: str, counts: CategoryCounts, texts: Sequence[str], per: Per) -> TextProfile:
    """Profiles a column of text, of which `texts` are the distinct texts."""
    shown = listed(counts)
    total = int(counts.events.sum())
    return TextProfile(
        name,
        per,
        rows=total + counts.nulls,
        nulls=counts.nulls,
        n_categories=int(np.count_nonzero(counts.events)),
        categories=tuple(
            Category(texts[code], int(counts.events[code]), int(counts.customers[code]))
            for code in shown.tolist()
        ),
        other_events=total - int(counts.events[shown].sum()),
    )


def profile_number(name: str, counts: NumberCounts, per: Per) -> NumberProfile:
    """Profiles a column of numbers."""
    values = counts.values
    quantiles = {}
    if values.total:
        quantiles = {
            key: min(max(values.quantile(share), counts.low), counts.high)
            for key, share in QUANTILES.items()
        } | {"min": counts.low, "max": counts.high}
        if counts.whole == values.total:
            quantiles = {key: float(round(value)) for key, value in quantiles.items()}
    return NumberProfile(
        name,
        per,
        rows=values.total + counts.nulls,
        nulls=counts.nulls,
        quantiles=quantiles,
        zeros=int(values.count[values.bin == 0].sum()),
        negatives=int(values.count[values.bin < 0].sum()),
        whole=counts.whole,
        hundreds=counts.hundreds,
        octaves=values.octaves(),
    )
