"""A GRU's training step written out, for CPUs: torch has a fused kernel there for LSTMs only.

As torch composes it, each of the T steps of a GRU makes some twenty small arrays and their
gradients. Here what does not depend on the step before is done for all steps at once, the rest in
place, and the gradients of all weights are a few large products at the end.

Shape legend: B journeys, T events of the longest, D width of an input, H of a state.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import dropout

_IN_CACHE = 1 << 16
"""Values per array that the backward pass works on at a time."""


@torch.jit.unused
def written_out_gru(rnn: nn.GRU, x: Tensor) -> Tensor:
    """What ``rnn(x)[0]`` computes, with gradients to the weights of ``rnn`` and to ``x``.

    Args:
        rnn: With ``batch_first``, biases, one direction, and no projection.
        x: (B, T, D).

    Returns:
        (B, T, H), in the precision of autocast where that is on.
    """
    precise = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    with torch.autocast("cpu", enabled=False):
        states = x.to(precise).transpose(0, 1).contiguous()  # (T, B, D)
        for layer, weights in enumerate(rnn.all_weights):
            if layer and rnn.dropout and rnn.training:
                states = dropout(states, rnn.dropout)
            states = _GRULayer.apply(states, *(weight.to(precise) for weight in weights))  # type: ignore[no-untyped-call]
        return states.transpose(0, 1)


class _GRULayer(Function):
    """One layer, time first: ``h' = z h + (1 - z) tanh(n + r (W h + b))``, gates r and z."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w_in: Tensor, w_state: Tensor, b_in: Tensor, b_state: Tensor
    ) -> Tensor:
        t, b, d = x.shape
        h = w_state.size(1)
        bias = torch.cat([b_in[: 2 * h] + b_state[: 2 * h], b_in[2 * h :]])
        gates = torch.addmm(bias, x.view(t * b, d), w_in.t()).view(t, b, 3 * h)
        states = x.new_empty(t + 1, b, h)
        states[0] = 0.0
        recalled = x.new_empty(t, b, h)  # W h + b of the candidate
        to_gates = w_state[: 2 * h].t().contiguous()
        to_candidate = w_state[2 * h :].t().contiguous()
        b_candidate = b_state[2 * h :].expand(b, h).contiguous()
        rz, r, z, n = (gates[:, :, a : a + w] for a, w in ((0, 2 * h), (0, h), (h, h), (2 * h, h)))
        steps = zip(*(part.unbind(0) for part in (rz, r, z, n, recalled, states[1:])), strict=True)
        state = states[0]
        for rz_t, r_t, z_t, n_t, recalled_t, next_state in steps:
            rz_t.addmm_(state, to_gates).sigmoid_()
            torch.addmm(b_candidate, state, to_candidate, out=recalled_t)
            _tanh_(n_t.addcmul_(r_t, recalled_t))
            state = torch.lerp(n_t, state, z_t, out=next_state)
        ctx.save_for_backward(x, w_in, w_state, gates, states, recalled)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, w_in, w_state, gates, states, recalled = ctx.saved_tensors
        t, b, h = grad.shape
        # Per event, to r, z, what the candidate recalls, and the candidate; before activations.
        due = x.new_empty(t, b, 4, h)
        state_due = torch.zeros_like(grad[0])
        at_once = max(1, _IN_CACHE // max(b * h, 1))
        for end in range(t, 0, -at_once):
            part = slice(max(0, end - at_once), end)
            r, z, n = gates[part].chunk(3, dim=2)
            _per_unit_of_state(due[part], r, z, n, states[part], recalled[part])
            to_state = due[part, :, :3].flatten(2)
            for due_t, to_state_t, z_t, grad_t in _backwards(due[part], to_state, z, grad[part]):
                state_due.add_(grad_t)
                due_t.mul_(state_due.unsqueeze(1))
                state_due.mul_(z_t).addmm_(to_state_t, w_state)
        flat = due.view(t * b, 4 * h)
        to_gates, to_state, to_candidate = flat[:, : 2 * h], flat[:, : 3 * h], flat[:, 3 * h :]
        x_due = torch.addmm(to_gates @ w_in[: 2 * h], to_candidate, w_in[2 * h :])
        d = x.size(2)
        x = x.view(t * b, d)
        w_in_due = torch.cat([to_gates.t() @ x, to_candidate.t() @ x])
        w_state_due = to_state.t() @ states[:-1].view(t * b, h)
        # As a product: in bfloat16, `sum` takes ten times as long.
        biases = (flat.new_ones(1, t * b) @ flat).squeeze(0)
        b_in_due = torch.cat([biases[: 2 * h], biases[3 * h :]])
        return x_due.view(t, b, d), w_in_due, w_state_due, b_in_due, biases[: 3 * h]


def _tanh_(x: Tensor) -> None:
    """In place; by way of float32, as the kernel of bfloat16 is slow."""
    if x.dtype == torch.bfloat16:
        x.copy_(x.float().tanh_())
    else:
        x.tanh_()


def _per_unit_of_state(
    due: Tensor, r: Tensor, z: Tensor, n: Tensor, before: Tensor, recalled: Tensor
) -> None:
    """Fills ``due`` (..., 4, H) with the derivatives of the new state."""
    to_r, to_z, to_recalled, to_n = due.unbind(2)
    torch.ops.aten.tanh_backward.grad_input(1.0 - z, n, grad_input=to_n)
    torch.mul(to_n, r, out=to_recalled)
    torch.ops.aten.sigmoid_backward.grad_input(before - n, z, grad_input=to_z)
    torch.ops.aten.sigmoid_backward.grad_input(to_n * recalled, r, grad_input=to_r)


def _backwards(*parts: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """Their slices along the first dimension, from the last to the first."""
    return zip(*(reversed(part.unbind(0)) for part in parts), strict=True)
