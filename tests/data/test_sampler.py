"""Which windows are batched together: each once, little padding, and as many steps everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from seqmarket.data.sampler import Batches, evaluation_batches, training_batches
from seqmarket.errors import SeqmarketError

LENGTHS = np.random.default_rng(3).geometric(0.05, 3_000).astype(np.int64)


def covers_once(batches: Batches, n: int) -> None:
    assert sorted(np.concatenate(batches).tolist()) == list(range(n))


def real_share(length: NDArray[np.int64], batches: Batches) -> float:
    return float(length.sum() / sum(length[b].max() * len(b) for b in batches))


def test_training_batches_hold_every_window_once_and_little_padding() -> None:
    batches = training_batches(LENGTHS, 32, seed=1, epoch=0)
    covers_once(batches, len(LENGTHS))
    assert max(len(b) for b in batches) == 32
    assert real_share(LENGTHS, batches) > 0.75


def test_a_pool_of_one_batch_makes_random_batches() -> None:
    at_random = training_batches(LENGTHS, 32, seed=1, epoch=0, pool=1)
    covers_once(at_random, len(LENGTHS))
    shares = [
        real_share(LENGTHS, training_batches(LENGTHS, 32, seed=1, epoch=0, pool=pool))
        for pool in (4, 16)
    ]
    assert real_share(LENGTHS, at_random) < shares[0] < shares[1]


def keeps_to_the_budget(length: NDArray[np.int64], batches: Batches, tokens: int) -> None:
    assert all(length[b].max() * len(b) <= tokens for b in batches)


@pytest.mark.parametrize("tokens", [2_048, 8_192, 32_768])
def test_a_token_budget_is_kept_and_used(tokens: int) -> None:
    """50,000 journeys of a retailer: median 20 events, 99th percentile about 300, cut at 128."""
    rng = np.random.default_rng(0)
    length = np.exp(rng.normal(np.log(20), 1.16, 50_000)).astype(np.int64).clip(1, 128)
    batches = training_batches(length, 16, seed=1, epoch=0, tokens=tokens)
    covers_once(batches, len(length))
    keeps_to_the_budget(length, batches, tokens)
    assert real_share(length, batches) > 0.95
    # Most batches are full, and no epoch is like another.
    assert len(batches) < 1.08 * length.sum() / tokens + 1
    assert not same(batches, training_batches(length, 16, seed=1, epoch=1, tokens=tokens))
    # The mutant: as many journeys in every batch, with the same mean.
    with pytest.raises(AssertionError):
        mean = len(length) // len(batches)
        keeps_to_the_budget(length, training_batches(length, mean, seed=1, epoch=0), tokens)


def test_a_journey_longer_than_the_budget_is_alone() -> None:
    batches = training_batches(np.array([50, 3, 3, 60, 4]), 16, seed=1, epoch=0, tokens=20)
    assert sorted(sorted(b.tolist()) for b in batches) == [[0], [1, 2, 4], [3]]


def same(left: Batches, right: Batches) -> bool:
    return len(left) == len(right) and all(map(np.array_equal, left, right))


@pytest.mark.parametrize("tokens", [None, 500])
def test_the_order_is_a_function_of_seed_and_epoch(tokens: int | None) -> None:
    first = training_batches(LENGTHS, 32, seed=1, epoch=0, tokens=tokens)
    assert same(first, training_batches(LENGTHS, 32, seed=1, epoch=0, tokens=tokens))
    assert not same(first, training_batches(LENGTHS, 32, seed=1, epoch=1, tokens=tokens))
    assert not same(first, training_batches(LENGTHS, 32, seed=2, epoch=0, tokens=tokens))


def dealt(batches: Batches, world_size: int) -> list[Batches]:
    return [batches[rank::world_size] for rank in range(world_size)]


def deals_fairly(parts: list[Batches], n: int) -> None:
    assert len({len(part) for part in parts}) == 1
    assert all(len(batch) for part in parts for batch in part)
    covers_once([batch for part in parts for batch in part], n)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("n", [7, 8, 13, 100, 3_000])
@pytest.mark.parametrize("budget", [{"batch_size": 1}, {"batch_size": 16}, {"tokens": 300}])
def test_processes_take_as_many_steps_and_share_every_window_once(
    world_size: int, n: int, budget: dict[str, int]
) -> None:
    size, tokens = budget.get("batch_size", 16), budget.get("tokens")
    for epoch in range(3):
        batches = training_batches(
            LENGTHS[:n], size, tokens=tokens, seed=1, epoch=epoch, world_size=world_size
        )
        deals_fairly(dealt(batches, world_size), n)
        alone = training_batches(LENGTHS[:n], size, tokens=tokens, seed=1, epoch=epoch)
        assert len(batches) - len(alone) < world_size
        if tokens is not None:
            keeps_to_the_budget(LENGTHS[:n], batches, tokens)
        elif size > 1:
            assert max(map(len, batches)) <= size


def repeating(batches: Batches, world_size: int) -> Batches:
    """The mutant: what is missing in the last step is taken from the first one again."""
    return [*batches, *batches[: -len(batches) % world_size]]


def dropping(batches: Batches, world_size: int) -> Batches:
    """The mutant: a last step that not every process has is left out."""
    return batches[: len(batches) // world_size * world_size]


def test_repeated_or_dropped_windows_are_noticed() -> None:
    batches = training_batches(LENGTHS, 16, seed=1, epoch=0)
    assert len(batches) % 3
    for mutant in (repeating, dropping):
        with pytest.raises(AssertionError):
            deals_fairly(dealt(mutant(batches, 3), 3), len(LENGTHS))


def waste(batches: Batches, world_size: int) -> float:
    """Share of the time that processes wait for the slowest of their step."""
    cost = np.array([LENGTHS[b].max() * len(b) for b in batches]).reshape(-1, world_size)
    return float(1 - cost.sum() / (cost.max(axis=1).sum() * world_size))


def test_no_process_waits_long_for_the_others() -> None:
    batches = training_batches(LENGTHS, 16, seed=1, epoch=0, world_size=4)
    assert waste(batches, 4) < 0.15
    shuffled = [batches[i] for i in np.random.default_rng(0).permutation(len(batches))]
    assert waste(shuffled, 4) > 0.3


def test_more_processes_than_journeys_are_refused() -> None:
    with pytest.raises(SeqmarketError, match="4 processes cannot share 3"):
        training_batches(LENGTHS[:3], 16, seed=1, epoch=0, world_size=4)


def test_evaluation_batches_keep_to_the_token_budget() -> None:
    batches = evaluation_batches(LENGTHS, 1_000)
    covers_once(batches, len(LENGTHS))
    assert all(LENGTHS[b].max() * len(b) <= 1_000 for b in batches)
    alone = evaluation_batches(np.array([5_000, 3]), 1_000)
    assert [len(b) for b in alone] == [1, 1]


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("n", [1, 2, 10, 3_000])
def test_evaluation_shares_every_window_once(world_size: int, n: int) -> None:
    parts = dealt(evaluation_batches(LENGTHS[:n], 1_000, at_least=world_size), world_size)
    covers_once([batch for part in parts for batch in part], n)
