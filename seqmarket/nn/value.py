"""How much a customer spends in a window: whether at all, times how much."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own idiom

from seqmarket.nn.heads import RAREST, PointReader

WIDTH = 3
"""Parameters per point: the logit of spending at all, place and spread of the amount."""


class ValueHead(nn.Module):
    """A zero-inflated log-normal amount.

    Source: Wang, Liu and Miao, "A deep probabilistic model for customer lifetime value prediction"
    (2019).

    Attributes:
        center: () mean of the logarithms of the amounts above 0 in training.
        spread: () their standard deviation.
    """

    center: Tensor
    spread: Tensor

    def __init__(self, task: str, reader: PointReader) -> None:
        """Builds it.

        Args:
            task: The task that it answers.
            reader: Of width `WIDTH`.
        """
        super().__init__()
        self.tasks = [task]
        self.reader = reader
        self.register_buffer("center", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))

    def forward(self, state: Tensor, elapsed: Tensor, time: Tensor) -> Tensor:
        """(N, WIDTH) parameters; see `PointReader.forward`."""
        return self.reader(state, elapsed, time)  # type: ignore[no-any-return]

    def losses(self, raw: Tensor, label: Tensor, amount: Tensor) -> Tensor:
        """(N,) negative log likelihoods of an amount, any one of 0 or less being none."""
        place, log_spread = self.shape(raw)
        spends = (amount > 0).to(raw.dtype)
        occurs = F.binary_cross_entropy_with_logits(raw[:, 0], spends, reduction="none")
        y = amount.clamp(min=1e-6).log()
        z = (y - place) * torch.exp(-log_spread)
        # Against the spread of all amounts, so that the unit of the currency does not matter.
        how_much = 0.5 * z.square() + log_spread - self.spread.log()
        return occurs + spends * how_much

    def answer(self, raw: Tensor, task: str) -> Tensor:
        """(N, 2) expected value, and median."""
        place, log_spread = self.shape(raw)
        spread = torch.exp(log_spread)
        occurs = torch.sigmoid(raw[:, 0])
        expected = occurs * torch.exp(place + 0.5 * spread.square())
        # The median of the whole is the quantile of the amounts above 0 that leaves half above.
        share = (1.0 - 0.5 / occurs).clamp(min=1e-6)
        median = torch.exp(place + spread * math.sqrt(2.0) * torch.erfinv(2.0 * share - 1.0))
        median = torch.where(occurs > 0.5, median, torch.zeros_like(median))
        return torch.stack([expected, median], dim=1)

    def shape(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Place and logarithm of the spread of the logarithm of an amount above 0: (N,) each."""
        place = self.center + self.spread * raw[:, 1]
        return place, self.spread.log() + raw[:, 2].clamp(-3.0, 1.0)

    def start_from(self, label: Tensor, amount: Tensor, weight: Tensor) -> None:
        """Makes the share of customers who spend, and their amounts, the first prediction."""
        some = amount > 0
        rate = (some * weight).sum() / weight.sum().clamp(min=1e-6)
        with torch.no_grad():
            if bool(some.any()):
                y, mass = amount[some].log(), weight[some] / weight[some].sum()
                self.center.copy_((y * mass).sum())
                self.spread.copy_(((y - self.center).square() * mass).sum().sqrt().clamp(min=0.05))
            self.reader.out.bias.zero_()
            self.reader.out.bias[0] = rate.clamp(RAREST, 1.0 - RAREST).logit()
