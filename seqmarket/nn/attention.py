"""Causal self-attention that knows both the order of the events and the time between them.

Positions enter by rotation (Su et al., "RoFormer", 2021): query and key are turned by an angle, so
that their product depends on the difference of the angles. Here half of the angles grow with the
index of the event, half with continuous days, so that a head can look "three events back" and "a
week back". Nothing is added to the scores, which keeps the fused kernel.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from seqmarket.errors import SeqmarketError
from seqmarket.nn.time_encoding import SECOND, days_since_first
from seqmarket.schema import SequenceSpec
from seqmarket.tensors import JourneyBatch

LONGEST_PERIOD = 730.0
"""Days of the slowest rotation: within any shorter history its angle is unambiguous."""


def _rates(shortest: float, longest: float, count: int) -> Tensor:
    """(count,) float64 angular rates of periods spread geometrically from one to the other."""
    steps = torch.linspace(0.0, 1.0, count, dtype=torch.float64)
    return 2.0 * math.pi / (shortest * (max(longest, shortest) / shortest) ** steps)


class RotaryAngles(nn.Module):
    """Cosines and sines of the rotations of a batch, made once and used by every layer."""

    index_rate: Tensor
    time_rate: Tensor

    def __init__(self, spec: SequenceSpec, head_dim: int) -> None:
        """Builds the rates.

        Args:
            spec: For the longest journey and the pace of the log.
            head_dim: Width of a head, a multiple of 4: a quarter of it is pairs turned by index,
                a quarter pairs turned by time.
        """
        super().__init__()
        index_rate = _rates(2.0 * math.pi, 4.0 * spec.max_length, head_dim // 4)
        time_rate = _rates(4.0 * max(spec.time_scale, SECOND), LONGEST_PERIOD, head_dim // 4)
        self.register_buffer("index_rate", index_rate, persistent=False)
        self.register_buffer("time_rate", time_rate, persistent=False)

    def forward(self, batch: JourneyBatch) -> tuple[Tensor, Tensor]:
        """Returns cosines and sines, each (B, T, 1, head_dim / 2) float32."""
        days = days_since_first(batch.time, batch.mask).unsqueeze(-1)  # (B, T, 1)
        index = torch.arange(days.size(1), device=days.device, dtype=torch.float64).unsqueeze(-1)
        by_time = days * self.time_rate
        by_index = (index * self.index_rate).expand_as(by_time)
        angles = torch.cat([by_index, by_time], dim=-1).unsqueeze(2)
        # Reduced in float64: float32 would lose the phase of many turns.
        angles = torch.remainder(angles, 2.0 * math.pi).to(torch.float32)
        return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns the pairs (i, i + width / 2) of the last axis of `x` by their angles."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class CausalSelfAttention(nn.Module):
    """Multi-head attention from each event to itself and the events before it.

    With padding on the right, causality alone keeps padding out of every real event's state: no
    mask is needed. Weights are not dropped out, for which the fused CPU kernel has no path.
    """

    def __init__(self, d_model: int, n_heads: int) -> None:
        """Builds it.

        Args:
            d_model: D, width of the states.
            n_heads: H; D must be a multiple of four times this.

        Raises:
            SeqmarketError: If it is not.
        """
        super().__init__()
        if n_heads < 1 or d_model % (4 * n_heads) != 0:
            raise SeqmarketError(
                f"d_model must be a multiple of 4 * n_heads; got {d_model} and {n_heads}",
                where="model.d_model, model.n_heads",
                fix="choose, for example, model.d_model=64 model.n_heads=4",
            )
        self.n_heads = n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, need_attention: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Attends.

        Args:
            x: (B, T, D).
            cos: (B, T, 1, D / H / 2), from `RotaryAngles`.
            sin: The same shape.
            need_attention: Whether the weights are wanted; the output is the same either way.

        Returns:
            The output (B, T, D), and the weights (B, T, T) averaged over heads, or None.
        """
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.n_heads, d // self.n_heads).unbind(dim=2)
        q = rotate(q, cos, sin).transpose(1, 2)  # (B, H, T, D / H)
        k = rotate(k, cos, sin).transpose(1, 2)
        y = scaled_dot_product_attention(q, k, v.transpose(1, 2), is_causal=True)
        weights: Tensor | None = None
        if need_attention:
            weights = causal_weights(q, k).mean(dim=1)
        return self.out(y.transpose(1, 2).reshape(b, t, d)), weights


def causal_weights(q: Tensor, k: Tensor) -> Tensor:
    """The softmax weights (B, H, T, T) that the fused kernel uses and does not show.

    Args:
        q: (B, H, T, head width) rotated queries.
        k: The keys, of the same shape.
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))
    ahead = torch.ones(q.size(2), q.size(2), dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(ahead, float("-inf")).softmax(dim=-1)


class TransformerBlock(nn.Module):
    """Attention, then a two-layer perceptron, each on normed input and added to the states.

    Pre-norm after Xiong et al., "On Layer Normalization in the Transformer Architecture" (2020).
    LayerNorm and GELU rather than RMSNorm and SwiGLU: their CPU kernels are fused and a quarter,
    respectively half, of the time.
    """

    def __init__(self, d_model: int, n_heads: int, mlp_ratio: int, dropout: float) -> None:
        """Builds it.

        Args:
            d_model: D, width of the states.
            n_heads: H, see `CausalSelfAttention`.
            mlp_ratio: Width of the perceptron's hidden layer, in D.
            dropout: Probability that an output of either part is dropped in training.
        """
        super().__init__()
        self.attention_norm = nn.LayerNorm(d_model, bias=False)
        self.attention = CausalSelfAttention(d_model, n_heads)
        self.mlp = nn.Sequential(
            nn.LayerNorm(d_model, bias=False),
            nn.Linear(d_model, mlp_ratio * d_model),
            nn.GELU(),
            nn.Linear(mlp_ratio * d_model, d_model),
            nn.Dropout(dropout),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, need_attention: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Same arguments and returns as `CausalSelfAttention.forward`."""
        y, weights = self.attention(self.attention_norm(x), cos, sin, need_attention)
        x = x + self.dropout(y)
        return x + self.mlp(x), weights
