"""Embeddings of the customers of a log: what a trained encoder makes of each as of a moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from seqmarket.data.datasets import EvaluationSet
from seqmarket.data.encoding import encode_shard
from seqmarket.data.event_log import EventLog
from seqmarket.data.sealed import write_sealed
from seqmarket.data.splits import to_microseconds
from seqmarket.errors import SeqmarketError
from seqmarket.nn.ensemble import JourneyEnsemble
from seqmarket.schema import EventArrays, LabelTable
from seqmarket.training.checkpoint import TrainedModel
from seqmarket.training.run import set_threads
from seqmarket.training.scoring import check_features, nobody_known


@dataclass(frozen=True)
class Embeddings:
    """The customers of a log as vectors.

    Attributes:
        table: One row per customer with an event at or before the moment.
        n_skipped: Customers without one, who have no state.
    """

    table: pl.DataFrame
    n_skipped: int


def embed_customers(trained: TrainedModel, event_log: EventLog, as_of: datetime) -> Embeddings:
    """Embeds every customer of a log as of a moment; later events are not looked at.

    Args:
        trained: The model; of an ensemble, the first member's encoder is asked, as the states of
            different members do not lie in one space.
        event_log: Any log with the features that the model reads.
        as_of: The time as of which.

    Returns:
        Columns `customer_id`, `as_of`, and `e0` to ``e{D-1}``: float32, the encoder's state after
        the customer's newest event.

    Raises:
        SeqmarketError: The model is a baseline, a feature is missing, or no customer has an event
            by then.
    """
    if trained.model is None:
        raise SeqmarketError(
            "this run's model is a baseline, which has no states",
            where="seqmarket embed",
            fix="name a run of a network, such as model=gru",
        )
    check_features(event_log, trained.spec)
    set_threads(trained.config.training.threads)
    model: Any = trained.model
    if isinstance(model, JourneyEnsemble):
        model = model.members[0]
    encoder = model.encoder.eval()
    tokens, moment = trained.config.training.eval_tokens, to_microseconds(as_of)
    tables = []
    for shard in event_log.shards():
        known = shard.keep(shard.time <= moment)
        if known.n_customers:
            events = encode_shard(known, event_log.lexicon, trained.spec)
            states = newest_states(encoder, events, trained.spec.max_length, tokens)
            columns = {f"e{i}": pl.Series(column) for i, column in enumerate(states.T)}
            about = {
                "customer_id": known.customer_id,
                "as_of": pl.Series([as_of]).new_from_index(0, len(states)),
            }
            tables.append(pl.DataFrame({**about, **columns}))
    if not tables:
        raise nobody_known(as_of)
    table = pl.concat(tables).sort("customer_id")
    return Embeddings(table, event_log.n_customers - len(table))


@torch.no_grad()
def newest_states(
    encoder: Any, events: EventArrays, max_length: int, tokens: int
) -> NDArray[np.float32]:
    """(C, D) state of each customer after their newest event.

    Args:
        encoder: A `JourneyEncoder`, in evaluation mode.
        events: C customers, each with an event.
        max_length: Most events in a window.
        tokens: Padded positions per batch.
    """
    newest = events.offsets[1:] - 1
    customer = np.arange(len(newest), dtype=np.int64)
    nothing = np.zeros(len(newest), dtype=np.int64)
    table = LabelTable("state", "binary", customer, newest, events.time[newest], nothing)
    batches = EvaluationSet(events, {"state": table}, max_length, tokens)
    states = np.zeros((len(newest), encoder.d_model), dtype=np.float32)
    for i in range(len(batches)):
        batch = batches[i]
        target = batch.targets["state"]
        pooled = encoder(batch.journeys).pooled  # (B, D)
        states[target.table_row.numpy()] = pooled[target.points.row].float().numpy()
    return states


def write_embeddings(embeddings: Embeddings, path: Path) -> None:
    """Writes the table as Parquet, whole or not at all, and its digest beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_sealed(path, embeddings.table.write_parquet)
