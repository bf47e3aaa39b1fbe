"""Causal self-attention that knows both the order of the events and the time between them.

Order enters by rotation (Su et al., "RoFormer", 2021): query and key are turned by an angle that
grows with the index of the event, so that their product depends on how many events lie between.
Time enters by fading: each head has a learnt rate at which its weights fall off with the days
passed, from none to within days, so that a head can look "three events back" and "at last week".
Neither needs a (T, T) bias, and both mean the same in a longer history than training has shown;
rotation by continuous days does not.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from seqmarket.errors import SeqmarketError
from seqmarket.nn.time_encoding import SECOND
from seqmarket.schema import SequenceSpec


class RotaryAngles(nn.Module):
    """Cosines and sines of the rotations, made once per batch and used by every layer."""

    rate: Tensor

    def __init__(self, spec: SequenceSpec, head_dim: int) -> None:
        """Builds the rates.

        Args:
            spec: For the longest journey.
            head_dim: Width of a head, a multiple of 2.
        """
        super().__init__()
        # From one radian per event to a quarter turn over the longest journey.
        steps = torch.linspace(0.0, 1.0, head_dim // 2)
        slowest = 0.5 * math.pi / max(spec.max_length, 2)
        self.register_buffer("rate", slowest**steps, persistent=False)

    def forward(self, length: int) -> tuple[Tensor, Tensor]:
        """Returns cosines and sines of the first events, each (length, head_dim / 2)."""
        index = torch.arange(length, device=self.rate.device, dtype=self.rate.dtype)
        angles = index.unsqueeze(1) * self.rate
        return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns the pairs (i, i + width / 2) of the last axis of `x` by their angles."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def fading_rates(spec: SequenceSpec, n_heads: int) -> Tensor:
    """(n_heads,) rates per day at which heads start: none, then from a year to a few events."""
    longest, shortest = 365.0, max(8.0 * spec.time_scale, SECOND)
    steps = torch.linspace(0.0, 1.0, max(n_heads - 1, 1), dtype=torch.float64)
    memory = longest * (min(shortest, longest) / longest) ** steps  # days
    return torch.cat([torch.zeros(1, dtype=torch.float64), 1.0 / memory])[:n_heads].float()


class CausalSelfAttention(nn.Module):
    """Multi-head attention from each event to itself and the events before it.

    With padding on the right, causality alone keeps padding out of every real event's state: no
    mask is needed. Weights are not dropped out, for which the fused CPU kernel has no path.
    """

    rate: Tensor

    def __init__(self, spec: SequenceSpec, d_model: int, n_heads: int) -> None:
        """Builds it.

        Args:
            spec: For the pace of the log.
            d_model: D, width of the states.
            n_heads: H; D must be a multiple of two times this.

        Raises:
            SeqmarketError: If it is not.
        """
        super().__init__()
        if n_heads < 1 or d_model % (2 * n_heads) != 0:
            raise SeqmarketError(
                f"d_model must be a multiple of 2 * n_heads; got {d_model} and {n_heads}",
                where="model.d_model, model.n_heads",
                fix="choose, for example, model.d_model=64 model.n_heads=4",
            )
        self.n_heads = n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)
        # Learnt as a factor, as the rates differ by orders of magnitude.
        self.register_buffer("rate", fading_rates(spec, n_heads), persistent=False)
        self.log_factor = nn.Parameter(torch.zeros(n_heads))

    def forward(
        self, x: Tensor, days: Tensor, cos: Tensor, sin: Tensor, need_attention: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Attends.

        Args:
            x: (B, T, D).
            days: (B, T) float32 days since the first event.
            cos: (T, D / H / 2), from `RotaryAngles`.
            sin: The same shape.
            need_attention: Whether the weights are wanted; the output is the same either way.

        Returns:
            The output (B, T, D), and the weights (B, T, T) averaged over heads, or None.
        """
        b, t, d = x.shape
        qkv = self.qkv(x).view(b, t, 3, self.n_heads, d // self.n_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, T, D / H)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        rate = self.rate * self.log_factor.exp()
        favour = days.unsqueeze(1) * rate.view(1, -1, 1)  # (B, H, T)
        y = attend_before(q, k, v, favour)
        weights: Tensor | None = None
        if need_attention:
            weights = causal_weights(q, k, favour).mean(dim=1)
        return self.out(y.transpose(1, 2).reshape(b, t, d)), weights


def attend_before(q: Tensor, k: Tensor, v: Tensor, favour: Tensor) -> Tensor:
    """Causal attention whose scores favour some events over others.

    The favour of an event is the same for all that look back at it. With a rate times its time it
    makes the weights fade exponentially with the time passed, as the part of the asking event
    drops out of the softmax (as in ALiBi: Press et al., "Train short, test long", 2022, by
    distance there): no (T, T) bias is needed.

    Args:
        q: (B, H, T, W) queries.
        k: Keys, of the same shape.
        v: Values, of the same shape.
        favour: (B, H, T) float32, added to the score of each event.

    Returns:
        (B, H, T, W).
    """
    width = q.size(-1)
    # As one more coordinate of the keys, which the kernel does not divide by its scale.
    bias = favour.unsqueeze(-1) * math.sqrt(width)
    q = torch.cat([q, torch.ones_like(q[..., :1])], dim=-1)
    k = torch.cat([k, bias.to(k.dtype)], dim=-1)
    # The fused kernel takes values as wide as the keys only.
    v = torch.cat([v, torch.zeros_like(v[..., :1])], dim=-1)
    scale = 1.0 / math.sqrt(width)
    return scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)[..., :width]


def causal_weights(q: Tensor, k: Tensor, favour: Tensor | None = None) -> Tensor:
    """The softmax weights (B, H, T, T) that the fused kernel uses and does not show.

    Args:
        q: (B, H, T, head width) rotated queries.
        k: The keys, of the same shape.
        favour: (B, H, T) added to the score of each event; see `attend_before`.
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))
    if favour is not None:
        scores = scores + favour.unsqueeze(2)
    ahead = torch.ones(q.size(2), q.size(2), dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(ahead, float("-inf")).softmax(dim=-1)


class TransformerBlock(nn.Module):
    """Attention, then a two-layer perceptron, each on normed input and added to the states.

    Pre-norm after Xiong et al., "On Layer Normalization in the Transformer Architecture" (2020).
    LayerNorm and GELU rather than RMSNorm and SwiGLU: their CPU kernels are fused and a quarter,
    respectively half, of the time.
    """

    def __init__(
        self, spec: SequenceSpec, d_model: int, n_heads: int, mlp_ratio: int, dropout: float
    ) -> None:
        """Builds it.

        Args:
            spec: For the pace of the log.
            d_model: D, width of the states.
            n_heads: H, see `CausalSelfAttention`.
            mlp_ratio: Width of the perceptron's hidden layer, in D.
            dropout: Probability that an output of either part is dropped in training.
        """
        super().__init__()
        self.attention_norm = nn.LayerNorm(d_model, bias=False)
        self.attention = CausalSelfAttention(spec, d_model, n_heads)
        self.mlp = nn.Sequential(
            nn.LayerNorm(d_model, bias=False),
            nn.Linear(d_model, mlp_ratio * d_model),
            nn.GELU(),
            nn.Linear(mlp_ratio * d_model, d_model),
            nn.Dropout(dropout),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, days: Tensor, cos: Tensor, sin: Tensor, need_attention: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Same arguments and returns as `CausalSelfAttention.forward`."""
        y, weights = self.attention(self.attention_norm(x), days, cos, sin, need_attention)
        x = x + self.dropout(y)
        return x + self.mlp(x), weights
