"""The nouns that are made of tensors: what a network reads, and what it makes of that.

The shape legend is that of `seqmarket.schema`.
"""

# No `from __future__ import annotations` here: TorchScript reads the fields of the NamedTuples
# below as types, not as strings.
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor


class JourneyBatch(NamedTuple):
    """Right-padded journeys as a network reads them; scriptable, so `mask` is a field.

    Attributes:
        channel: (B, T) int64 ids, PAD where padded.
        event_type: (B, T) int64 ids.
        categorical: (B, T, K) int64 ids.
        time: (B, T) float64 days since 1970-01-01 UTC; padding repeats the last event's time.
        value: (B, T) float32, raw.
        features: (B, T, F) float32, scaled.
        static_categorical: (B, S) int64 ids.
        static_features: (B, P) float32, scaled.
        prior_days: (B,) float32, days from the customer's first event to the first one shown.
        prior_events: (B,) float32, number of older events that are not shown.
        mask: (B, T) bool, True at real events. Every journey has at least one.
    """

    channel: Tensor
    event_type: Tensor
    categorical: Tensor
    time: Tensor
    value: Tensor
    features: Tensor
    static_categorical: Tensor
    static_features: Tensor
    prior_days: Tensor
    prior_events: Tensor
    mask: Tensor


class Points(NamedTuple):
    """Where in a batch, and as of when, predictions are wanted.

    Attributes:
        row: (N,) int64, which journey of the batch.
        position: (N,) int64, the newest event that the prediction may use.
        time: (N,) float64 prediction time, days since 1970-01-01 UTC; at or after that event.
    """

    row: Tensor
    position: Tensor
    time: Tensor


class Encoding(NamedTuple):
    """What an encoder makes of a batch.

    Attributes:
        states: (B, T, D), causal: `states[:, t]` depends on the events up to ``t`` only.
        pooled: (B, D), the journey in one vector: its state after the last real event.
        attention: (B, T, T) mean weight that position i (rows) gives to j (columns), or None where
            it was not asked for or the encoder has none.
    """

    states: Tensor
    pooled: Tensor
    attention: Tensor | None


class JourneyEncoder(Protocol):
    """The contract of every deep model: built as ``Model(spec, **hyperparameters)``.

    An implementation is a `torch.nn.Module`; its attribute ``d_model`` is the D of its states.
    """

    d_model: int

    def __call__(self, batch: JourneyBatch, need_attention: bool = False) -> Encoding:
        """Encodes a batch; the flag never changes the return type."""
        ...


@runtime_checkable
class LayeredAttention(Protocol):
    """What an encoder offers beside its contract if its states are made by layers of attention."""

    def attention_by_layer(self, batch: JourneyBatch) -> list[Tensor]:
        """(B, T, T) weights of each layer, the first one first: mean over heads, rows sum to 1."""
        ...
