"""One hazard, and from it the probability that something happens within any window."""

import torch
from torch import Tensor, nn

from seqmarket.nn.heads import RAREST, PointReader

_BLOCK = 1 << 16

LARGEST = 8.0
"""The logarithm of the events expected in one bin is at most this."""


class HazardHead(nn.Module):
    """A piecewise constant hazard of the first event that is waited for.

    Its probabilities of several windows agree with each other: they rise with the window. And it
    learns from when the event came, and from windows that the training period cuts off, where a
    yes or no per window would waste both.

    Source: Friedman, "Piecewise exponential models for survival data with covariates" (1982), with
    a network for the logarithms of the hazards (as Kvamme and Borgan, "Continuous and
    discrete-time survival prediction with neural networks", 2021, who call it PC-Hazard).

    Attributes:
        edges: (bins + 1,) days since the prediction time between which the hazard is constant:
            equally many training events lie in each bin, as far as ties allow.
    """

    edges: Tensor
    windows: Tensor

    def __init__(
        self, reader: PointReader, windows: dict[str, float], absent: dict[str, bool]
    ) -> None:
        """Builds it.

        Args:
            reader: As wide as there are bins, more than there are windows.
            windows: Days of each task's window.
            absent: Whether label 1 of the task is that nothing happens.
        """
        super().__init__()
        self.reader = reader
        self.tasks = list(windows)
        self.absent = [absent[task] for task in windows]
        self.largest = LARGEST  # a global constant does not script
        bins = reader.out.out_features
        longest = max(windows.values())
        self.register_buffer("windows", torch.tensor(list(windows.values())), persistent=False)
        self.register_buffer("edges", torch.linspace(0.0, longest, bins + 1))

    def forward(self, state: Tensor, elapsed: Tensor, time: Tensor) -> Tensor:
        """(N, bins) logarithms of the events expected in a whole bin; see `PointReader.forward`."""
        return self.reader(state, elapsed, time).clamp(max=self.largest)  # type: ignore[no-any-return]

    def losses(self, raw: Tensor, label: Tensor, amount: Tensor) -> Tensor:
        """(N,) negative log likelihoods of an event after `amount` days, or of none so far."""
        expected = (self.exposure(amount) * raw.exp()).sum(dim=1)
        at = torch.bucketize(amount, self.edges[1:-1])
        return expected - raw.gather(1, at.unsqueeze(1)).squeeze(1) * label.to(raw.dtype)

    def exposure(self, days: Tensor) -> Tensor:
        """(N, bins) share of each bin that has passed after (N,) days."""
        return ((days.unsqueeze(1) - self.edges[:-1]) / self.edges.diff()).clamp(0.0, 1.0)

    def answer(self, raw: Tensor, task: str) -> Tensor:
        """(N,) logits of label 1."""
        index = self.tasks.index(task)
        expected = raw.exp() @ self.exposure(self.windows[index : index + 1])[0]  # (N,)
        # The logit of 1 - exp(-x), the probability of one event at least.
        logit = expected + torch.log(-torch.expm1(-expected.clamp(min=1e-9)))
        return -logit if self.absent[index] else logit

    def start_from(self, label: Tensor, amount: Tensor, weight: Tensor) -> None:
        """Places the bins, and makes the life table of the training points the first prediction."""
        with torch.no_grad():
            self.edges.copy_(self._place(amount[label == 1], weight[label == 1]))
            at = torch.bucketize(amount, self.edges[1:-1])
            bins = len(self.edges) - 1
            happened = torch.bincount(at, (weight * label).double(), bins)
            exposed = torch.zeros(bins, dtype=torch.float64)
            for first in range(0, len(amount), _BLOCK):
                part = slice(first, first + _BLOCK)
                exposed += (self.exposure(amount[part]) * weight[part, None]).double().sum(dim=0)
            rate = (happened + RAREST) / (exposed + RAREST)
            self.reader.out.bias.copy_(rate.clamp(min=RAREST).log().clamp(max=LARGEST))

    def _place(self, days: Tensor, weight: Tensor) -> Tensor:
        """The edges: each window, and between them quantiles of the days until an event."""
        bins = len(self.edges) - 1
        longest = self.windows.max()
        within = days < longest
        if int(within.sum()) < bins:
            return self.edges
        order = days[within].argsort()
        sorted_days = days[within][order]
        mass = weight[within][order].double().cumsum(0)
        others = torch.tensor(sorted(set(self.windows.tolist())))
        n_quantiles = bins - len(others)
        share = torch.arange(1, n_quantiles + 1, dtype=torch.float64) / (n_quantiles + 1)
        quantiles = sorted_days[torch.searchsorted(mass, share * mass[-1]).clamp(max=len(mass) - 1)]
        inner = torch.cat([quantiles, others]).sort().values
        # Ties would make empty bins: each edge comes a little after the one before.
        step = longest * 1e-5
        places = torch.arange(1, bins + 1) * step
        spread = torch.cummax(inner - places, dim=0).values + places
        edges = torch.cat([torch.zeros(1), spread])
        return edges * (longest / edges[-1])
