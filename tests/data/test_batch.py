"""Windows and padding: every row sees its own past, and nothing else."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from seqmarket.data import batch as batch_module
from seqmarket.data.batch import (
    TrainingPlan,
    Windows,
    collate,
    plan_training,
    plan_windows,
    window_start,
)
from seqmarket.schema import MICROSECONDS_PER_DAY, EventArrays
from seqmarket.tensors import JourneyBatch


def events_of(lengths: list[int], *, extra: int = 2) -> EventArrays:
    """Journeys whose channel ids count up from 2 and whose events are a day apart."""
    n = sum(lengths)
    rng = np.random.default_rng(0)
    return EventArrays(
        offsets=np.cumsum([0, *lengths]).astype(np.int64),
        time=np.concatenate([np.arange(k) * MICROSECONDS_PER_DAY for k in lengths]),
        channel=np.concatenate([np.arange(k) + 2 for k in lengths]).astype(np.int32),
        event_type=np.full(n, 2, dtype=np.int32),
        purchase=np.zeros(n, dtype=np.bool_),
        value=rng.random(n).astype(np.float32),
        categorical=rng.integers(1, 5, (n, extra)).astype(np.int32),
        features=rng.random((n, extra + 1)).astype(np.float32),
        static_categorical=rng.integers(1, 5, (len(lengths), 1)).astype(np.int32),
        static_features=rng.random((len(lengths), 2)).astype(np.float32),
    )


def test_a_window_depends_on_the_position_alone_and_is_never_too_long_or_short() -> None:
    for max_length in (2, 5, 8, 256):
        position = np.arange(2_000)
        start = window_start(position, max_length)
        shown = position - start + 1
        assert (shown <= max_length).all()
        assert (start >= 0).all()
        assert (shown[max_length:] > max_length - max_length // 2 - 1).all()
        assert (start[:max_length] == 0).all()
        assert (np.diff(start) >= 0).all()


def test_each_row_is_shown_its_own_history_once() -> None:
    events = events_of([3, 20, 1, 9])
    customer = np.repeat(np.arange(4), np.diff(events.offsets))
    event = np.arange(events.n_events)
    windows, index = plan_windows(events, customer, event, max_length=8)
    assert (windows.customer[index] == customer).all()
    assert (windows.start[index] <= event).all()
    assert (event < windows.stop[index]).all()
    assert (windows.length <= 8).all()
    assert (windows.start >= events.offsets[windows.customer]).all()
    assert (windows.stop <= events.offsets[windows.customer + 1]).all()
    # Short journeys are shown in one window, however many rows ask about them.
    assert len(np.unique(index[customer == 0])) == 1


def test_collated_padding_is_zero_and_time_never_runs_backwards() -> None:
    events = events_of([3, 6])
    batch = collate(events, Windows(np.array([0, 3]), np.array([3, 9]), np.array([0, 1])))
    assert batch.mask.sum(dim=1).tolist() == [3, 6]
    padded = ~batch.mask
    for field in (batch.channel, batch.event_type, batch.categorical, batch.features, batch.value):
        assert (field[padded] == 0).all()
    assert (batch.time.diff(dim=1) >= 0).all()
    assert batch.channel[1].tolist() == [2, 3, 4, 5, 6, 7]
    assert batch.channel.dtype == torch.int64
    assert batch.time.dtype == torch.float64
    assert batch.prior_events.tolist() == [0, 0]


def test_a_cut_history_says_how_much_is_missing() -> None:
    events = events_of([10])
    batch = collate(events, Windows(np.array([4]), np.array([9]), np.array([0])))
    assert batch.prior_events.tolist() == [4]
    assert batch.prior_days.tolist() == [4]
    assert batch.time[0, 0] == 4


def test_collating_does_not_write_to_the_store() -> None:
    events = events_of([3, 6])
    for name in EventArrays.__dataclass_fields__:
        getattr(events, name).flags.writeable = False
    collate(events, Windows(np.array([0, 3]), np.array([3, 9]), np.array([0, 1])))


def one_by_one(events: EventArrays, windows: Windows) -> JourneyBatch:
    """What `collate` gives, event by event."""
    steps = int(windows.length.max())

    def padded(column: NDArray[Any], *, repeat: bool = False) -> NDArray[Any]:
        rows = []
        for start, stop in zip(windows.start, windows.stop, strict=True):
            real = [column[i] for i in range(start, stop)]
            last = real[-1] if repeat else np.zeros_like(real[-1])
            rows.append(real + [last] * (steps - len(real)))
        return np.array(rows)

    def ids(column: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(column.astype(np.int64))

    first = events.offsets[windows.customer]
    days = (events.time[windows.start] - events.time[first]) / MICROSECONDS_PER_DAY
    return JourneyBatch(
        channel=ids(padded(events.channel)),
        event_type=ids(padded(events.event_type)),
        categorical=ids(padded(events.categorical)),
        time=torch.from_numpy(padded(events.time, repeat=True) / MICROSECONDS_PER_DAY),
        value=torch.from_numpy(padded(events.value)),
        features=torch.from_numpy(padded(events.features)),
        static_categorical=ids(events.static_categorical[windows.customer]),
        static_features=torch.from_numpy(events.static_features[windows.customer]),
        prior_days=torch.from_numpy(days.astype(np.float32)),
        prior_events=torch.from_numpy((windows.start - first).astype(np.float32)),
        mask=torch.from_numpy(padded(np.ones(events.n_events, dtype=np.bool_))),
    )


def collates_as_one_by_one(extra: int) -> None:
    """Random windows of random batches, those at the very end of the store among them."""
    rng = np.random.default_rng(0)
    events = events_of([*rng.integers(1, 30, 40).tolist(), 1], extra=extra)
    for size in (1, 2, 7, 41):
        customer = np.unique(np.append(rng.choice(41, size), 40))
        first, after = events.offsets[customer], events.offsets[customer + 1]
        start = rng.integers(first, after)
        windows = Windows(start, rng.integers(start, after) + 1, customer)
        expected, found = one_by_one(events, windows), collate(events, windows)
        for name, left, right in zip(JourneyBatch._fields, expected, found, strict=True):
            assert left.dtype == right.dtype, name
            assert torch.equal(left, right), name


@pytest.mark.parametrize("extra", [0, 2])
def test_collating_is_the_same_as_one_by_one(extra: int) -> None:
    collates_as_one_by_one(extra)


def test_padding_with_the_next_customer_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoPadding:
        def __getattr__(self, name: str) -> Any:
            if name == "flatnonzero":
                return lambda mask: np.flatnonzero(np.zeros_like(mask))
            return getattr(np, name)

    monkeypatch.setattr(batch_module, "np", NoPadding())
    with pytest.raises(AssertionError):
        collates_as_one_by_one(2)


History = Literal["newest", "windows"]
MAX_LENGTH = 8


def long_and_short() -> tuple[EventArrays, NDArray[np.int64]]:
    """Journeys, and the last event of each that lies in training."""
    lengths = [3, 40, 1, 8, 9, 12, 13, 100, 5]
    events = events_of(lengths)
    in_training = np.array([3, 33, 0, 8, 9, 12, 13, 77, 2])
    return events, np.where(in_training > 0, events.offsets[:-1] + in_training - 1, -1)


def plan(history: History) -> tuple[EventArrays, TrainingPlan]:
    events, newest = long_and_short()
    return events, plan_training(events, newest, MAX_LENGTH, history)


def asked_events(plan: TrainingPlan) -> list[tuple[int, int]]:
    """Each event that is asked about, with the window that shows its history."""
    return [
        (event, window)
        for window in range(len(plan.windows))
        for event in range(plan.asked_from[window], plan.windows.stop[window])
    ]


def test_every_event_of_the_training_period_is_asked_once_in_its_own_window() -> None:
    events, planned = plan("windows")
    _, newest = long_and_short()
    customer = np.repeat(np.arange(9), np.diff(events.offsets))
    asked = np.flatnonzero(np.arange(events.n_events) <= newest[customer])
    windows, index = plan_windows(events, customer[asked], asked, MAX_LENGTH)
    for left, right in zip(vars(windows).values(), vars(planned.windows).values(), strict=True):
        assert np.array_equal(left, right)
    assert asked_events(planned) == list(zip(asked.tolist(), index.tolist(), strict=True))


def test_the_newest_windows_are_the_last_ones_of_all() -> None:
    _, planned = plan("newest")
    _, newest = long_and_short()
    assert planned.windows.customer.tolist() == [0, 1, 3, 4, 5, 6, 7, 8]
    assert (planned.windows.stop == newest[newest >= 0] + 1).all()
    assert (planned.windows.length <= MAX_LENGTH).all()
    _, complete = plan("windows")
    assert set(asked_events(planned)) < {
        (event, int(np.flatnonzero(planned.windows.customer == owner)[0]))
        for event, window in asked_events(complete)
        for owner in [complete.windows.customer[window]]
    }


def depends_on_the_position_alone(events: EventArrays, planned: TrainingPlan) -> None:
    """What an event sees begins where it would if the event were the last of its journey."""
    for event, window in asked_events(planned):
        first = events.offsets[planned.windows.customer[window]]
        begins = window_start(np.array([event - first]), MAX_LENGTH)[0]
        assert planned.windows.start[window] - first == begins


@pytest.mark.parametrize("history", ["newest", "windows"])
def test_what_an_event_sees_does_not_depend_on_what_follows(history: History) -> None:
    depends_on_the_position_alone(*plan(history))


def test_a_window_that_ends_with_the_training_period_is_noticed() -> None:
    """The mutant: the newest events, whatever their position; it tells how many are to follow."""
    events, planned = plan("newest")
    windows = planned.windows
    start = np.maximum(events.offsets[windows.customer], windows.stop - MAX_LENGTH)
    mutant = TrainingPlan(Windows(start, windows.stop, windows.customer), start)
    with pytest.raises(AssertionError):
        depends_on_the_position_alone(events, mutant)


@pytest.mark.parametrize("history", ["newest", "windows"])
def test_the_true_age_and_count_are_told_of_what_is_not_shown(history: History) -> None:
    events, planned = plan(history)
    batch = collate(events, planned.windows)
    last = batch.mask.sum(dim=1) - 1
    for row, owner in enumerate(planned.windows.customer):
        seen = planned.windows.stop[row] - events.offsets[owner]
        assert int(batch.prior_events[row]) + int(last[row]) + 1 == seen
        since_first = batch.prior_days[row] + batch.time[row, last[row]] - batch.time[row, 0]
        assert float(since_first) == seen - 1  # an event a day
