"""From a state and the time since it to what is predicted.

A prediction is made for a customer at a time: the same state means something else after a month
of silence. So every head reads ``(state, elapsed, time)``, and a cached state can be scored at any
later moment.

A head is trained on one objective and answers one or more tasks:

- ``forward(state, elapsed, time)``: (N, W) parameters of what it predicts;
- ``losses(raw, label, amount)``: (N,) negative log likelihoods; `seqmarket.data.dense` says what
  label and amount are;
- ``answer(raw, task)``: logits (N,) of a binary task, (N, classes) of a categorical one, expected
  value and median (N, 2) of an amount, quantiles (N, len(QUANTILES)) of a duration in days;
  ``tasks`` names them all;
- ``start_from(label, amount, weight)``: makes what is usual in training the first prediction.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own idiom

from seqmarket.nn.time_encoding import ElapsedEncoding
from seqmarket.schema import SequenceSpec

RAREST = 1e-4
"""Base rates are taken to be at least this, so that what training never showed stays possible."""


class PointReader(nn.Module):
    """A perceptron with one hidden layer over a state and the moment of a prediction.

    The weights of the output start small, so that the first predictions are the bias.
    """

    def __init__(
        self, d_model: int, spec: SequenceSpec, n_out: int, hidden: int = 64, dropout: float = 0.0
    ) -> None:
        """Builds it.

        Args:
            d_model: D, width of the states.
            spec: For the pace of the log.
            n_out: W, width of the output.
            hidden: Width of the hidden layer.
            dropout: Probability that a hidden unit is dropped in training.
        """
        super().__init__()
        self.elapsed = ElapsedEncoding(spec)
        self.norm = nn.LayerNorm(d_model)
        self.hidden = nn.Sequential(
            nn.Linear(d_model + self.elapsed.width, hidden), nn.GELU(), nn.Dropout(dropout)
        )
        self.out = nn.Linear(hidden, n_out)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self.out.bias)

    def forward(self, state: Tensor, elapsed: Tensor, time: Tensor) -> Tensor:
        """Reads points.

        Args:
            state: (N, D) after the newest event.
            elapsed: (N,) float32 days from that event to the prediction time, 0 or more.
            time: (N,) float64 prediction time, days since 1970-01-01 UTC.

        Returns:
            (N, W) float32.
        """
        x = torch.cat([self.norm(state), self.elapsed(elapsed, time)], dim=-1)
        return self.out(self.hidden(x)).float()  # type: ignore[no-any-return]


class ClassHead(nn.Module):
    """Which of several classes: a categorical task."""

    def __init__(self, task: str, reader: PointReader, label_smoothing: float = 0.0) -> None:
        """Builds it.

        Args:
            task: The task that it answers.
            reader: As wide as there are classes.
            label_smoothing: Share of the target that is spread over all classes (Szegedy et al.,
                "Rethinking the Inception architecture", 2016).
        """
        super().__init__()
        self.tasks = [task]
        self.label_smoothing = label_smoothing
        self.reader = reader

    def forward(self, state: Tensor, elapsed: Tensor, time: Tensor) -> Tensor:
        """(N, classes) logits; see `PointReader.forward`."""
        return self.reader(state, elapsed, time)  # type: ignore[no-any-return]

    def losses(self, raw: Tensor, label: Tensor, amount: Tensor) -> Tensor:
        """(N,) cross entropies."""
        return F.cross_entropy(
            raw,
            label,
            reduction="none",
            label_smoothing=self.label_smoothing if self.training else 0,
        )

    def answer(self, raw: Tensor, task: str) -> Tensor:
        """The logits."""
        return raw

    def start_from(self, label: Tensor, amount: Tensor, weight: Tensor) -> None:
        """Makes the weighted share of each class the first prediction."""
        with torch.no_grad():
            self.reader.out.bias.copy_(class_shares(label, weight, self.reader.out.out_features))


class BinaryHead(nn.Module):
    """Whether label 1 comes true: a binary task on its own."""

    def __init__(self, task: str, reader: PointReader, positive_weight: float = 1.0) -> None:
        """Builds it.

        Args:
            task: The task that it answers.
            reader: Of width 1.
            positive_weight: Weight of label 1 in the loss.
        """
        super().__init__()
        self.tasks = [task]
        self.positive_weight = positive_weight
        self.reader = reader

    def forward(self, state: Tensor, elapsed: Tensor, time: Tensor) -> Tensor:
        """(N, 1) logits; see `PointReader.forward`."""
        return self.reader(state, elapsed, time)  # type: ignore[no-any-return]

    def losses(self, raw: Tensor, label: Tensor, amount: Tensor) -> Tensor:
        """(N,) cross entropies."""
        target = label.to(raw.dtype)
        losses = F.binary_cross_entropy_with_logits(raw.squeeze(-1), target, reduction="none")
        return losses * torch.where(label == 1, self.positive_weight, 1.0)

    def answer(self, raw: Tensor, task: str) -> Tensor:
        """The logits of label 1."""
        return raw.squeeze(-1)

    def start_from(self, label: Tensor, amount: Tensor, weight: Tensor) -> None:
        """Makes the weighted base rate the first prediction."""
        rate = (label * weight).sum() / weight.sum().clamp(min=1e-6)
        with torch.no_grad():
            self.reader.out.bias.fill_(float(rate.clamp(RAREST, 1.0 - RAREST).logit()))


def class_shares(label: Tensor, weight: Tensor, n_classes: int) -> Tensor:
    """(n_classes,) logarithms of the weighted shares of the labels that are 0 or more."""
    known = label >= 0
    count = torch.bincount(label[known], weight[known].double(), n_classes)
    return (count / count.sum().clamp(min=1e-6)).clamp(min=RAREST).log().float()
