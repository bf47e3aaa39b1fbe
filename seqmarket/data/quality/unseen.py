"""Categories that occur after the training period only: what a model meets as unknown."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from seqmarket.data.quality.column_profile import SMALL_CELL, Per
from seqmarket.data.quality.counts import CategoryCounts
from seqmarket.data.shard import Lexicon
from seqmarket.schema import NEVER

_NAMED = 5


@dataclass(frozen=True)
class UnseenCategories:
    """The categories of a column that no event of the training period has.

    Attributes:
        column: Its name.
        per: Whether it belongs to events or to customers.
        categories: How many there are.
        events: Events with them; of a customers' feature, customers.
        examples: The most frequent ones, without those of few customers.
    """

    column: str
    per: Per
    categories: int
    events: int
    examples: tuple[str, ...]


def unseen_categories(
    categories: Mapping[str, CategoryCounts],
    static: Collection[str],
    lexicon: Lexicon,
    train_end: int,
) -> tuple[UnseenCategories, ...]:
    """Finds them by the time of the first event with each category, whosever it is.

    Where customers are divided too, a category may be known from another fold's customers in the
    training period, and still be unknown to a model. Where periods are the same for all folds
    (`cohort`), there are none.

    Args:
        categories: Column -> its counts over all shards.
        static: Which columns are those of customers.
        lexicon: Of the log.
        train_end: Exclusive end of the training period, microseconds.

    Returns:
        One item per column that has any.
    """
    found = []
    for name, counts in categories.items():
        late = np.flatnonzero((counts.first >= train_end) & (counts.first < NEVER))
        if len(late):
            frequent = late[np.argsort(-counts.events[late], kind="stable")]
            named = frequent[counts.customers[frequent] >= SMALL_CELL][:_NAMED]
            examples = tuple(lexicon[name][code] for code in named.tolist())
            per: Per = "customer" if name in static else "event"
            events = int(counts.events[late].sum())
            found.append(UnseenCategories(name, per, len(late), events, examples))
    return tuple(found)
