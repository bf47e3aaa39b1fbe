"""From a state and the time since it to logits.

A prediction is made for a customer at a time: the same state means something else after a month
of silence. So every head reads ``(state, elapsed, time)``, and a cached state can be scored at any
later moment.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqmarket.nn.time_encoding import ElapsedEncoding
from seqmarket.schema import SequenceSpec

RAREST = 1e-4
"""Base rates are taken to be at least this, so that a class unseen in training stays possible."""


class ClassificationHead(nn.Module):
    """Logits of several classes, by a perceptron with one hidden layer.

    The weights of the output start small, so that the first predictions are the bias: after
    `set_prior`, the base rates.
    """

    def __init__(
        self,
        d_model: int,
        spec: SequenceSpec,
        n_classes: int,
        hidden: int = 64,
        dropout: float = 0.0,
    ) -> None:
        """Builds it.

        Args:
            d_model: D, width of the states.
            spec: For the pace of the log.
            n_classes: Number of classes.
            hidden: Width of the hidden layer.
            dropout: Probability that a hidden unit is dropped in training.
        """
        super().__init__()
        self.n_classes = n_classes
        self.elapsed = ElapsedEncoding(spec)
        self.norm = nn.LayerNorm(d_model)
        self.hidden = nn.Sequential(
            nn.Linear(d_model + self.elapsed.width, hidden), nn.GELU(), nn.Dropout(dropout)
        )
        self.out = nn.Linear(hidden, n_classes)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self.out.bias)

    def forward(self, state: Tensor, elapsed: Tensor, time: Tensor) -> Tensor:
        """Predicts.

        Args:
            state: (N, D) after the newest event.
            elapsed: (N,) float32 days from that event to the prediction time, 0 or more.
            time: (N,) float64 prediction time, days since 1970-01-01 UTC.

        Returns:
            (N, n_classes) logits.
        """
        x = torch.cat([self.norm(state), self.elapsed(elapsed, time)], dim=-1)
        return self.out(self.hidden(x))  # type: ignore[no-any-return]

    def set_prior(self, probabilities: Tensor) -> None:
        """Makes the base rates the first prediction.

        Args:
            probabilities: (n_classes,) shares of the classes in training.
        """
        with torch.no_grad():
            self.out.bias.copy_(probabilities.clamp(min=RAREST).log())


class BinaryHead(nn.Module):
    """The logit of label 1; see `ClassificationHead`."""

    def __init__(
        self, d_model: int, spec: SequenceSpec, hidden: int = 64, dropout: float = 0.0
    ) -> None:
        """Builds it, with the arguments of `ClassificationHead`."""
        super().__init__()
        self.scores = ClassificationHead(d_model, spec, 1, hidden, dropout)

    def forward(self, state: Tensor, elapsed: Tensor, time: Tensor) -> Tensor:
        """Predicts (N,) logits, from the arguments of `ClassificationHead.forward`."""
        return self.scores(state, elapsed, time).squeeze(-1)  # type: ignore[no-any-return]

    def set_prior(self, probability: Tensor) -> None:
        """Makes the base rate of label 1, of shape () or (1,), the first prediction."""
        with torch.no_grad():
            self.scores.out.bias.copy_(probability.clamp(RAREST, 1.0 - RAREST).logit())
