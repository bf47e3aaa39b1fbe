"""Dropout of whole channels.

Shape legend: B journeys, T events of the longest, D width of a state.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout


class ChannelDropout(nn.Dropout):
    """Drops a channel of a journey at all of its events or at none.

    As in Bai, Kolter & Koltun (2018), and for recurrent networks in Gal & Ghahramani, "A
    Theoretically Grounded Application of Dropout in Recurrent Neural Networks" (2016). It draws B D
    numbers in place of B T D, each of which costs a CPU as much as a whole convolution does.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Drops from (B, T, D) and scales up what stays; in evaluation mode, changes nothing."""
        if not self.training or self.p == 0.0:
            return x
        return x * self.kept(x)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """``x`` plus what it makes of ``y``, both (B, T, D), in one pass over them."""
        if not self.training or self.p == 0.0:
            return x + y
        return torch.addcmul(x, y.to(x.dtype), self.kept(x))

    def kept(self, x: Tensor) -> Tensor:
        """(B, 1, D) factors: 0 or what makes up for the others."""
        ones = torch.ones(x.size(0), 1, x.size(2), dtype=x.dtype, device=x.device)
        return dropout(ones, self.p)
