from __future__ import annotations

import pytest
import torch

from seqmarket.errors import SeqmarketError
from seqmarket.nn.attention import (
    CausalSelfAttention,
    attend_before,
    causal_weights,
    fading_rates,
)
from seqmarket.nn.time_encoding import days_since_first
from seqmarket.schema import SequenceSpec
from seqmarket.tensors import JourneyBatch


def days_of(batch: JourneyBatch) -> torch.Tensor:
    return days_since_first(batch.time, batch.mask).float()


def test_shown_weights_are_those_of_the_fused_path(spec: SequenceSpec, batch: JourneyBatch) -> None:
    torch.manual_seed(0)
    attention = CausalSelfAttention(spec, d_model=16, n_heads=1)
    torch.nn.init.constant_(attention.rate, 0.3)
    x = 3.0 * torch.randn(2, 4, 16)
    y, weights = attention(x, days_of(batch), need_attention=True)
    fused, none = attention(x, days_of(batch), need_attention=False)
    values = attention.qkv(x)[..., 32:]
    torch.testing.assert_close(y, attention.out(weights @ values))
    assert torch.equal(y, fused)
    assert none is None


def test_weights_are_causal_distributions() -> None:
    weights = causal_weights(torch.randn(2, 3, 5, 8), torch.randn(2, 3, 5, 8))
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 5))
    assert (weights.triu(1) == 0).all()


def test_weights_fade_with_the_time_passed() -> None:
    """Among equal events, by a factor of e in as many days as the memory is long."""
    memory, days = 5.0, torch.tensor([0.0, 10.0, 11.0, 13.0])
    q = torch.ones(1, 1, 4, 8)
    favour = (days / memory).view(1, 1, 4)
    ages = days[-1] - days
    expected = torch.exp(-ages / memory) / torch.exp(-ages / memory).sum()
    torch.testing.assert_close(causal_weights(q, q, favour)[0, 0, -1], expected)
    v = torch.randn(1, 1, 4, 8)
    torch.testing.assert_close(attend_before(q, q, v, favour)[0, 0, -1], expected @ v[0, 0])


def test_heads_start_with_memories_from_none_fading_to_a_few_events(spec: SequenceSpec) -> None:
    event, day = fading_rates(spec, 4)
    assert event.tolist() == [0.5, 0.25, 0.125, 0.0625]
    assert day[0] == 0.0
    assert (1.0 / day[[1, 3]]).tolist() == pytest.approx([365.0, 8.0 * spec.time_scale])
    assert (day.diff() > 0).all()
    for n_heads in (1, 2):
        assert fading_rates(spec, n_heads).shape == (2, n_heads)


def test_weights_fade_with_the_events_in_between(spec: SequenceSpec, batch: JourneyBatch) -> None:
    """Equal events at one time: those of the first head by half an e-fold from event to event."""
    attention = CausalSelfAttention(spec, d_model=16, n_heads=1)
    x = torch.ones(2, 4, 16)
    weights = attention(x, torch.zeros(2, 4), need_attention=True)[1]
    ratio = weights[0, 3, 1:] / weights[0, 3, :3]
    torch.testing.assert_close(ratio, torch.full((3,), 0.5).exp())


def test_same_contents_at_other_times_attend_otherwise(
    spec: SequenceSpec, batch: JourneyBatch
) -> None:
    torch.manual_seed(0)
    attention = CausalSelfAttention(spec, 16, 4)
    x = 3.0 * torch.randn(2, 4, 16)
    later = batch.time.clone()
    later[:, 2:] += 10.0

    def attended(time: torch.Tensor) -> torch.Tensor:
        days = days_of(batch._replace(time=time))
        return attention(x, days, need_attention=False)[0]

    y, moved, shifted = attended(batch.time), attended(later), attended(batch.time + 9.0)
    assert (moved - y)[:, 2].abs().max() > 1e-3
    torch.testing.assert_close(moved[:, :2], y[:, :2])
    torch.testing.assert_close(shifted, y)


@pytest.mark.parametrize(("d_model", "n_heads"), [(64, 3), (21, 4), (64, 0)])
def test_widths_that_do_not_divide_are_refused(
    spec: SequenceSpec, d_model: int, n_heads: int
) -> None:
    with pytest.raises(SeqmarketError, match="multiple of n_heads"):
        CausalSelfAttention(spec, d_model, n_heads)
