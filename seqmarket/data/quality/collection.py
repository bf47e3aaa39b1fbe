"""Days on which far fewer or far more events were collected than is usual."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

_EPOCH = date(1970, 1, 1)
_WEEKS = 6
_USUAL = 20  # events; where fewer are usual, a day without any is no surprise
_USUAL_OF_FEW = 50
_FEW = 0.1
_MANY = 5.0
_LONGEST = 20_000  # days; of a longer log the newest so many are looked at

RULE = (
    "A day's events are compared with the medians of the same weekday in the six weeks before and "
    "in the six weeks after. Unusual is a day without events where at least 20 are usual both "
    "before and after, a day with less than a tenth of either, where at least 50 are usual, and a "
    "day with more than five times either, where at least 20 are. The first and the last day are "
    "left out."
)


@dataclass(frozen=True)
class UnusualDays:
    """Consecutive days.

    Attributes:
        start: The first one.
        days: How many.
        events: Events on them.
        usual: Events that would be usual on them.
    """

    start: date
    days: int
    events: int
    usual: int

    @property
    def end(self) -> date:
        """The last one."""
        return self.start + timedelta(days=self.days - 1)


def unusual_days(
    day: NDArray[np.int64], events: NDArray[np.int64]
) -> tuple[tuple[UnusualDays, ...], tuple[UnusualDays, ...]]:
    """The days with far fewer events than usual, and those with far more; see `RULE`.

    Args:
        day: (n,) days since 1970-01-01 that have events, ascending.
        events: (n,) events on each.
    """
    if len(day) < 3:
        return (), ()
    first = int(max(day[0] + 1, day[-1] - _LONGEST))
    total = np.zeros(int(day[-1]) - first, dtype=np.int64)
    inside = (day >= first) & (day < day[-1])
    total[day[inside] - first] = events[inside]
    before, after = _same_weekdays(total)
    # The side that makes a day less unusual: a log may begin, grow or end where the day is.
    least, most = np.fmin(before, after), np.fmax(before, after)
    few = (total > 0) & (total < _FEW * least) & (least >= _USUAL_OF_FEW)
    many = (total > _MANY * most) & (most >= _USUAL)
    usual_in_gap = _around_gaps(total)
    none = usual_in_gap >= _USUAL
    return (
        tuple(_runs(none | few, total, np.where(none, usual_in_gap, least), first)),
        tuple(_runs(many, total, most, first)),
    )


def _same_weekdays(
    total: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(d,) medians of the same weekdays before and after each day; NaN if there are not two."""
    before, after = (np.full((_WEEKS, len(total)), np.nan) for _ in range(2))
    for place in range(_WEEKS):
        days = 7 * (place + 1)
        before[place, days:] = total[:-days]
        after[place, :-days] = total[days:]
    return _median(before), _median(after)


def _around_gaps(total: NDArray[np.int64]) -> NDArray[np.float64]:
    """(d,) for days without events, the less of what is usual on that weekday around the gap.

    0 where that is not known before or after it.
    """
    usual = np.zeros(len(total))
    if total.max(initial=0) < _USUAL:
        return usual
    back = 7 * np.arange(_WEEKS)
    for a, b in _stretches(total == 0):
        days = np.arange(a, b)
        newest = days - 7 * ((days - a) // 7 + 1)
        oldest = days + 7 * ((b - 1 - days) // 7 + 1)
        before = _at(total, newest[None, :] - back[:, None])
        after = _at(total, oldest[None, :] + back[:, None])
        usual[a:b] = np.minimum(_median(before), _median(after))
    return np.nan_to_num(usual)


def _at(total: NDArray[np.int64], place: NDArray[np.int64]) -> NDArray[np.float64]:
    inside = (place >= 0) & (place < len(total))
    return np.where(inside, total[np.where(inside, place, 0)], np.nan)


def _median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median over the first axis of what is there; NaN where fewer than two are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column of NaN only
        median = np.nanmedian(values, axis=0)
    enough = np.count_nonzero(~np.isnan(values), axis=0) >= 2
    return np.where(enough, median, np.nan)


def _stretches(holds: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The half-open stretches over which something holds."""
    step = np.diff(np.concatenate([[False], holds, [False]]).astype(np.int8))
    starts, ends = np.flatnonzero(step == 1).tolist(), np.flatnonzero(step == -1).tolist()
    return list(zip(starts, ends, strict=True))


def _runs(
    unusual: NDArray[np.bool_],
    total: NDArray[np.int64],
    usual: NDArray[np.float64],
    first: int,
) -> Iterator[UnusualDays]:
    for start, end in _stretches(unusual):
        yield UnusualDays(
            _EPOCH + timedelta(days=first + start),
            end - start,
            int(total[start:end].sum()),
            round(float(usual[start:end].sum())),
        )
