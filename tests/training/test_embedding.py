"""Embeddings: the encoder's own states, whatever batch they were made in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from seqmarket.data.batch import Windows, collate, window_start
from seqmarket.data.encoding import encode_shard
from seqmarket.data.event_log import EventLog
from seqmarket.data.sealed import digest_file
from seqmarket.data.shard import Shard
from seqmarket.data.splits import to_microseconds
from seqmarket.errors import SeqmarketError
from seqmarket.training import embedding
from seqmarket.training.checkpoint import TrainedModel, load_trained
from seqmarket.training.embedding import (
    Embeddings,
    embed_customers,
    newest_states,
    write_embeddings,
)
from seqmarket.training.instantiate import build

AS_OF = datetime(2024, 4, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def model(gru_run) -> TrainedModel:
    return load_trained(gru_run.model_file)


@pytest.fixture(scope="module")
def log(model: TrainedModel, read_log: Callable[..., EventLog]) -> EventLog:
    return read_log(build(model.config.data.source))


@pytest.fixture(scope="module")
def embeddings(model: TrainedModel, log: EventLog) -> Embeddings:
    return embed_customers(model, log, AS_OF)


def vectors(table: pl.DataFrame) -> np.ndarray:
    return table.select(pl.col("^e[0-9]+$")).to_numpy()


def test_one_row_per_customer_with_an_event_by_then(log: EventLog, embeddings: Embeddings) -> None:
    known = log.frame.filter(pl.col("time") <= AS_OF).collect()["customer_id"].unique().sort()
    table = embeddings.table
    assert table["customer_id"].to_list() == known.to_list()
    assert table.columns == ["customer_id", "as_of", *(f"e{i}" for i in range(8))]
    assert table["as_of"].unique().to_list() == [AS_OF]
    assert table["as_of"].dtype == pl.Datetime("us", "UTC")
    assert set(table.dtypes[2:]) == {pl.Float32}
    everybody = log.frame.select(pl.col("customer_id").n_unique()).collect().item()
    assert embeddings.n_skipped == everybody - len(known) > 0


@torch.no_grad()
def are_the_states_of_the_model(model: TrainedModel, log: EventLog, table: pl.DataFrame) -> None:
    """One customer after the other, without any padding."""
    spec, encoder = model.spec, model.model.encoder.eval()
    seen = 0
    for shard in log.shards():
        known = shard.keep(shard.time <= to_microseconds(AS_OF))
        events = encode_shard(known, log.lexicon, spec)
        for customer, name in enumerate(known.customer_id):
            first, stop = events.offsets[customer], events.offsets[customer + 1]
            start = first + window_start(np.array([stop - 1 - first]), spec.max_length)
            window = Windows(start, np.array([stop]), np.array([customer]))
            pooled = encoder(collate(events, window)).pooled[0].numpy()
            found = vectors(table.filter(customer_id=name))[0]
            assert found == pytest.approx(pooled, abs=1e-5)
            seen += 1
    assert seen == len(table)


def test_embeddings_are_the_states_of_the_model(
    model: TrainedModel, log: EventLog, embeddings: Embeddings
) -> None:
    are_the_states_of_the_model(model, log, embeddings.table)


def test_states_of_other_customers_are_noticed(
    model: TrainedModel, log: EventLog, embeddings: Embeddings
) -> None:
    shifted = embeddings.table.with_columns(pl.col("^e[0-9]+$").shift(1, fill_value=0))
    with pytest.raises(AssertionError):
        are_the_states_of_the_model(model, log, shifted)


def test_other_batches_give_the_same(
    model: TrainedModel, log: EventLog, embeddings: Embeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        embedding, "newest_states", lambda e, events, length, _: newest_states(e, events, length, 1)
    )
    alone = embed_customers(model, log, AS_OF).table
    assert alone["customer_id"].equals(embeddings.table["customer_id"])
    assert vectors(alone) == pytest.approx(vectors(embeddings.table), abs=1e-5)


def later_events_change_nothing(
    model: TrainedModel, known: EventLog, embeddings: Embeddings
) -> None:
    assert_frame_equal(embed_customers(model, known, AS_OF).table, embeddings.table)


def test_later_events_change_nothing(
    model: TrainedModel,
    log: EventLog,
    embeddings: Embeddings,
    log_like: Callable[[EventLog, pl.DataFrame], EventLog],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = log_like(log, log.frame.filter(pl.col("time") <= AS_OF).collect())
    later_events_change_nothing(model, known, embeddings)
    # The mutant: an embedding of everything.
    keep = Shard.keep
    monkeypatch.setattr(Shard, "keep", lambda shard, kept: keep(shard, shard.time > 0))
    leaked = embed_customers(model, log, AS_OF)
    monkeypatch.undo()
    with pytest.raises(AssertionError):
        later_events_change_nothing(model, known, leaked)


def test_a_baseline_has_no_states(logistic_run, log: EventLog) -> None:
    with pytest.raises(SeqmarketError, match="a baseline, which has no states"):
        embed_customers(load_trained(logistic_run.model_file), log, AS_OF)


def test_a_moment_before_the_first_event_is_refused(model: TrainedModel, log: EventLog) -> None:
    with pytest.raises(SeqmarketError, match="no customer has an event at or before 1999-01-01"):
        embed_customers(model, log, datetime(1999, 1, 1, tzinfo=UTC))


def test_the_table_is_written_whole_with_its_digest(embeddings: Embeddings, tmp_path: Path) -> None:
    path = tmp_path / "new" / "states.parquet"
    write_embeddings(embeddings, path)
    assert_frame_equal(pl.read_parquet(path), embeddings.table, check_exact=True)
    assert sorted(path.parent.iterdir()) == [path, digest_file(path)]
