"""From the encoded columns of an event to one vector."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag, linear

from seqmarket.nn.dropout import ChannelDropout
from seqmarket.nn.pace import FadingCounts
from seqmarket.nn.precision import as_autocast
from seqmarket.nn.time_encoding import TimeEncoding
from seqmarket.schema import PAD, UNK, CategoricalFeature, SequenceSpec
from seqmarket.tensors import JourneyBatch

FEW = 64
"""Up to so many categories, a product with ones and zeros is faster than a look-up."""

N_KINDS = 8
"""Kinds of events whose fading counts every event is shown with."""


class CategoricalSum(nn.Module):
    """The sum of one embedding per feature, kept in one table, so that it is one step.

    PAD and UNK start at zero: a category that training never showed then adds nothing, rather
    than noise.
    """

    offsets: Tensor

    def __init__(self, features: Sequence[CategoricalFeature], d_model: int) -> None:
        """Builds a table for one or more features."""
        super().__init__()
        sizes = [feature.size for feature in features]
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        self.register_buffer("offsets", torch.tensor(starts), persistent=False)
        self.few = sum(sizes) <= FEW
        self.table = nn.Embedding(sum(sizes), d_model)
        with torch.no_grad():
            self.table.weight.mul_(len(sizes) ** -0.5)
            self.table.weight[self.offsets + PAD] = 0.0
            self.table.weight[self.offsets + UNK] = 0.0

    def forward(self, ids: Tensor) -> Tensor:
        """Embeds (..., features) int64 ids as (..., D)."""
        rows = (ids + self.offsets).view(-1, ids.size(-1))  # (N, features)
        weight = self.table.weight
        if self.few:
            ones = weight.new_zeros(rows.size(0), weight.size(0)).scatter_(1, rows, 1.0)
            found = linear(ones, weight.t())
        else:
            found = as_autocast(embedding_bag(rows, weight, mode="sum"))
        return found.view(ids.shape[:-1] + found.shape[-1:])


class EventEmbedding(nn.Module):
    """Channel, type, features, time, pace so far and the customer's attributes of each event.

    Whatever stands in padded slots, NaN and ids out of range included, is never read.

    Shapes: see `seqmarket.schema`. Any of K, F, S and P may be 0.
    """

    def __init__(self, spec: SequenceSpec, d_model: int, dropout: float = 0.0) -> None:
        """Builds it.

        Args:
            spec: Vocabularies and features.
            d_model: D, width of the output.
            dropout: Probability that an output is dropped in training.
        """
        super().__init__()
        self.pad = PAD  # a global constant does not script
        self.time = TimeEncoding(spec)
        self.event = CategoricalSum([spec.channel, spec.event_type, *spec.categorical], d_model)
        self.numeric = nn.Linear(spec.n_features + self.time.width, d_model)
        self.customer = (
            CategoricalSum(spec.static_categorical, d_model) if spec.static_categorical else None
        )
        self.customer_numeric = (
            nn.Linear(spec.n_static_features, d_model, bias=False)
            if spec.n_static_features
            else None
        )
        self.pace = FadingCounts(spec, d_model, N_KINDS)
        self.counts = nn.Linear(self.pace.width, d_model)
        self.norm = nn.LayerNorm(d_model)
        self.dropout = ChannelDropout(dropout)

    def forward(self, batch: JourneyBatch) -> Tensor:
        """Embeds a batch as (B, T, D)."""
        return self.complete(self.contents(batch), batch)

    def contents(self, batch: JourneyBatch) -> Tensor:
        """(B, T, D) what each event is, when, and whose: a sum that knows of no other event's kind.

        Two batches that differ in the columns of some events differ there, and nowhere else.
        """
        padded = ~batch.mask.unsqueeze(-1)  # (B, T, 1)
        kinds = torch.stack([batch.channel, batch.event_type], dim=-1)
        ids = torch.cat([kinds, batch.categorical], dim=-1).masked_fill(padded, self.pad)
        features = batch.features.masked_fill(padded, 0.0)
        x = self.event(ids) + self.numeric(torch.cat([features, self.time(batch)], dim=-1))
        if self.customer is not None:
            x = x + self.customer(batch.static_categorical).unsqueeze(1)
        if self.customer_numeric is not None:
            x = x + self.customer_numeric(batch.static_features).unsqueeze(1)
        return x  # type: ignore[no-any-return]

    def complete(self, x: Tensor, batch: JourneyBatch) -> Tensor:
        """(B, T, D) the embedding, of (B, T, D) contents: with the pace so far."""
        x = x + self.counts(self.pace(x, batch))
        return self.dropout(self.norm(x))  # type: ignore[no-any-return]
