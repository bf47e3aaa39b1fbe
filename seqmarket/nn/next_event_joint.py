"""All that is known of the next event, jointly: what an encoder can learn without any label."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqmarket.nn.heads import ClassHead, PointReader
from seqmarket.nn.next_event import NextEventHead
from seqmarket.nn.value import WIDTH, ValueHead
from seqmarket.schema import SequenceSpec


class NextEvents(NamedTuple):
    """The next event of each of N points, which lie right at an event.

    Attributes:
        channel: (N,) int64 class; -1 where no event follows, or one of an unknown channel.
        event_type: (N,) int64 class; -1 likewise.
        days: (N,) float32 until it comes, or until the period ends without one.
        value: (N,) float32 of the event; 0 where none follows.
        follows: (N,) bool, whether an event follows.
    """

    channel: Tensor
    event_type: Tensor
    days: Tensor
    value: Tensor
    follows: Tensor


class JointNextEvent(nn.Module):
    """Channel and gap as one likelihood, besides type and value, each from the same state."""

    def __init__(
        self,
        spec: SequenceSpec,
        d_model: int,
        *,
        hidden: int = 64,
        dropout: float = 0.0,
        components: int = 8,
    ) -> None:
        """Builds it.

        Args:
            spec: Vocabularies, and the pace of the log.
            d_model: D, width of the states.
            hidden: Width of each head's hidden layer.
            dropout: In the heads.
            components: Log-normals in the mixture of the gap.
        """
        super().__init__()

        def reader(n_out: int) -> PointReader:
            return PointReader(d_model, spec, n_out, hidden, dropout)

        size = spec.n_channels, components
        self.next_event = NextEventHead(
            reader(NextEventHead.parameters_of(*size)),
            spec,
            *size,
            class_task="channel",
            time_task="gap",
        )
        self.event_type = ClassHead("event_type", reader(len(spec.event_type.categories)))
        self.value = ValueHead("value", reader(WIDTH))

    def start_from(self, following: NextEvents) -> None:
        """Makes what is usual among these points the first prediction."""
        weight = torch.ones_like(following.days)
        self.next_event.start_from(following.channel, following.days, weight)
        self.event_type.start_from(following.event_type, following.days, weight)
        spent = following.value[following.follows]
        self.value.start_from(torch.zeros_like(spent), spent, torch.ones_like(spent))

    def forward(self, state: Tensor, time: Tensor, following: NextEvents) -> Tensor:
        """The sum of the mean losses.

        Args:
            state: (N, D) after the newest event of each point.
            time: (N,) float64 time of that event, days since 1970-01-01 UTC.
            following: What comes next.

        Returns:
            () loss.
        """
        elapsed = torch.zeros_like(following.days)
        raw = self.next_event(state, elapsed, time)
        total = self.next_event.losses(raw, following.channel, following.days).mean()
        known = (following.event_type >= 0).nonzero().squeeze(1)
        raw = self.event_type(state[known], elapsed[known], time[known])
        losses = self.event_type.losses(raw, following.event_type[known], elapsed[known])
        total = total + losses.sum() / max(len(known), 1)
        some = following.follows.nonzero().squeeze(1)
        raw = self.value(state[some], elapsed[some], time[some])
        losses = self.value.losses(raw, following.channel[some], following.value[some])
        return total + losses.sum() / max(len(some), 1)
