"""Explicit attention against the fused path in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqmarket.nn import explicit_attention as module
from seqmarket.nn.attention import attend_before
from seqmarket.nn.explicit_attention import explicit_attention, explicit_pays

B, T, H, W = 3, 50, 4, 16


def fused(qkv: Tensor, favour: Tensor) -> Tensor:
    q, k, v = qkv.view(B, T, 3, H, W).permute(2, 0, 3, 1, 4).unbind(0)
    return attend_before(q, k, v, favour).transpose(1, 2).reshape(B, T, H * W)


def deviations(dtype: torch.dtype) -> list[float]:
    """Relative errors of the output and of both gradients."""
    torch.manual_seed(0)
    qkv = torch.randn(B, T, 3 * H * W, dtype=torch.float64)
    favour = (5.0 * torch.rand(B, H, T, dtype=torch.float64)).cumsum(-1)  # up to some 150
    grad = torch.randn(B, T, H * W, dtype=torch.float64)
    a, b = qkv.clone().requires_grad_(), favour.clone().requires_grad_()
    y = fused(a, b)
    expected = [y, *torch.autograd.grad(y, [a, b], grad)]
    a, b = qkv.to(dtype).requires_grad_(), favour.float().requires_grad_()
    x = explicit_attention(a, b, H)
    found = [x, *torch.autograd.grad(x, [a, b], grad.to(dtype))]
    return [
        float(((f - e).norm() / e.norm()).detach()) for f, e in zip(found, expected, strict=True)
    ]


def test_it_equals_the_fused_path() -> None:
    assert max(deviations(torch.float64)) < 2e-6  # the favour is float32


def test_in_bfloat16_it_is_as_exact_as_that_allows() -> None:
    assert max(deviations(torch.bfloat16)) < 0.015


def test_a_favour_in_one_bfloat16_would_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def coarse(more: Tensor, favour: Tensor) -> None:
        append(more, favour.to(torch.bfloat16).to(favour.dtype))

    append = module._append
    monkeypatch.setattr(module, "_append", coarse)
    assert max(deviations(torch.bfloat16)) > 0.05


def test_it_is_for_bfloat16_and_journeys_of_some_length() -> None:
    assert explicit_pays(torch.zeros(1, 8, 48, dtype=torch.bfloat16))
    assert not explicit_pays(torch.zeros(1, 8, 48))
    assert not explicit_pays(torch.zeros(1, module.LONGEST + 1, 48, dtype=torch.bfloat16))
