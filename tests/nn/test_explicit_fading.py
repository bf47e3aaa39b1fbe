"""Counts event by event against the scan in chunks, which autograd goes through."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqmarket.nn.explicit_fading import explicit_fading
from seqmarket.nn.pace import fading_by_chunks

B, M, K = 3, 4, 2


def parts(t: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    fade = torch.rand(B, t, M, dtype=torch.float64)
    weight = torch.rand(B, t, K, dtype=torch.float64, requires_grad=True)
    return fade, weight, torch.randn(B, t, M * K, dtype=torch.float64)


@pytest.mark.parametrize("t", [1, 2, 16, 37])
def test_it_equals_the_scan_by_chunks(t: int) -> None:
    fade, weight, grad = parts(t)
    expected, found = fading_by_chunks(fade, weight), explicit_fading(fade, weight)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, weight, grad), torch.autograd.grad(expected, weight, grad)
    )


def test_a_gradient_that_does_not_fade_would_be_wrong() -> None:
    """What the test above would see if the backward pass skipped the recurrence."""
    fade, weight, grad = parts(37)
    (expected,) = torch.autograd.grad(fading_by_chunks(fade, weight), weight, grad)
    at_once = grad.view(B, 37, M, K).sum(dim=2)
    assert (expected - at_once).abs().max() > 0.1


def test_the_gradient_handed_in_is_not_written_to() -> None:
    fade, weight, grad = parts(37)
    kept = grad.clone()
    explicit_fading(fade, weight).backward(grad)
    assert torch.equal(grad, kept)
