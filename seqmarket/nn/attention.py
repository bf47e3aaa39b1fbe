"""Causal self-attention that knows both the order of the events and the time between them.

Both enter by fading: each head has a learnt rate at which its weights fall off with the events in
between, and one at which they fall off with the days passed, so that there are heads for "the last
few events", for "last week", and for all there is. After Press et al., "Train short, test long"
(2022), where the rates are fixed and count tokens. Neither needs a (T, T) bias, and both mean the
same in a longer history than training has shown.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from seqmarket.errors import SeqmarketError
from seqmarket.nn.dropout import ChannelDropout
from seqmarket.nn.explicit_attention import explicit_attention, explicit_pays
from seqmarket.nn.time_encoding import SECOND
from seqmarket.schema import SequenceSpec


def fading_rates(spec: SequenceSpec, n_heads: int) -> Tensor:
    """The rates at which heads start.

    Returns:
        (2, n_heads): per event, halved from head to head; and per day, from none at the first
        head, then from a year to the time of a few events.
    """
    event = 2.0 ** -torch.arange(1.0, n_heads + 1.0, dtype=torch.float64)
    longest, shortest = 365.0, max(8.0 * spec.time_scale, SECOND)
    steps = torch.linspace(0.0, 1.0, max(n_heads - 1, 1), dtype=torch.float64)
    memory = longest * (min(shortest, longest) / longest) ** steps  # days
    day = torch.cat([torch.zeros(1, dtype=torch.float64), 1.0 / memory])[:n_heads]
    return torch.stack([event, day]).float()


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
            n_heads: H; D must be a multiple of this.

        Raises:
            SeqmarketError: If it is not.
        """
        super().__init__()
        if n_heads < 1 or d_model % n_heads != 0:
            raise SeqmarketError(
                f"d_model must be a multiple of n_heads; got {d_model} and {n_heads}",
                where="model.d_model, model.n_heads",
                fix="choose, for example, model.d_model=64 model.n_heads=4",
            )
        self.n_heads = n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)
        # Learnt as a factor, as the rates differ by orders of magnitude.
        self.register_buffer("rate", fading_rates(spec, n_heads), persistent=False)
        self.log_factor = nn.Parameter(torch.zeros(2, n_heads))

    def forward(
        self, x: Tensor, days: Tensor, need_attention: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Attends.

        Args:
            x: (B, T, D).
            days: (B, T) float32 days since the first event.
            need_attention: Whether the weights are wanted; the output is the same either way.

        Returns:
            The output (B, T, D), and the weights (B, T, T) averaged over heads, or None.
        """
        b, t, d = x.shape
        per_event, per_day = (self.rate * self.log_factor.exp()).unsqueeze(2).unbind(0)  # (H, 1)
        index = torch.arange(t, device=x.device, dtype=torch.float32)
        favour = per_event * index + per_day * days.unsqueeze(1)  # (B, H, T)
        projected = self.qkv(x)  # (B, T, 3 D)
        scripting = torch.jit.is_scripting()  # type: ignore[attr-defined]
        if not scripting and not need_attention and explicit_pays(projected):
            return self.out(explicit_attention(projected, favour, self.n_heads)), None
        qkv = projected.view(b, t, 3, self.n_heads, d // self.n_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, T, D / H)
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
        q: (B, H, T, head width) queries.
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

    Pre-norm after Xiong et al., "On Layer Normalization in the Transformer Architecture" (2020);
    dropout of whole channels. LayerNorm and ReLU rather than RMSNorm and GELU: on a CPU a quarter
    and a third of the time, ReLU at a small price on the next channel (docs/adr/0021).
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
            nn.ReLU(),
            nn.Linear(mlp_ratio * d_model, d_model, bias=False),
        )
        self.dropout = ChannelDropout(dropout)

    def forward(
        self, x: Tensor, days: Tensor, need_attention: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Same arguments and returns as `CausalSelfAttention.forward`."""
        y, weights = self.attention(self.attention_norm(x), days, need_attention)
        x = self.dropout.add(x, y)
        return self.dropout.add(x, self.mlp(x)), weights
