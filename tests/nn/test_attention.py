from __future__ import annotations

import pytest
import torch

from seqmarket.errors import SeqmarketError
from seqmarket.nn.attention import CausalSelfAttention, RotaryAngles, causal_weights, rotate
from seqmarket.schema import SequenceSpec
from seqmarket.tensors import JourneyBatch


def test_shown_weights_are_those_of_the_fused_path(spec: SequenceSpec, batch: JourneyBatch) -> None:
    torch.manual_seed(0)
    attention = CausalSelfAttention(d_model=16, n_heads=1)
    x = 3.0 * torch.randn(2, 4, 16)
    cos, sin = RotaryAngles(spec, head_dim=16)(batch)
    y, weights = attention(x, cos, sin, need_attention=True)
    fused, none = attention(x, cos, sin, need_attention=False)
    values = attention.qkv(x)[..., 32:]
    torch.testing.assert_close(y, attention.out(weights @ values))
    assert torch.equal(y, fused)
    assert none is None


def test_weights_are_causal_distributions() -> None:
    weights = causal_weights(torch.randn(2, 3, 5, 8), torch.randn(2, 3, 5, 8))
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 5))
    assert (weights.triu(1) == 0).all()


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
    attention, angles = CausalSelfAttention(16, 2), RotaryAngles(spec, head_dim=8)
    x = 3.0 * torch.randn(2, 4, 16)
    later = batch.time.clone()
    later[:, 2:] += 10.0
    y, _ = attention(x, *angles(batch), need_attention=False)
    moved, _ = attention(x, *angles(batch._replace(time=later)), need_attention=False)
    shifted, _ = attention(x, *angles(batch._replace(time=batch.time + 9.0)), need_attention=False)
    assert (moved - y)[:, 2].abs().max() > 1e-3
    torch.testing.assert_close(moved[:, :2], y[:, :2])
    torch.testing.assert_close(shifted, y)


@pytest.mark.parametrize(("d_model", "n_heads"), [(64, 3), (20, 2), (64, 0)])
def test_widths_that_do_not_divide_are_refused(d_model: int, n_heads: int) -> None:
    with pytest.raises(SeqmarketError, match="multiple of 4"):
        CausalSelfAttention(d_model, n_heads)
