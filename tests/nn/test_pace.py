"""Fading counts against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

from seqmarket.nn.pace import MEMORIES, FadingCounts
from seqmarket.schema import SequenceSpec
from seqmarket.tensors import JourneyBatch


def counted_one_by_one(module: FadingCounts, x: torch.Tensor, batch: JourneyBatch) -> torch.Tensor:
    weight = softplus(module.kinds(x))
    rows = []
    for b in range(x.size(0)):
        for i in range(int(batch.mask[b].sum())):
            row = []
            for memory in module.memories.tolist():
                total = torch.zeros(weight.size(-1))
                for j in range(i + 1):
                    since = float(batch.time[b, i] - batch.time[b, j])
                    total = total + weight[b, j] * float(np.exp(-since / memory))
                row.append(torch.log1p(total))
            rows.append(torch.cat(row))
    return torch.stack(rows)


def test_counts_equal_those_of_a_loop(spec: SequenceSpec, batch: JourneyBatch) -> None:
    torch.manual_seed(0)
    x = torch.randn(*batch.mask.shape, 16)
    module = FadingCounts(spec, 16, n_kinds=3)
    found = module(x, batch)
    assert found.shape == (*batch.mask.shape, module.width)
    assert module.width == 3 * len({*MEMORIES, 10.0 * spec.time_scale})
    torch.testing.assert_close(found[batch.mask], counted_one_by_one(module, x, batch))


def test_twice_as_many_events_count_twice(spec: SequenceSpec, batch: JourneyBatch) -> None:
    """What attention cannot do: tell a busy customer from a quiet one with the same mix."""
    batch = batch._replace(time=torch.zeros_like(batch.time), mask=torch.ones_like(batch.mask))
    module = FadingCounts(spec, 16, n_kinds=2)
    counts = module(torch.ones(*batch.mask.shape, 16), batch).expm1()
    one = counts[:, 0]
    for i in range(counts.size(1)):
        torch.testing.assert_close(counts[:, i], (i + 1) * one)


@pytest.mark.parametrize("garbage", [float("nan"), 1e12, -1e12])
def test_padding_harms_neither_values_nor_gradients(
    spec: SequenceSpec, batch: JourneyBatch, garbage: float
) -> None:
    module = FadingCounts(spec, 16, n_kinds=2)
    x = torch.randn(*batch.mask.shape, 16)
    clean = module(x, batch)[batch.mask]
    dirty = batch._replace(time=batch.time.masked_fill(~batch.mask, garbage))
    found = module(x, dirty)
    torch.testing.assert_close(found[batch.mask], clean)
    found[batch.mask].sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)
