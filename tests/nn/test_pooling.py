from __future__ import annotations

import torch

from seqmarket.nn.pooling import TouchPooling, last_state
from seqmarket.tensors import JourneyBatch


def test_last_state_is_that_of_the_last_real_event() -> None:
    states = torch.arange(12.0).view(2, 3, 2)
    mask = torch.tensor([[True, False, False], [True, True, True]])
    assert last_state(states, mask).tolist() == [[0.0, 1.0], [10.0, 11.0]]


def test_weights_are_distributions_over_the_touches_up_to_each(batch: JourneyBatch) -> None:
    torch.manual_seed(0)
    weights = TouchPooling(8, n_heads=3).weights(torch.randn(2, 4, 8), batch)
    assert weights.shape == (2, 3, 4, 4)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3, 4))
    assert (weights.triu(1) == 0).all()


def test_what_is_found_is_the_weighted_sum_of_the_touches(batch: JourneyBatch) -> None:
    torch.manual_seed(0)
    pooling, states = TouchPooling(8, n_heads=2, head_width=4), torch.randn(2, 4, 8)
    values = pooling.qkv(pooling.norm(states))[..., 16:].view(2, 4, 2, 4).transpose(1, 2)
    found = (pooling.weights(states, batch) @ values).transpose(1, 2).flatten(2)
    torch.testing.assert_close(pooling(states, batch), torch.cat([states, found], dim=-1))


def test_at_first_heads_read_the_state_itself(batch: JourneyBatch) -> None:
    pooling, states = TouchPooling(8, n_heads=2), torch.randn(2, 4, 8)
    wide = pooling(states, batch)
    assert wide.shape == (2, 4, 8 + pooling.width)
    for head in range(2):
        assert torch.equal(pooling.read(wide[:, -1], head), states[:, -1])


def test_older_touches_fade(batch: JourneyBatch) -> None:
    """Equal touches differ by their age alone."""
    pooling = TouchPooling(8, n_heads=1)
    torch.nn.init.constant_(pooling.fading, 1.0)
    newest = pooling.weights(torch.ones(2, 4, 8), batch)[0, 0, -1]
    days = batch.time[0, -1] - batch.time[0]
    torch.testing.assert_close(
        newest, torch.softmax(-days * torch.nn.functional.softplus(torch.tensor(1.0)), 0).float()
    )
