"""Gated linear recurrence encoder, a minimal state-space model (Gu & Dao, 2023; De et al., 2024).

Shape legend: B journeys, T events of the longest, D width of a state.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Lt
from torch import nn

from seqmarket.nn.embedding import EventEmbedding
from seqmarket.nn.pooling import last_state
from seqmarket.nn.recurrence import RecurrenceBlock
from seqmarket.nn.time_encoding import days_since_first, days_since_previous
from seqmarket.schema import SequenceSpec
from seqmarket.tensors import Encoding, JourneyBatch


class SSMEncoder(nn.Module):
    """Remembers each event for a while that depends on the events and on the days that pass.

    Attributes:
        d_model: D, width of the states.
    """

    def __init__(
        self,
        spec: SequenceSpec,
        d_model: Annotated[int, Ge(1)] = 64,
        n_layers: Annotated[int, Ge(1)] = 2,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.1,
    ) -> None:
        """Builds it.

        Args:
            spec: What the data looks like.
            d_model: D, width of the embeddings and states.
            n_layers: Blocks of recurrence.
            dropout: Probability that an embedded input, or a channel of what a block adds, is
                dropped in training.
        """
        super().__init__()
        self.d_model = d_model
        self.embedding = EventEmbedding(spec, d_model, dropout)
        self.blocks = nn.ModuleList(
            RecurrenceBlock(spec, d_model, dropout) for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model)

    def forward(self, batch: JourneyBatch, need_attention: bool = False) -> Encoding:
        """Encodes a batch; there is no attention to give."""
        x = self.embedding(batch)  # (B, T, D)
        days = days_since_previous(days_since_first(batch.time, batch.mask))  # (B, T)
        for block in self.blocks:
            x = block(x, days)
        states = self.norm(x)
        return Encoding(states, last_state(states, batch.mask), None)
