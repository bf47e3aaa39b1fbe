"""From the states of a journey to one vector: the last state, or attention over all touches."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from seqmarket.nn.attention import attend_before, causal_weights
from seqmarket.nn.time_encoding import days_since_first
from seqmarket.tensors import JourneyBatch


def last_state(states: Tensor, mask: Tensor) -> Tensor:
    """The state after the last real event of each journey.

    Args:
        states: (B, T, D).
        mask: (B, T) bool, True at real events: a prefix of at least one.

    Returns:
        (B, D).
    """
    rows = torch.arange(states.size(0), device=states.device)
    return states[rows, mask.sum(dim=1) - 1]


class TouchPooling(nn.Module):
    """Each head looks back at all touches, whatever encoder made the states.

    One attention per head, from the state at an event to the states of it and the events before;
    what it finds is added to the state that the head reads. Its weights say which touches a
    prediction rests on. A learnt rate per head lets weights fade with the days passed.

    Source: attention over touches at the prediction head as in Li et al., "Deep neural net with
    attention for multi-channel multi-touch attribution" (2018).

    Attributes:
        width: Number of values that are appended to each state.
    """

    def __init__(self, d_model: int, n_heads: int, head_width: int = 16) -> None:
        """Builds it.

        Args:
            d_model: D, width of the encoder's states.
            n_heads: H, number of heads that read the states.
            head_width: W, width of each head's query, key and value.
        """
        super().__init__()
        self.d_model = d_model
        self.n_heads = n_heads
        self.head_width = head_width
        self.width = n_heads * head_width
        self.norm = nn.LayerNorm(d_model)
        self.qkv = nn.Linear(d_model, 3 * self.width, bias=False)
        self.fading = nn.Parameter(torch.full((n_heads,), -3.0))
        self.out = nn.Parameter(torch.zeros(n_heads, head_width, d_model))

    def forward(self, states: Tensor, batch: JourneyBatch) -> Tensor:
        """Appends what each head finds.

        Args:
            states: (B, T, D) of the encoder.
            batch: The batch they are of.

        Returns:
            (B, T, D + width), causal as the states are.
        """
        q, k, v, favour = self._parts(states, batch)
        return self._append(states, attend_before(q, k, v, favour))

    def with_weights(self, states: Tensor, batch: JourneyBatch, weights: Tensor) -> Tensor:
        """What `forward` appends if each head gives these (B, H, T, T) weights to the touches."""
        return self._append(states, weights @ self._parts(states, batch)[2])

    def read(self, state: Tensor, head: int) -> Tensor:
        """What one head reads, (N, D), of (N, D + width) states."""
        start = self.d_model + head * self.head_width
        found = state[:, start : start + self.head_width]
        return state[:, : self.d_model] + found @ self.out[head]

    def weights(self, states: Tensor, batch: JourneyBatch) -> Tensor:
        """(B, H, T, T) weight that head and event (rows) give to each touch (columns)."""
        q, k, _, favour = self._parts(states, batch)
        return causal_weights(q, k, favour)

    @staticmethod
    def _append(states: Tensor, found: Tensor) -> Tensor:
        """(B, T, D + width) of (B, T, D) and (B, H, T, W)."""
        return torch.cat([states, found.transpose(1, 2).flatten(2)], dim=-1)

    def _parts(self, states: Tensor, batch: JourneyBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        b, t, _ = states.shape
        qkv = self.qkv(self.norm(states)).view(b, t, 3, self.n_heads, self.head_width)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, T, W)
        days = days_since_first(batch.time, batch.mask).to(torch.float32)  # (B, T)
        favour = days.unsqueeze(1) * softplus(self.fading).view(1, -1, 1)  # (B, H, T)
        return q, k, v, favour
