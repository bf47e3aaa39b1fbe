"""Fading counts event by event, where that is faster than by chunks: training on a CPU.

Shape legend: B journeys, T events of the longest, M memories, K kinds of events.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from seqmarket.nn.precision import training_on_cpu

_FEW_EVENTS, _MANY_JOURNEYS = 64, 64


@torch.jit.unused
def step_by_step_pays(fade: Tensor, weight: Tensor) -> bool:
    """Whether `explicit_fading` is faster than chunks, and gives every gradient that is wanted."""
    b, t, _ = weight.shape
    wanted = training_on_cpu(weight) and not fade.requires_grad
    return wanted and (t <= _FEW_EVENTS or b >= _MANY_JOURNEYS)


@torch.jit.unused
def explicit_fading(fade: Tensor, weight: Tensor) -> Tensor:
    """All states of ``h[t] = fade[t] * h[t - 1] + weight[t]``, from ``h[-1] = 0``.

    What `seqmarket.nn.recurrence.linear_scan` computes for every memory of every kind; but the
    fades belong to memories alone, and a journey is T steps on arrays that stay in the cache.

    Args:
        fade: (B, T, M) float32 between 0 and 1, which needs no gradient.
        weight: (B, T, K) float32, what each event adds.

    Returns:
        (B, T, M K).
    """
    return _Fading.apply(fade, weight)  # type: ignore[no-any-return, no-untyped-call]


class _Fading(Function):
    """Time comes first in memory, so that a step reads and writes one piece."""

    @staticmethod
    def forward(ctx: Any, fade: Tensor, weight: Tensor) -> Tensor:
        b, t, m = fade.shape
        fades = fade.transpose(0, 1).unsqueeze(3).contiguous().unbind(0)  # T of (B, M, 1)
        added = weight.transpose(0, 1).unsqueeze(2).contiguous().unbind(0)  # T of (B, 1, K)
        counts = weight.new_empty(t, b, m, weight.size(2))
        states = counts.unbind(0)
        states[0].copy_(added[0].expand_as(states[0]))
        for i in range(1, t):
            torch.addcmul(added[i], fades[i], states[i - 1], out=states[i])
        ctx.save_for_backward(*fades)
        ctx.kinds = weight.size(2)
        return counts.flatten(2).transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        fades = ctx.saved_tensors
        b, m, _ = fades[0].shape
        due = torch.empty_like(grad.transpose(0, 1), memory_format=torch.contiguous_format)
        due.copy_(grad.transpose(0, 1))
        each = due.view(len(fades), b, m, ctx.kinds)
        steps = each.unbind(0)
        for i in range(len(fades) - 1, 0, -1):
            steps[i - 1].addcmul_(fades[i], steps[i])
        return None, each.sum(dim=2).transpose(0, 1)
