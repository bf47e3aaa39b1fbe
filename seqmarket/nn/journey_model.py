"""An encoder and the heads that read its states."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from seqmarket.tensors import Encoding, JourneyBatch, Points


class JourneyModel(nn.Module):
    """One encoder, and one head per task.

    Scripted, it offers `forward`, and `encode` and `score`, between which a state may be kept.
    """

    def __init__(self, encoder: nn.Module, heads: Mapping[str, nn.Module]) -> None:
        """Joins them.

        Args:
            encoder: A `JourneyEncoder`.
            heads: Per task, a module like those of `seqmarket.nn.heads`.
        """
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict(heads)

    def forward(self, batch: JourneyBatch, points: Points) -> dict[str, Tensor]:
        """Predicts every task at the same points.

        Args:
            batch: B journeys.
            points: N points in them; N may be 0.

        Returns:
            Logits per task: (N,) of a binary one, (N, classes) of a categorical one.
        """
        states = self.encode(batch, need_attention=False).states
        state = states[points.row, points.position]
        elapsed = (points.time - batch.time[points.row, points.position]).to(torch.float32)
        return self.score(state, elapsed, points.time)

    @torch.jit.export
    def encode(self, batch: JourneyBatch, need_attention: bool = False) -> Encoding:
        """Encodes a batch; `need_attention` asks for the weights, where the encoder has any."""
        encoding: Encoding = self.encoder(batch, need_attention)
        return encoding

    @torch.jit.export
    def score(self, state: Tensor, elapsed: Tensor, time: Tensor) -> dict[str, Tensor]:
        """Predicts every task from states, however old.

        Args:
            state: (N, D) after the newest event.
            elapsed: (N,) float32 days from that event to the prediction time, 0 or more.
            time: (N,) float64 prediction time, days since 1970-01-01 UTC.

        Returns:
            As `forward`.
        """
        logits: dict[str, Tensor] = {}
        for task, head in self.heads.items():
            logits[task] = head(state, elapsed, time)
        return logits

    def logits(self, states: Tensor, time: Tensor, task: str, points: Points) -> Tensor:
        """Predicts one task at its own points, as training does after encoding once.

        Args:
            states: (B, T, D) of an `Encoding`.
            time: (B, T) float64, the `time` of the batch.
            task: Name of the task.
            points: N points; N may be 0.

        Returns:
            (N,) or (N, classes) logits.
        """
        state = states[points.row, points.position]
        elapsed = (points.time - time[points.row, points.position]).to(torch.float32)
        return self.heads[task](state, elapsed, points.time)  # type: ignore[no-any-return]
