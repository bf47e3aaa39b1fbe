"""An encoder and the heads that read its states."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from seqmarket.nn.pooling import TouchPooling, last_state
from seqmarket.nn.precision import out_of_autocast
from seqmarket.tensors import Encoding, JourneyBatch, Points


class JourneyModel(nn.Module):
    """One encoder, and heads that answer the tasks.

    Scripted, it offers `forward`, and `encode` and `score`, between which a state may be kept.

    Attributes:
        head_of: The head that answers each task.
    """

    def __init__(
        self,
        encoder: nn.Module,
        heads: Mapping[str, nn.Module],
        head_of: Mapping[str, str],
        pooling: TouchPooling | None = None,
    ) -> None:
        """Joins them.

        Args:
            encoder: A `JourneyEncoder`.
            heads: Modules like those of `seqmarket.nn.heads`, by name.
            head_of: By task, the name of the head that answers it.
            pooling: What lets each head look back at the touches, in the order of the heads; None:
                a head reads the state after the newest event alone.
        """
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict(heads)
        self.head_of = dict(head_of)
        self.pooling = pooling

    def forward(self, batch: JourneyBatch, points: Points) -> dict[str, Tensor]:
        """Answers every task at the same points.

        Args:
            batch: B journeys.
            points: N points in them; N may be 0.

        Returns:
            Per task, what its head answers; see `seqmarket.nn.heads`.
        """
        states = self.encode(batch, need_attention=False).states
        state, elapsed = at_points(states, batch.time, points)
        return self.score(state, elapsed, points.time)

    @torch.jit.export
    def encode(self, batch: JourneyBatch, need_attention: bool = False) -> Encoding:
        """Encodes a batch; `need_attention` asks for the weights, where the encoder has any.

        With pooling, what the heads find in the touches is a part of each state.
        """
        encoding: Encoding = self.encoder(batch, need_attention)
        if self.pooling is not None:
            states = self.pooling(encoding.states, batch)
            encoding = Encoding(states, last_state(states, batch.mask), encoding.attention)
        return encoding

    @torch.jit.export
    def touch_weights(self, batch: JourneyBatch) -> Tensor:
        """What each head's predictions rest on.

        Args:
            batch: B journeys.

        Returns:
            (B, H, T, T): the weight that a prediction after an event (rows) gives to each touch
            (columns), by head, in the order of `heads`; no head at all without pooling.
        """
        if self.pooling is None:
            b, t = batch.mask.shape
            return torch.zeros(b, 0, t, t, device=batch.mask.device)
        return self.pooling.weights(self.encoder(batch, False).states, batch)

    @torch.jit.export
    def score(self, state: Tensor, elapsed: Tensor, time: Tensor) -> dict[str, Tensor]:
        """Answers every task from states, however old.

        Args:
            state: (N, D) after the newest event, of `encode`.
            elapsed: (N,) float32 days from that event to the prediction time, 0 or more.
            time: (N,) float64 prediction time, days since 1970-01-01 UTC.

        Returns:
            As `forward`.
        """
        answers: dict[str, Tensor] = {}
        for i, head in enumerate(self.heads.values()):
            own = state if self.pooling is None else self.pooling.read(state, i)
            raw = head(own, elapsed, time)
            for task in head.tasks:  # type: ignore[union-attr]
                answers[task] = head.answer(raw, task)  # type: ignore[operator]
        return answers

    def read(self, states: Tensor, time: Tensor, head: str, points: Points) -> Tensor:
        """What one head makes of its own points, as training does after encoding once.

        Args:
            states: (B, T, D) of an `Encoding`.
            time: (B, T) float64, the `time` of the batch.
            head: Name of the head.
            points: N points; N may be 0.

        Returns:
            (N, W) parameters of what the head predicts.
        """
        state, elapsed = at_points(states, time, points)
        # N is another for every batch, and for each new shape a CPU's library for bfloat16 makes
        # its products anew, which takes longer than they do.
        state = out_of_autocast(state)
        with torch.autocast("cpu", enabled=False):
            if self.pooling is not None:
                state = self.pooling.read(state, list(self.heads).index(head))
            return self.heads[head](state, elapsed, points.time)  # type: ignore[no-any-return]

    def answer(self, states: Tensor, time: Tensor, task: str, points: Points) -> Tensor:
        """What the task's head answers at the task's own points; see `seqmarket.nn.heads`."""
        head = self.head_of[task]
        raw = self.read(states, time, head, points)
        return self.heads[head].answer(raw, task)  # type: ignore[no-any-return, operator]


def at_points(states: Tensor, time: Tensor, points: Points) -> tuple[Tensor, Tensor]:
    """The state after each point's newest event, (N, D), and the days since, (N,) float32."""
    # As whole rows: to gather by pairs of indices takes a CPU half as long again.
    place = points.row * time.size(1) + points.position
    state = states.flatten(0, 1).index_select(0, place)
    elapsed = points.time - time.flatten().index_select(0, place)
    return state, elapsed.to(torch.float32)
