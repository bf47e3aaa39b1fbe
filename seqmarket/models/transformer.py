"""Causal, time-aware Transformer encoder (Vaswani et al., 2017).

Shape legend: B journeys, T events of the longest, D width of a state.
"""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn

from seqmarket.nn.attention import TransformerBlock
from seqmarket.nn.embedding import EventEmbedding
from seqmarket.nn.pooling import last_state
from seqmarket.nn.precision import as_autocast
from seqmarket.nn.time_encoding import days_since_first
from seqmarket.schema import SequenceSpec
from seqmarket.tensors import Encoding, JourneyBatch


class TransformerEncoder(nn.Module):
    """Lets each event look back at all before it, by content, by order and by days passed.

    Attributes:
        d_model: D, width of the states.
    """

    def __init__(
        self,
        spec: SequenceSpec,
        d_model: Annotated[int, Ge(1)] = 64,
        n_layers: Annotated[int, Ge(1)] = 2,
        n_heads: Annotated[int, Ge(1)] = 4,
        mlp_ratio: Annotated[int, Ge(1)] = 4,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.1,
    ) -> None:
        """Builds it.

        Args:
            spec: What the data looks like.
            d_model: D, width of the embeddings and states; a multiple of `n_heads`.
            n_layers: Blocks of attention and perceptron.
            n_heads: Attention heads per block.
            mlp_ratio: Width of a perceptron's hidden layer, in D.
            dropout: Probability that an embedded input or an output of either part of a block is
                dropped in training.

        Raises:
            SeqmarketError: If `d_model` and `n_heads` do not go together.
        """
        super().__init__()
        self.d_model = d_model
        self.embedding = EventEmbedding(spec, d_model, dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(spec, d_model, n_heads, mlp_ratio, dropout) for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model)

    def forward(self, batch: JourneyBatch, need_attention: bool = False) -> Encoding:
        """Encodes a batch; its attention is the mean over blocks and heads."""
        x, layers = self._through_blocks(batch, need_attention)
        states = self.norm(x)
        attention = torch.stack(layers).mean(dim=0) if need_attention else None
        return Encoding(states, last_state(states, batch.mask), attention)

    def attention_by_layer(self, batch: JourneyBatch) -> list[Tensor]:
        """See `LayeredAttention`."""
        return self._through_blocks(batch, need_attention=True)[1]

    def _through_blocks(
        self, batch: JourneyBatch, need_attention: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """What the last block makes of a batch, (B, T, D), and each one's weights, if asked for."""
        x = as_autocast(self.embedding(batch))  # (B, T, D)
        days = days_since_first(batch.time, batch.mask).to(torch.float32)  # (B, T)
        layers: list[Tensor] = []
        for block in self.blocks:
            x, weights = block(x, days, need_attention)
            if weights is not None:
                layers.append(weights)  # (B, T, T)
        return x, layers
