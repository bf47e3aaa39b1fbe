"""Windows and padding: every row sees its own past, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from seqmarket.data.batch import Windows, collate, plan_windows, window_start
from seqmarket.data.sampler import Batches, evaluation_batches, shard, training_batches
from seqmarket.schema import MICROSECONDS_PER_DAY, EventArrays


def events_of(lengths: list[int]) -> EventArrays:
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
        categorical=rng.integers(1, 5, (n, 2)).astype(np.int32),
        features=rng.random((n, 3)).astype(np.float32),
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


LENGTHS = np.random.default_rng(3).geometric(0.05, 3_000).astype(np.int64)


def covers_once(batches: Batches, n: int) -> None:
    assert sorted(np.concatenate(batches).tolist()) == list(range(n))


def test_training_batches_hold_every_window_once_and_little_padding() -> None:
    batches = training_batches(LENGTHS, 32, seed=1, epoch=0)
    covers_once(batches, len(LENGTHS))
    padded = sum(LENGTHS[b].max() * len(b) for b in batches)
    assert LENGTHS.sum() / padded > 0.75


def same(left: Batches, right: Batches) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    first = training_batches(LENGTHS, 32, seed=1, epoch=0)
    assert same(first, training_batches(LENGTHS, 32, seed=1, epoch=0))
    assert not same(first, training_batches(LENGTHS, 32, seed=1, epoch=1))
    assert not same(first, training_batches(LENGTHS, 32, seed=2, epoch=0))


def test_evaluation_batches_keep_to_the_token_budget() -> None:
    batches = evaluation_batches(LENGTHS, 1_000)
    covers_once(batches, len(LENGTHS))
    assert all(LENGTHS[b].max() * len(b) <= 1_000 for b in batches)
    alone = evaluation_batches(np.array([5_000, 3]), 1_000)
    assert [len(b) for b in alone] == [1, 1]


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_shards_share_the_work(world_size: int) -> None:
    batches: list[NDArray[np.int64]] = [np.array([i]) for i in range(10)]
    exact = [shard(batches, rank, world_size, even=False) for rank in range(world_size)]
    covers_once([b for part in exact for b in part], 10)
    even = [shard(batches, rank, world_size, even=True) for rank in range(world_size)]
    assert len({len(part) for part in even}) == 1
    assert {int(b[0]) for part in even for b in part} == set(range(10))
