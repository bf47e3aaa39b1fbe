"""The peers of `train_speed.py`: models of equal size, behind one embedding of the same inputs.

Options that do not concern the size stay as each library has them (dropout, position of the norms,
attention kernel). Each is told what is padding in the way that its documentation shows.

Two of them are imported past their packages' `__init__`:

- pytorch-lifestream 0.7.0, whose wheel does not import as a whole (see `lifestream_encode.py`).
- pytorch-forecasting, which asks for Lightning by another name than ours. Its data sets and its
  `RecurrentNetwork` take targets that are numbers, not channels, so what is timed is the network
  within: its own LSTM and GRU, called with lengths as `RecurrentNetwork.decode_all` calls them.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import GPT2Config, GPT2Model
from x_transformers import ContinuousTransformerWrapper, Decoder

from seqmarket.schema import PAD, SequenceSpec
from seqmarket.tensors import JourneyBatch

D_MODEL, N_LAYERS, N_HEADS, MLP_RATIO = 128, 2, 4, 4
RECURRENT = {"lstm": nn.LSTM, "gru": nn.GRU}


def import_past(module: str) -> Any:
    """Imports a module without running the `__init__` of the packages around it."""
    package, *within = module.split(".")
    if package not in sys.modules:
        found = find_spec(package)
        if found is None or found.origin is None:
            raise ModuleNotFoundError(package)
        for i in range(len(within)):
            parent = ModuleType(".".join([package, *within[:i]]))
            parent.__path__ = [str(Path(found.origin).parent.joinpath(*within[:i]))]
            sys.modules[parent.__name__] = parent
    return importlib.import_module(module)


class PeerEmbedding(nn.Module):
    """Channel, type, gap in log scale and value, summed."""

    def __init__(self, spec: SequenceSpec) -> None:
        super().__init__()
        self.channel = nn.Embedding(spec.channel.size, D_MODEL, padding_idx=PAD)
        self.event_type = nn.Embedding(spec.event_type.size, D_MODEL, padding_idx=PAD)
        self.numeric = nn.Linear(1 + spec.n_features, D_MODEL)

    def forward(self, batch: JourneyBatch) -> Tensor:
        gap = torch.diff(batch.time, dim=1, prepend=batch.time[:, :1]).float().log1p()
        numbers = torch.cat([gap.unsqueeze(-1), batch.features], dim=-1)
        return (
            self.channel(batch.channel) + self.event_type(batch.event_type) + self.numeric(numbers)
        )


class Peer(nn.Module):
    """An embedding, and a sequence model that makes (B, T, D) of (B, T, D) and the mask."""

    def __init__(self, spec: SequenceSpec) -> None:
        super().__init__()
        self.embedding = PeerEmbedding(spec)

    def states(self, x: Tensor, mask: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, batch: JourneyBatch) -> Tensor:
        return self.states(self.embedding(batch), batch.mask)


class Gpt2(Peer):
    def __init__(self, spec: SequenceSpec) -> None:
        super().__init__(spec)
        config = GPT2Config(
            vocab_size=1,  # not used: the events come embedded
            n_positions=spec.max_length,
            n_embd=D_MODEL,
            n_layer=N_LAYERS,
            n_head=N_HEADS,
            n_inner=MLP_RATIO * D_MODEL,
            use_cache=False,
            bos_token_id=None,
            eos_token_id=None,
        )
        self.core = GPT2Model(config)

    def states(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.core(inputs_embeds=x, attention_mask=mask.long()).last_hidden_state


class XTransformer(Peer):
    def __init__(self, spec: SequenceSpec) -> None:
        super().__init__(spec)
        self.core = ContinuousTransformerWrapper(
            max_seq_len=spec.max_length,
            attn_layers=Decoder(
                dim=D_MODEL,
                depth=N_LAYERS,
                heads=N_HEADS,
                attn_dim_head=D_MODEL // N_HEADS,
                ff_mult=MLP_RATIO,
            ),
        )

    def states(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.core(x, mask=mask)


class TorchTransformer(Peer):
    def __init__(self, spec: SequenceSpec) -> None:
        super().__init__(spec)
        self.position = nn.Embedding(spec.max_length, D_MODEL)
        layer = nn.TransformerEncoderLayer(D_MODEL, N_HEADS, MLP_RATIO * D_MODEL, batch_first=True)
        self.core = nn.TransformerEncoder(layer, N_LAYERS, enable_nested_tensor=False)

    def states(self, x: Tensor, mask: Tensor) -> Tensor:
        ahead = nn.Transformer.generate_square_subsequent_mask(x.size(1))
        padding = torch.zeros(mask.shape).masked_fill(~mask, float("-inf"))
        x = x + self.position.weight[: x.size(1)]
        return self.core(x, mask=ahead, src_key_padding_mask=padding, is_causal=True)


class LifestreamTransformer(Peer):
    """Its causal mask lets the start token see the future; it is timed as it is."""

    def __init__(self, spec: SequenceSpec) -> None:
        super().__init__(spec)
        module = import_past("ptls.nn.seq_encoder.transformer_encoder")
        self.core = module.TransformerEncoder(
            D_MODEL,
            n_heads=N_HEADS,
            dim_hidden=MLP_RATIO * D_MODEL,
            n_layers=N_LAYERS,
            use_after_mask=True,
        )
        self.padded_batch = module.PaddedBatch

    def states(self, x: Tensor, mask: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Support for mismatched", UserWarning)
            return self.core(self.padded_batch(x, mask.sum(dim=1))).payload


class LifestreamRecurrent(Peer):
    def __init__(self, spec: SequenceSpec, cell: str) -> None:
        super().__init__(spec)
        module = import_past("ptls.nn.seq_encoder.rnn_encoder")
        self.core = module.RnnEncoder(D_MODEL, D_MODEL, type=cell)
        self.padded_batch = module.PaddedBatch

    def states(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.core(self.padded_batch(x, mask.sum(dim=1))).payload


class TorchPadded(Peer):
    def __init__(self, spec: SequenceSpec, cell: str) -> None:
        super().__init__(spec)
        self.core = RECURRENT[cell](D_MODEL, D_MODEL, batch_first=True)

    def states(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.core(x)[0]


class TorchPacked(TorchPadded):
    def states(self, x: Tensor, mask: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, mask.sum(dim=1), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.core(packed)[0], batch_first=True)[0]


class Forecasting(Peer):
    def __init__(self, spec: SequenceSpec, cell: str) -> None:
        super().__init__(spec)
        module = import_past("pytorch_forecasting.models.nn.rnn")
        self.core = module.get_rnn(cell.upper())(D_MODEL, D_MODEL, batch_first=True)

    def states(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.core(x, lengths=mask.sum(dim=1), enforce_sorted=False)[0]


class PeerModel(NamedTuple):
    """A way to build a peer, and the model of ours that it is compared with."""

    family: str
    build: Callable[[SequenceSpec], nn.Module]


PEERS = {
    "transformers GPT-2": PeerModel("transformer", Gpt2),
    "x-transformers": PeerModel("transformer", XTransformer),
    "torch TransformerEncoder": PeerModel("transformer", TorchTransformer),
    "pytorch-lifestream Transformer": PeerModel("transformer", LifestreamTransformer),
    "torch LSTM": PeerModel("lstm", partial(TorchPadded, cell="lstm")),
    "torch LSTM, packed": PeerModel("lstm", partial(TorchPacked, cell="lstm")),
    "pytorch-forecasting LSTM": PeerModel("lstm", partial(Forecasting, cell="lstm")),
    "torch GRU": PeerModel("gru", partial(TorchPadded, cell="gru")),
    "torch GRU, packed": PeerModel("gru", partial(TorchPacked, cell="gru")),
    "pytorch-lifestream GRU": PeerModel("gru", partial(LifestreamRecurrent, cell="gru")),
}
