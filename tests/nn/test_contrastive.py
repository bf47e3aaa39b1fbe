"""The contrastive loss against two plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from seqmarket.nn.contrastive import contrastive_loss

Loss = Callable[[Tensor, Tensor, float], Tensor]


def by_loops(vectors: Tensor, owner: Tensor, temperature: float) -> float:
    unit = [v / v.norm() for v in vectors.double()]
    each = []
    for i, one in enumerate(unit):
        shares = {
            j: math.exp(float(one @ other) / temperature) for j, other in enumerate(unit) if j != i
        }
        same = [j for j in shares if owner[j] == owner[i]]
        if same:
            terms = [math.log(shares[j] / sum(shares.values())) for j in same]
            each.append(-sum(terms) / len(terms))
    return sum(each) / max(len(each), 1)


def is_that_of_the_loops(loss: Loss) -> None:
    torch.manual_seed(0)
    vectors = torch.randn(11, 5)
    owner = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 4])  # two of them have one slice only
    for temperature in (0.1, 1.0):
        expected = by_loops(vectors, owner, temperature)
        assert float(loss(vectors, owner, temperature)) == pytest.approx(expected, rel=1e-4)


def test_loss_is_that_of_the_loops() -> None:
    is_that_of_the_loops(contrastive_loss)


def test_another_loss_is_noticed() -> None:
    def never_normalised(vectors: Tensor, owner: Tensor, temperature: float) -> Tensor:
        share = (vectors @ vectors.T / temperature).fill_diagonal_(-torch.inf).log_softmax(dim=1)
        same = (owner[None] == owner[:, None]).fill_diagonal_(False)
        return -share[same].mean()

    for wrong in (
        never_normalised,
        lambda v, o, t: contrastive_loss(v, o, 2 * t),
        lambda v, o, t: contrastive_loss(v, o.clamp(max=3), t),
    ):
        with pytest.raises(AssertionError):
            is_that_of_the_loops(wrong)


def test_gradients_are_finite_and_bring_slices_of_one_owner_together() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(6, 3).requires_grad_()
    owner = torch.tensor([0, 0, 1, 1, 2, 2])
    before = contrastive_loss(vectors, owner, 0.5)
    (gradient,) = torch.autograd.grad(before, vectors)
    assert torch.isfinite(gradient).all()
    after = contrastive_loss(vectors.detach() - 0.1 * gradient, owner, 0.5)
    assert float(after) < float(before.detach())


def test_nobody_with_two_slices_is_no_loss() -> None:
    assert float(contrastive_loss(torch.randn(3, 2), torch.arange(3), 0.1)) == 0.0
