"""GRU encoder (Cho et al., 2014).

Shape legend: B journeys, T events of the longest, D width of a state.
"""

from __future__ import annotations

from typing import Annotated

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn

from seqmarket.nn.dropout import ChannelDropout
from seqmarket.nn.embedding import EventEmbedding
from seqmarket.nn.explicit_gru import written_out_gru
from seqmarket.nn.pooling import last_state
from seqmarket.nn.precision import training_on_cpu
from seqmarket.schema import SequenceSpec
from seqmarket.tensors import Encoding, JourneyBatch


class GRUEncoder(nn.Module):
    """Reads a journey event by event; padding on the right comes after all that matters.

    Attributes:
        d_model: D, width of the states.
    """

    def __init__(
        self,
        spec: SequenceSpec,
        d_model: Annotated[int, Ge(1)] = 64,
        n_layers: Annotated[int, Ge(1)] = 1,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.1,
    ) -> None:
        """Builds it.

        Args:
            spec: What the data looks like.
            d_model: D, width of the embeddings and states.
            n_layers: Stacked GRU layers.
            dropout: Probability that an embedded input, an output, or a value between layers is
                dropped in training.
        """
        super().__init__()
        self.d_model = d_model
        self.embedding = EventEmbedding(spec, d_model, dropout)
        self.rnn = nn.GRU(
            d_model, d_model, n_layers, batch_first=True, dropout=dropout if n_layers > 1 else 0.0
        )
        self.dropout = ChannelDropout(dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Starts out remembering: orthogonal recurrence, and an update gate that keeps the state.

        The bias plays the part of an LSTM's forget bias (Jozefowicz et al., 2015).
        """
        with torch.no_grad():
            for name, parameter in self.rnn.named_parameters():
                if name.startswith("weight_hh"):
                    for gate in parameter.chunk(3):
                        nn.init.orthogonal_(gate)
                elif name.startswith("weight_ih"):
                    nn.init.xavier_uniform_(parameter)
                else:
                    parameter.zero_()
                if name.startswith("bias_ih"):
                    parameter.chunk(3)[1].fill_(1.0)  # gates: reset, update, new

    def forward(self, batch: JourneyBatch, need_attention: bool = False) -> Encoding:
        """Encodes a batch; there is no attention to give."""
        x = self.embedding(batch)  # (B, T, D)
        states = self.dropout(self.recur(x))  # (B, T, D)
        return Encoding(states, last_state(states, batch.mask), None)

    def recur(self, x: Tensor) -> Tensor:
        """The states (B, T, D) after each of (B, T, D) embedded events."""
        if not torch.jit.is_scripting() and training_on_cpu(x):  # type: ignore[attr-defined]
            return written_out_gru(self.rnn, x)
        states, _ = self.rnn(x)
        return states  # type: ignore[no-any-return]
