"""What happened to customers, block of time by block: what their intent is inferred from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqmarket.attribution.columns import slow_columns
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.paths import Ints
from seqmarket.schema import MICROSECONDS_PER_DAY

_ENOUGH = 50
"""Events of a series from which its rate can be learnt."""


@dataclass(frozen=True)
class Signals:
    """C customers in D blocks; S series of events; X columns.

    Attributes:
        counts: (S, C, D) events of each series; the last is of purchases.
        own: (S,) whether a series ends when the customer leaves.
        days: (C, D) that a customer was observed.
        columns: (C, D, X) what is known of the rates, the first of ones.
        newest: (C,) block of the last event that shows that the customer had not left.
        left: (C,) share of that block that was after it.
        block_days: Length of a block.
    """

    counts: Floats
    own: NDArray[np.bool_]
    days: Floats
    columns: Floats
    newest: Ints
    left: Floats
    block_days: float


class Blocks(NamedTuple):
    """Stretches of a period, of one length.

    Attributes:
        start: Microseconds.
        length: Microseconds.
        number: D.
    """

    start: int
    length: int
    number: int

    @staticmethod
    def of(journeys: Journeys, length: timedelta) -> Blocks:
        """The period of some journeys in blocks of roughly that length, two at least."""
        period = journeys.period
        whole = period.end - period.start
        number = max(round(whole / (length // timedelta(microseconds=1))), 2)
        return Blocks(period.start, -(-whole // number), number)

    def of_time(self, time: Ints) -> Ints:
        """(N,) the block of each moment, the nearest for those outside."""
        return np.asarray(np.clip((time - self.start) // self.length, 0, self.number - 1))

    def cell(self, customer: Ints, time: Ints) -> Ints:
        """(N,) index of customer and block."""
        return customer * self.number + self.of_time(time)


def gather_signals(journeys: Journeys, blocks: Blocks) -> Signals:
    """Counts touches by channel, what else customers do by type, and purchases.

    The first event of a customer is what they are known by, and shows no rate.
    """
    events, period = journeys.events, journeys.period
    c, d = journeys.n_customers, blocks.number
    inside = (events.time >= period.start) & (events.time < period.end)
    inside &= journeys.members[journeys.owner]
    shows = inside.copy()
    shows[events.offsets[:-1]] = False
    others = ~journeys.is_touch & ~events.purchase
    series = [
        (which & (column == kind) & shows, own)
        for which, column, own in (
            (journeys.is_touch, events.channel, False),
            (others, events.event_type, True),
        )
        for kind in np.unique(column[which])
    ]
    series = [(which, own) for which, own in series if which.sum() >= _ENOUGH]
    series.append((events.purchase & shows, True))
    cell = blocks.cell(journeys.owner, events.time)
    counts = np.stack([np.bincount(cell[which], minlength=c * d) for which, _ in series])

    edge = blocks.start + np.arange(d + 1) * blocks.length
    begins = np.clip(events.time[events.offsets[:-1]], period.start, period.end)
    low, high = np.maximum(edge[:-1], begins[:, None]), np.minimum(edge[1:], period.end)
    middle = (low + np.maximum(high, low)) // 2
    known = slow_columns(journeys, np.repeat(np.arange(c), d), middle.ravel())
    spread = known.std(axis=0)
    known = (known - known.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0)

    shown = begins.copy()
    active = np.flatnonzero((others | events.purchase | ~shows) & inside)
    np.maximum.at(shown, journeys.owner[active], events.time[active])
    newest = blocks.of_time(shown)
    return Signals(
        counts.reshape(-1, c, d).astype(np.float64),
        np.array([own for _, own in series]),
        np.maximum(high - low, 0) / MICROSECONDS_PER_DAY * journeys.members[:, None],
        np.column_stack([np.ones(c * d), known]).reshape(c, d, -1),
        newest,
        np.clip(1 - (shown - edge[newest]) / blocks.length, 0.0, 1.0),
        blocks.length / MICROSECONDS_PER_DAY,
    )
