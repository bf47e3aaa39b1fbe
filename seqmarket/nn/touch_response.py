"""What touches do to the rate of purchases: fading, saturating memories, and a small network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import tanh

_SPREAD_OF_LIFE = 0.7
_SPREAD_OF_SATURATION = 0.5
_USUAL_SATURATION = 2.0


class TouchResponse(nn.Module):
    """The logarithm of how many times as likely a purchase is, by the touches before it.

    Each channel has a memory of its touches, which fades with a half-life of its own and saturates.
    What the memories do adds up channel by channel, and a small network adds what channels do
    together. Without a touch, it is exactly 0.

        K  channels     N  moments     P  pairs of a moment and an earlier touch     H  hidden units

    Source: fading and saturation as in Jin et al., "Bayesian methods for media mix modeling with
    carryover and shape effects" (2017).
    """

    seen: Tensor

    def __init__(self, seen: Tensor, hidden: int, usual_life: float, seed: int) -> None:
        """Builds it; at first, no channel does anything.

        Args:
            seen: (K,) bool, whether there are touches to learn from; others do nothing.
            hidden: H; 0: channels add up.
            usual_life: Days of the half-life that is expected of a channel.
            seed: Of the first weights.
        """
        super().__init__()
        k = len(seen)
        self.usual_life = usual_life
        self.register_buffer("seen", seen.to(torch.float32))
        self.effect = nn.Parameter(torch.zeros(k))
        self.log_life = nn.Parameter(torch.full((k,), math.log(usual_life)))
        self.log_saturation = nn.Parameter(torch.full((k,), math.log(_USUAL_SATURATION)))
        random = torch.Generator().manual_seed(seed)
        self.hidden = nn.Parameter(torch.rand(hidden, k, generator=random) - 0.5)
        self.bias = nn.Parameter(torch.rand(hidden, generator=random) - 0.5)
        self.out = nn.Parameter(torch.zeros(hidden))

    def felt(self, age: Tensor, channel: Tensor) -> Tensor:
        """(P,) what is left of each touch.

        Args:
            age: (P,) days.
            channel: (P,) int64.
        """
        return torch.exp2(-age * torch.exp(-self.log_life)[channel])

    def levels(self, age: Tensor, channel: Tensor, moment: Tensor, n_moments: int) -> Tensor:
        """(N, K) what is felt of all touches, saturated.

        Args:
            age: (P,) days from the touch to the moment.
            channel: (P,) int64 of the touch.
            moment: (P,) int64.
            n_moments: N.
        """
        k = len(self.effect)
        total = torch.zeros(n_moments * k, dtype=age.dtype, device=age.device)
        total = total.index_add(0, moment * k + channel, self.felt(age, channel))
        most = self.log_saturation.exp()
        level = -most * torch.expm1(-total.view(n_moments, k) / most)
        return level * self.seen  # (N, K)

    def forward(self, levels: Tensor) -> Tensor:
        """(N,) logarithm of the factor, of (N, K) levels."""
        together = tanh(levels @ self.hidden.T + self.bias) - tanh(self.bias)  # (N, H)
        return levels @ self.effect + together @ self.out

    def penalty(self) -> Tensor:
        """Negative logarithm of the prior: what is expected before the log is seen."""
        life = (self.log_life - math.log(self.usual_life)) / _SPREAD_OF_LIFE
        saturation = (self.log_saturation - math.log(_USUAL_SATURATION)) / _SPREAD_OF_SATURATION
        parts = (self.effect, life, saturation, self.hidden, self.bias, self.out)
        return 0.5 * torch.stack([part.square().sum() for part in parts]).sum()
