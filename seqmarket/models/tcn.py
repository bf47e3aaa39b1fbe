"""Temporal convolutional encoder (Bai, Kolter & Koltun, 2018).

Shape legend: B journeys, T events of the longest, D width of a state.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Lt
from torch import nn

from seqmarket.nn.convolution import ConvolutionBlock
from seqmarket.nn.embedding import EventEmbedding
from seqmarket.nn.pooling import last_state
from seqmarket.schema import SequenceSpec
from seqmarket.tensors import Encoding, JourneyBatch


class TCNEncoder(nn.Module):
    """Looks back by fixed numbers of events, farther in each block.

    The dilation of block i is ``kernel_size ** i``: n blocks see the ``kernel_size ** n`` newest
    events, each along one path of taps, so that no tap is spent twice.

    Attributes:
        d_model: D, width of the states.
        receptive_field: Number of events, the newest included, that a state can depend on.
    """

    def __init__(
        self,
        spec: SequenceSpec,
        d_model: Annotated[int, Ge(1)] = 64,
        n_layers: Annotated[int, Ge(1)] | None = None,
        kernel_size: Annotated[int, Ge(2)] = 4,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.1,
    ) -> None:
        """Builds it.

        Args:
            spec: What the data looks like.
            d_model: D, width of the embeddings and states.
            n_layers: Blocks; None for the fewest that see `spec.max_length` events.
            kernel_size: Events that go into each output of a convolution.
            dropout: Probability that an embedded input, or a channel of what a block adds, is
                dropped in training.
        """
        super().__init__()
        if n_layers is None:
            n_layers = 1
            while kernel_size**n_layers < spec.max_length:
                n_layers += 1
        self.d_model = d_model
        self.receptive_field = kernel_size**n_layers
        self.embedding = EventEmbedding(spec, d_model, dropout)
        self.blocks = nn.Sequential(
            *(
                ConvolutionBlock(d_model, kernel_size, kernel_size**i, dropout)
                for i in range(n_layers)
            )
        )
        self.norm = nn.LayerNorm(d_model)

    def forward(self, batch: JourneyBatch, need_attention: bool = False) -> Encoding:
        """Encodes a batch; there is no attention to give."""
        states = self.norm(self.blocks(self.embedding(batch)))  # (B, T, D)
        return Encoding(states, last_state(states, batch.mask), None)
