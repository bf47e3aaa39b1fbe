"""A Markov chain of order k over the channels or types, with back-off to shorter contexts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from seqmarket.errors import SeqmarketError
from seqmarket.nn.per_task import PerTask, answerable, next_rule
from seqmarket.schema import (
    PAD,
    SPECIAL_TOKENS,
    EventArrays,
    LabelTable,
    SequenceSpec,
    TaskKind,
)


@dataclass(frozen=True)
class _Order:
    """Counts after the contexts of one length.

    Contexts are numbered: one of length ``j`` is the number of its newest ``j - 1`` channels and
    the channel before them, packed into a key; or of types, whatever is asked for. That is exact
    for any number of channels and any order, where packing a whole context would overflow.

    Attributes:
        key: (contexts,) sorted keys; a context's number is its place here.
        start: (contexts + 1,) where the entries of each context begin.
        channel: (entries,) a channel that followed.
        count: (entries,) how often it did.
    """

    key: NDArray[np.int64]
    start: NDArray[np.int64]
    channel: NDArray[np.int64]
    count: NDArray[np.float64]

    def find(self, key: NDArray[np.int64]) -> NDArray[np.int64]:
        """(N,) number of each context, -1 for one that training did not show."""
        place = np.minimum(np.searchsorted(self.key, key), len(self.key) - 1)
        return np.where(self.key[place] == key, place, -1)

    def mix(self, context: NDArray[np.int64], shorter: NDArray[np.float64]) -> None:
        """Replaces, in place, the (N, K) predictions of the shorter context by this order's."""
        rows = np.flatnonzero(context >= 0)
        start, end = self.start[context[rows]], self.start[context[rows] + 1]
        n_distinct = end - start
        running = np.concatenate(([0.0], np.cumsum(self.count)))
        total = running[end] - running[start] + n_distinct
        shorter[rows] *= (n_distinct / total)[:, None]
        row = np.repeat(np.arange(len(rows)), n_distinct)
        entry = np.arange(len(row)) + np.repeat(
            start - (np.cumsum(n_distinct) - n_distinct), n_distinct
        )
        shorter[rows[row], self.channel[entry]] += self.count[entry] / total[row]


class Markov:
    """The next channel (type) from the last ``order`` ones, by interpolated Witten-Bell smoothing.

    After a context seen ``n`` times with ``d`` distinct successors, a channel seen ``c`` times gets
    ``(c + d * p) / (n + d)``, where ``p`` is its probability after the context without its oldest
    channel; below the empty context stands the uniform distribution. Before a customer's first
    event there are blanks, so the beginning of a journey is a context of its own.

    Source: Witten and Bell, The zero-frequency problem, IEEE Trans. Information Theory 37 (1991).

    Args:
        spec: Sizes of the data.
        order: Number of past channels; 0 looks at none.

    Raises:
        SeqmarketError: If the order is negative.
    """

    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"categorical"})

    def __init__(self, spec: SequenceSpec, order: Annotated[int, Ge(0)] = 5) -> None:
        if order < 0:
            raise SeqmarketError(
                f"a Markov chain of order {order} does not exist",
                where="order",
                fix="set it to 0 or more, as in order=5",
            )
        self._spec = spec
        self._order = order
        self._orders: PerTask[list[_Order]] = PerTask("markov")

    def fit(self, events: EventArrays, tables: Mapping[str, LabelTable]) -> None:
        """Counts what followed each context of each length."""
        for task, table in answerable(tables, self.kinds, "markov").items():
            classes = self._n_classes(table)
            orders: list[_Order] = []
            key = np.zeros(len(table), dtype=np.int64)
            for lag in range(self._order + 1):
                known, context = np.unique(key, return_inverse=True)
                orders.append(_count(known, context, table.label, classes))
                key = self._longer(context, events, table, lag)
            self._orders[task] = orders

    def predict(self, events: EventArrays, table: LabelTable) -> NDArray[np.float64]:
        """(N, classes) probabilities."""
        classes = self._n_classes(table)
        probability = np.full((len(table), classes), 1.0 / classes)
        key = np.zeros(len(table), dtype=np.int64)
        for lag, order in enumerate(self._orders[table.task]):
            context = order.find(key)
            order.mix(context, probability)
            key = np.where(context >= 0, self._longer(context, events, table, lag), -1)
        return probability

    def _n_classes(self, table: LabelTable) -> int:
        return len(next_rule(table).classes(self._spec))

    def _longer(
        self, context: NDArray[np.int64], events: EventArrays, table: LabelTable, lag: int
    ) -> NDArray[np.int64]:
        """(N,) keys of the contexts with one event more."""
        n_ids = self._n_classes(table) + SPECIAL_TOKENS
        return context * n_ids + _class_before(events, table, lag)


def _count(
    known: NDArray[np.int64],
    context: NDArray[np.int64],
    label: NDArray[np.int64],
    classes: int,
) -> _Order:
    pair, count = np.unique(context * classes + label, return_counts=True)
    owner, channel = np.divmod(pair, classes)
    start = np.searchsorted(owner, np.arange(len(known) + 1))
    return _Order(known, start, channel, count.astype(np.float64))


def _class_before(events: EventArrays, table: LabelTable, lag: int) -> NDArray[np.int64]:
    """(N,) the channel (type) that many events before the row's event, PAD before the first."""
    index = table.event - lag
    there = index >= events.offsets[table.customer]
    return np.where(there, next_rule(table).ids(events)[np.maximum(index, 0)], PAD).astype(np.int64)
