"""Who and when belongs to training, validation and test.

A fold is a half-open period of time and, if wished, a group of customers. A prediction belongs to
a fold only if its whole label window does: a window ``(t, t + w]`` must end before the period does,
so the last ``w`` of every period yields no prediction times. That is the gap between the folds.

Calendar cutoffs are at midnight UTC: in an observation of ten days or more, boundaries by share lie
at the midnight before, and the first cutoff of training at the midnight after its warm-up.
Boundaries that are set stay where they are set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from seqmarket.data.settings import SplitSettings
from seqmarket.errors import SeqmarketError
from seqmarket.schema import MICROSECONDS_PER_DAY

if TYPE_CHECKING:
    import polars as pl

Fold = Literal["train", "validation", "test"]
FOLDS: tuple[Fold, ...] = ("train", "validation", "test")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONG = 10 * MICROSECONDS_PER_DAY
"""An observation at least this long is divided at midnights."""


def to_microseconds(moment: datetime) -> int:
    """Microseconds from 1970-01-01 UTC to an aware moment, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def to_datetime(microseconds: int) -> datetime:
    """The inverse of `to_microseconds`, in UTC."""
    return _EPOCH + timedelta(microseconds=int(microseconds))


@dataclass(frozen=True)
class Period:
    """The half-open stretch of time ``[start, end)``, in microseconds since 1970-01-01 UTC."""

    start: int
    end: int

    def __str__(self) -> str:
        return f"{to_datetime(self.start):%Y-%m-%d %H:%M} to {to_datetime(self.end):%Y-%m-%d %H:%M}"


@dataclass(frozen=True)
class Split:
    """The folds of a log.

    Attributes:
        periods: The period of each fold.
        customer_fold: (C,) int8 index into `FOLDS`, or None where every customer is in each fold.
        warm_up: Length, in microseconds, of the training period's first stretch without cutoffs.
        cutoff_every: Distance of the calendar cutoffs, in microseconds.
        everybody_tested: Whether the groups of customers are those of training and validation only,
            and the test asks all of them, later.
    """

    periods: Mapping[Fold, Period]
    customer_fold: NDArray[np.int8] | None
    warm_up: int
    cutoff_every: int
    everybody_tested: bool = False

    def customers(self, fold: Fold, n_customers: int) -> NDArray[np.bool_]:
        """(C,) which customers take part in a fold."""
        if self.customer_fold is None or (self.everybody_tested and fold == "test"):
            return np.ones(n_customers, dtype=np.bool_)
        return np.asarray(self.customer_fold == FOLDS.index(fold))

    def cutoffs(self, fold: Fold, window: timedelta | int) -> NDArray[np.int64]:
        """Calendar prediction times of a fold whose label windows end before the fold does."""
        period = self.periods[fold]
        length = window if isinstance(window, int) else window // timedelta(microseconds=1)
        first = period.start + (self.warm_up if fold == "train" else 0)
        return np.arange(first, period.end - length, self.cutoff_every, dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Plain containers; the customers' folds are stored elsewhere, as an array."""
        return {
            "periods": {fold: [p.start, p.end] for fold, p in self.periods.items()},
            "warm_up": self.warm_up,
            "cutoff_every": self.cutoff_every,
            **({"everybody_tested": True} if self.everybody_tested else {}),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], customer_fold: NDArray[np.int8] | None) -> Split:
        """The inverse of `to_dict`."""
        periods = {fold: Period(*plain["periods"][fold]) for fold in FOLDS}
        everybody = plain.get("everybody_tested", False)
        return cls(periods, customer_fold, plain["warm_up"], plain["cutoff_every"], everybody)


def make_split(
    first_time: int,
    observed_until: datetime,
    settings: SplitSettings,
    customers: Callable[[], pl.DataFrame],
) -> Split:
    """Divides a log as the settings say.

    Args:
        first_time: Of the first event, microseconds.
        observed_until: Exclusive end of the observation.
        settings: Kind of split, and its boundaries or shares.
        customers: Gives `customer_id`, `first_time` (microseconds) and, where the log has them,
            `position` (of the first row), one row per customer, in store order; called only where
            customers are divided.

    Raises:
        SeqmarketError: If a boundary lies outside the observation or before its predecessor, or
            the customers have no such order.
    """
    start, end = first_time, to_microseconds(observed_until)
    every = settings.cutoff_every // timedelta(microseconds=1)
    if settings.kind == "cohort":
        start = _midnight_before(start)
        periods: dict[Fold, Period] = dict.fromkeys(FOLDS, Period(start, end))
        groups: NDArray[np.int8] | None = _cohorts(customers(), settings)
    elif settings.kind == "customer":
        return _by_customer(start, end, settings, customers())
    else:
        periods = _consecutive_periods(start, end, settings)
        by_hash = settings.kind == "time_and_customer"
        groups = _hashed_groups(customers(), settings) if by_hash else None
    return Split(periods, groups, _warm_up(periods["train"], settings), every)


def _by_customer(first: int, end: int, settings: SplitSettings, customers: pl.DataFrame) -> Split:
    """Other customers at the same time; and where training has an end, everybody after it."""
    boundaries = {} if settings.train_end is None else {"train_end": settings.train_end}
    boundaries |= {} if settings.test_end is None else {"test_end": settings.test_end}
    moments = {name: to_microseconds(moment) for name, moment in boundaries.items()}
    _check_order(moments, first, end)
    test_end = moments.get("test_end", end)
    train = Period(_midnight_before(first), moments.get("train_end", test_end))
    warm_up = _warm_up(train, settings)
    asked = Period(train.start + warm_up, train.end)
    later = train.end < test_end
    test = Period(train.end, test_end) if later else asked
    periods: dict[Fold, Period] = {"train": train, "validation": asked, "test": test}
    every = settings.cutoff_every // timedelta(microseconds=1)
    return Split(periods, _hashed_groups(customers, settings), warm_up, every, later)


def _warm_up(train: Period, settings: SplitSettings) -> int:
    """The warm-up in microseconds: until a midnight, and at most half of the training period."""
    length = train.end - train.start
    warm_up = min(settings.warm_up // timedelta(microseconds=1), length // 2)
    if length < _LONG:
        return warm_up
    return _midnight_after(train.start + warm_up) - train.start


def _midnight_before(moment: int) -> int:
    return moment // MICROSECONDS_PER_DAY * MICROSECONDS_PER_DAY


def _midnight_after(moment: int) -> int:
    """The same moment if it is a midnight."""
    return -_midnight_before(-moment)


def _consecutive_periods(start: int, end: int, settings: SplitSettings) -> dict[Fold, Period]:
    span = end - start
    until_validation = settings.train_fraction + settings.validation_fraction
    if until_validation >= 1 and settings.validation_end is None:
        raise SeqmarketError(
            "training and validation together leave no time for the test",
            where="data.split.train_fraction, data.split.validation_fraction",
            fix="make their sum smaller than 1",
        )

    def boundary(moment: datetime | None, share: float) -> int:
        if moment is not None:
            return to_microseconds(moment)
        by_share = start + int(span * share)
        return _midnight_before(by_share) if span >= _LONG else by_share

    boundaries = {
        "train_end": boundary(settings.train_end, settings.train_fraction),
        "validation_end": boundary(settings.validation_end, until_validation),
        "test_end": end if settings.test_end is None else to_microseconds(settings.test_end),
    }
    _check_order(boundaries, start, end)
    train_end, validation_end, test_end = boundaries.values()
    return {
        "train": Period(start, train_end),
        "validation": Period(train_end, validation_end),
        "test": Period(validation_end, test_end),
    }


def _check_order(boundaries: Mapping[str, int], start: int, end: int) -> None:
    """Refuses boundaries outside the observation, or one that does not lie after the one before."""
    previous = start
    for name, value in boundaries.items():
        if not previous < value <= end:
            raise SeqmarketError(
                f"the split's {name} ({to_datetime(value):%Y-%m-%d %H:%M}) must lie after "
                f"{to_datetime(previous):%Y-%m-%d %H:%M} and within the observation, "
                f"which ends at {to_datetime(end):%Y-%m-%d %H:%M}",
                where=f"data.split.{name}",
                fix=f"set data.split.{name}=YYYY-MM-DD, or null to divide by shares, of at least "
                "a day each",
            )
        previous = value


def _by_share(position: NDArray[np.float64], settings: SplitSettings) -> NDArray[np.int8]:
    """Turns positions in [0, 1) into fold indices."""
    edges = [settings.train_fraction, settings.train_fraction + settings.validation_fraction]
    return np.searchsorted(edges, position, side="right").astype(np.int8)


def _cohorts(customers: pl.DataFrame, settings: SplitSettings) -> NDArray[np.int8]:
    """Earlier customers train, later ones test; ties of the first event are broken by the id.

    Raises:
        SeqmarketError: The order is to be that of the log, and its rows have no positions.
    """
    if settings.order not in customers.columns:
        raise SeqmarketError(
            "customers cannot be divided by their position in a log whose order means nothing",
            where="data.split.order",
            fix="say that it does, data.ties=position (not with data.columns.order), or set "
            "data.split.order=first_time",
        )
    order = customers.with_row_index("row").sort(settings.order, "customer_id")["row"].to_numpy()
    position = np.empty(len(order), dtype=np.float64)
    position[order] = np.arange(len(order)) / len(order)
    return _by_share(position, settings)


def _hashed_groups(customers: pl.DataFrame, settings: SplitSettings) -> NDArray[np.int8]:
    """A customer keeps their fold whatever else is in the log: it depends on the id alone."""
    position = [
        int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, key=b"fold").digest()) / 2**64
        for name in customers["customer_id"]
    ]
    return _by_share(np.array(position, dtype=np.float64), settings)
