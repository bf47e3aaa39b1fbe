"""Counts event by event against the scan in chunks, which autograd goes through."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqmarket.nn.explicit_fading import explicit_fading, step_by_step_pays
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


def test_a_second_derivative_is_refused_rather_than_wrong() -> None:
    fade, weight, grad = parts(5)
    (first,) = torch.autograd.grad(explicit_fading(fade, weight), weight, grad, create_graph=True)
    with pytest.raises(RuntimeError):
        first.sum().backward()


def test_no_journeys_have_no_gradient() -> None:
    fade, weight = torch.rand(0, 4, M), torch.rand(0, 4, K, requires_grad=True)
    explicit_fading(fade, weight).sum().backward()
    assert weight.grad is not None
    assert weight.grad.shape == (0, 4, K)


@pytest.mark.parametrize(
    ("size", "pays"), [((1, 64), True), ((1, 65), False), ((64, 200), True), ((63, 200), False)]
)
def test_it_is_for_short_journeys_or_many(size: tuple[int, int], pays: bool) -> None:
    fade, weight = torch.rand(*size, M), torch.rand(*size, K)
    assert step_by_step_pays(fade, weight) == pays
    assert not step_by_step_pays(fade.requires_grad_(), weight)
    with torch.no_grad():
        assert not step_by_step_pays(torch.rand(*size, M), weight)
