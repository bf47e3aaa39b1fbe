"""Attention by plain matrix products, where they are faster than the fused kernel.

That is training in bfloat16 on a CPU: there, the fused kernel's backward pass alone takes longer
than all of this. The weights are held, so memory grows with the square of T.

Shape legend: B journeys, T events of the longest, H heads, W width of a head, D = H W.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

LONGEST = 512
"""Longer journeys are left to the fused kernel."""

_MORE = 8
"""Coordinates beside those of a head: four are used, eight keep rows aligned."""


@torch.jit.unused
def explicit_pays(qkv: Tensor) -> bool:
    """Whether (B, T, 3 D) projections are better attended to explicitly."""
    cheap = qkv.dtype == torch.bfloat16 and qkv.device.type == "cpu"
    return cheap and qkv.size(1) <= LONGEST


@torch.jit.unused
def explicit_attention(qkv: Tensor, favour: Tensor, n_heads: int) -> Tensor:
    """Causal attention that favours some events; see `seqmarket.nn.attention.attend_before`.

    Args:
        qkv: (B, T, 3 D) queries, keys and values.
        favour: (B, H, T) float32, added to the score of each event.
        n_heads: H.

    Returns:
        (B, T, D).
    """
    return _Explicit.apply(qkv, favour, n_heads)  # type: ignore[no-any-return, no-untyped-call]


class _Explicit(Function):
    """With a backward pass of its own, which holds no more than it needs."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, favour: Tensor, n_heads: int) -> Tensor:
        b, t, d = qkv.size(0), qkv.size(1), qkv.size(2) // 3
        w = d // n_heads
        parts = qkv.view(b, t, 3, n_heads, w).permute(2, 0, 3, 1, 4)  # (3, B, H, T, W)
        scale = 1.0 / math.sqrt(w)
        qk = qkv.new_empty(2, b, n_heads, t, w + _MORE)
        qk[..., :w] = parts[:2]
        _append(qk[..., w:], favour / scale)
        q, k = qk.view(2, b * n_heads, t, w + _MORE)
        v = parts[2].reshape(b * n_heads, t, w)
        ahead = qkv.new_full((t, t), -math.inf).triu(1)
        with torch.autocast("cpu", enabled=False):  # it would make the softmax float32
            p = torch.baddbmm(ahead, q, k.transpose(1, 2), alpha=scale).softmax(dim=-1)
            y = torch.bmm(p, v)  # (B H, T, W)
        ctx.save_for_backward(q, k, v, p, y)
        return y.view(b, n_heads, t, w).transpose(1, 2).reshape(b, t, d)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        q, k, v, p, y = ctx.saved_tensors
        b, t, d = grad.shape
        w = v.size(2)
        n_heads = d // w
        dy = grad.view(b, t, n_heads, w).transpose(1, 2).reshape(b * n_heads, t, w)
        dv = torch.bmm(p.transpose(1, 2), dy)
        # What the softmax takes off each row is the mean of its gradients by p (Dao et al.,
        # "FlashAttention", 2022), known before they are.
        mean = (dy * y).sum(dim=2, keepdim=True)
        ds = torch.baddbmm(mean, dy, v.transpose(1, 2), beta=-1).mul_(p)  # (B H, T, T)
        scale = 1.0 / math.sqrt(w)
        dqkv = grad.new_empty(b, t, 3, n_heads, w)
        parts = dqkv.permute(2, 0, 3, 1, 4)  # (3, B, H, T, W)
        each = (b, n_heads, t, -1)
        torch.mul(torch.bmm(ds, k[..., :w]).view(each), scale, out=parts[0])
        dk = torch.bmm(ds.transpose(1, 2), q[..., : w + 1]).view(each)  # with the favour's
        torch.mul(dk[..., :w], scale, out=parts[1])
        parts[2].copy_(dv.view(each))
        return dqkv.view(b, t, 3 * d), dk[..., w].to(torch.float32), None


def _append(more: Tensor, favour: Tensor) -> None:
    """Makes the product of a query and a key larger by the key's favour less the query's.

    What all scores of a query have in common does not change their softmax. Without it, the favour
    of recent events would be too large for the 8 bits of a bfloat16; and it takes two of them to
    hold a favour.
    """
    large = favour.to(more.dtype)
    small = (favour - large.to(favour.dtype)).to(more.dtype)
    more[0, ..., 0:2] = 1.0
    more[0, ..., 2] = -large
    more[0, ..., 3] = -small
    more[0, ..., 4:] = 0.0
    more[1, ..., 0] = large
    more[1, ..., 1] = small
    more[1, ..., 2:4] = 1.0
    more[1, ..., 4:] = 0.0
