from __future__ import annotations

import pytest
import torch

from seqmarket.errors import SeqmarketError
from seqmarket.nn.attention import (
    CausalSelfAttention,
    RotaryAngles,
    attend_before,
    causal_weights,
    fading_rates,
    rotate,
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
    cos, sin = RotaryAngles(spec, head_dim=16)(4)
    y, weights = attention(x, days_of(batch), cos, sin, need_attention=True)
    fused, none = attention(x, days_of(batch), cos, sin, need_attention=False)
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
    rates = fading_rates(spec, 4)
    assert rates[0] == 0.0
    assert (1.0 / rates[[1, 3]]).tolist() == pytest.approx([365.0, 8.0 * spec.time_scale])
    assert (rates.diff() > 0).all()
    for n_heads in (1, 2):
        assert len(fading_rates(spec, n_heads)) == n_heads


def test_rotation_makes_products_depend_on_differences() -> None:
    q, k = torch.randn(8), torch.randn(8)
    a, b, shift = torch.rand(4), torch.rand(4), 0.7

    def product(by_q: torch.Tensor, by_k: torch.Tensor) -> torch.Tensor:
        return rotate(q, by_q.cos(), by_q.sin()) @ rotate(k, by_k.cos(), by_k.sin())

    torch.testing.assert_close(product(a + shift, b + shift), product(a, b))
    assert (product(a + shift, b) - product(a, b)).abs() > 1e-3


def test_same_contents_at_other_times_attend_otherwise(
    spec: SequenceSpec, batch: JourneyBatch
) -> None:
    torch.manual_seed(0)
    attention, angles = CausalSelfAttention(spec, 16, 4), RotaryAngles(spec, head_dim=4)(4)
    x = 3.0 * torch.randn(2, 4, 16)
    later = batch.time.clone()
    later[:, 2:] += 10.0

    def attended(time: torch.Tensor) -> torch.Tensor:
        days = days_of(batch._replace(time=time))
        return attention(x, days, *angles, need_attention=False)[0]

    y, moved, shifted = attended(batch.time), attended(later), attended(batch.time + 9.0)
    assert (moved - y)[:, 2].abs().max() > 1e-3
    torch.testing.assert_close(moved[:, :2], y[:, :2])
    torch.testing.assert_close(shifted, y)


@pytest.mark.parametrize(("d_model", "n_heads"), [(64, 3), (20, 4), (64, 0)])
def test_widths_that_do_not_divide_are_refused(
    spec: SequenceSpec, d_model: int, n_heads: int
) -> None:
    with pytest.raises(SeqmarketError, match="multiple of 2"):
        CausalSelfAttention(spec, d_model, n_heads)
