from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from seqmarket.nn.embedding import CategoricalSum, EventEmbedding
from seqmarket.schema import UNK, SequenceSpec
from seqmarket.tensors import JourneyBatch


@pytest.fixture
def embedding(spec: SequenceSpec) -> EventEmbedding:
    torch.manual_seed(0)
    return EventEmbedding(spec, d_model=8)


@pytest.mark.parametrize("column", ["channel", "event_type", "categorical", "features", "time"])
def test_an_event_changes_its_own_slot(
    embedding: EventEmbedding, batch: JourneyBatch, column: str
) -> None:
    changed = getattr(batch, column).clone()
    changed[0, 3] = {"channel": 3, "event_type": 3, "categorical": 3}.get(column, changed[0, 3] + 1)
    before, after = embedding(batch), embedding(batch._replace(**{column: changed}))
    assert (after - before)[0, 3].abs().max() > 1e-3
    assert torch.equal(after[0, :3], before[0, :3])
    assert torch.equal(after[1], before[1])


@pytest.mark.parametrize(
    "column", ["static_categorical", "static_features", "prior_days", "prior_events"]
)
def test_a_customer_changes_every_slot_of_its_own(
    embedding: EventEmbedding, batch: JourneyBatch, column: str
) -> None:
    changed = getattr(batch, column).clone()
    changed[0] += 1
    before, after = embedding(batch), embedding(batch._replace(**{column: changed}))
    assert ((after - before)[0].abs().amax(dim=-1) > 1e-4).all()
    assert torch.equal(after[1], before[1])


def test_padding_is_not_read(embedding: EventEmbedding, batch: JourneyBatch) -> None:
    padded = ~batch.mask
    garbage = batch._replace(
        channel=batch.channel.masked_fill(padded, 999),
        event_type=batch.event_type.masked_fill(padded, -5),
        categorical=batch.categorical.masked_fill(padded.unsqueeze(-1), 999),
        time=batch.time.masked_fill(padded, float("nan")),
        features=batch.features.masked_fill(padded.unsqueeze(-1), float("nan")),
    )
    embedded = embedding(garbage)
    assert embedded.shape == (2, 4, 8)
    assert embedded.isfinite().all()
    assert torch.equal(embedded[batch.mask], embedding(batch)[batch.mask])


def test_works_without_any_feature(spec: SequenceSpec, batch: JourneyBatch) -> None:
    bare = replace(spec, categorical=(), numeric=(), static_categorical=(), static_numeric=())
    bare_batch = batch._replace(
        categorical=torch.zeros(2, 4, 0, dtype=torch.int64),
        features=torch.zeros(2, 4, 0),
        static_categorical=torch.zeros(2, 0, dtype=torch.int64),
        static_features=torch.zeros(2, 0),
    )
    assert EventEmbedding(bare, d_model=8)(bare_batch).isfinite().all()


def test_an_unknown_category_adds_nothing_at_first(spec: SequenceSpec) -> None:
    both = CategoricalSum([spec.channel, spec.event_type], d_model=8)
    known = torch.tensor([3, 2])
    assert both(torch.tensor([UNK, UNK])).abs().sum() == 0
    half = both(torch.tensor([UNK, 2])) + both(torch.tensor([3, UNK]))
    torch.testing.assert_close(half, both(known))


def test_features_do_not_share_rows(spec: SequenceSpec) -> None:
    both = CategoricalSum([spec.channel, spec.event_type], d_model=8)
    ids = torch.cartesian_prod(torch.arange(2, 5), torch.arange(2, 4))
    assert len(both(ids).detach().unique(dim=0)) == 6


def test_few_and_many_categories_are_summed_alike(spec: SequenceSpec) -> None:
    both = CategoricalSum([spec.channel, spec.event_type], d_model=8)
    assert both.few
    ids = torch.stack([torch.arange(2, 5), torch.tensor([2, 3, 2])], dim=-1).unsqueeze(1)
    product = both(ids)
    (by_product,) = torch.autograd.grad(product.square().sum(), both.table.weight)
    both.few = False
    found = both(ids)
    (by_look_up,) = torch.autograd.grad(found.square().sum(), both.table.weight)
    torch.testing.assert_close(found, product)
    torch.testing.assert_close(by_look_up, by_product)
    assert found.shape == (3, 1, 8)
