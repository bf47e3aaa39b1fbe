"""The linear recurrence against a plain loop over events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu

from seqmarket.nn.recurrence import (
    LONGEST_MEMORY,
    GatedRecurrence,
    RecurrenceBlock,
    linear_scan,
)
from seqmarket.nn.time_encoding import days_since_first, days_since_previous
from seqmarket.schema import SequenceSpec
from seqmarket.tensors import JourneyBatch

Scan = Callable[[Tensor, Tensor], Tensor]
D = 8


def gaps(batch: JourneyBatch) -> Tensor:
    return days_since_previous(days_since_first(batch.time, batch.mask))


def scanned_one_by_one(decay: Tensor, x: Tensor) -> Tensor:
    h, states = torch.zeros_like(x[:, 0]), []
    for t in range(x.size(1)):
        h = decay[:, t] * h + x[:, t]
        states.append(h)
    return torch.stack(states, dim=1)


def same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def check_scan(scan: Scan, t: int) -> None:
    """States, and gradients by decay and input, are those of the loop."""
    torch.manual_seed(t)
    decay, x, seen = torch.rand(3, t, D), torch.randn(3, t, D), torch.randn(3, t, D)
    inputs = [decay.sqrt().requires_grad_(), x.requires_grad_()]
    found, expected = scan(*inputs), scanned_one_by_one(*inputs)
    same(found, expected)
    for actual, wanted in zip(
        torch.autograd.grad((found * seen).sum(), inputs),
        torch.autograd.grad((expected * seen).sum(), inputs),
        strict=True,
    ):
        same(actual, wanted)


def leaks_one_step(decay: Tensor, x: Tensor) -> Tensor:
    h = linear_scan(decay, x)
    return torch.cat([h[:, 1:], h[:, -1:]], dim=1)


def decays_one_step_late(decay: Tensor, x: Tensor) -> Tensor:
    return linear_scan(torch.cat([decay[:, :1], decay[:, :-1]], dim=1), x)


def loses_the_carry(decay: Tensor, x: Tensor) -> Tensor:
    return torch.cat(
        [linear_scan(decay[:, :16], x[:, :16]), linear_scan(decay[:, 16:], x[:, 16:])], 1
    )


def gradient_stops_at_the_carry(decay: Tensor, x: Tensor) -> Tensor:
    h = linear_scan(decay, x)
    return torch.cat([h[:, :32], h[:, 32:].detach()], dim=1)


@pytest.mark.parametrize("t", [1, 2, 15, 16, 17, 32, 50, 129])
def test_scan_is_that_of_a_loop(t: int) -> None:
    check_scan(linear_scan, t)


@pytest.mark.parametrize(
    "mutant", [leaks_one_step, decays_one_step_late, loses_the_carry, gradient_stops_at_the_carry]
)
def test_loop_catches_its_mutants(mutant: Scan) -> None:
    with pytest.raises(AssertionError):
        check_scan(mutant, 50)


def test_extreme_decays_stay_exact() -> None:
    """Ratios of cumulated decays, which scans often use, would be NaN or infinite here."""
    x = torch.randn(2, 300, D)
    same(linear_scan(torch.ones_like(x), x), x.cumsum(1))
    for tiny in (0.0, 1e-42, 1e-20):
        decay = torch.full_like(x, tiny).requires_grad_()
        h = linear_scan(decay, x)
        same(h, x)
        h.sum().backward()
        assert decay.grad is not None
        assert decay.grad.isfinite().all()


def run_one_by_one(module: GatedRecurrence, x: Tensor, days: Tensor) -> Tensor:
    h, outputs = torch.zeros_like(x[:, 0]), []
    rate = module.log_rate.exp()
    for t in range(x.size(1)):
        f = torch.sigmoid(module.forget(x[:, t]))
        h = f * torch.exp(-rate * days[:, t, None]) * h + (1.0 - f) * module.value(x[:, t])
        outputs.append(module.out(h * gelu(module.gate(x[:, t]))))
    return torch.stack(outputs, dim=1)


def check_recurrence(build: type[GatedRecurrence], spec: SequenceSpec) -> None:
    """Outputs, and gradients by the input and every parameter, are those of the loop."""
    torch.manual_seed(0)
    module = build(spec, D)
    x, seen = torch.randn(3, 40, D, requires_grad=True), torch.randn(3, 40, D)
    days = -3.0 * torch.rand(3, 40).log()
    inputs = [x, *module.parameters()]
    found, expected = module(x, days), run_one_by_one(module, x, days)
    same(found, expected)
    for actual, wanted in zip(
        torch.autograd.grad((found * seen).sum(), inputs, allow_unused=True),
        torch.autograd.grad((expected * seen).sum(), inputs),
        strict=True,
    ):
        assert actual is not None
        torch.testing.assert_close(actual, wanted, rtol=1e-4, atol=1e-5)


class ForgetsTheGap(GatedRecurrence):
    def forward(self, x: Tensor, days: Tensor) -> Tensor:
        return super().forward(x, torch.zeros_like(days))


class GapOfTheNextEvent(GatedRecurrence):
    def forward(self, x: Tensor, days: Tensor) -> Tensor:
        return super().forward(x, days.roll(-1, dims=1))


class SeesTheNextEvent(GatedRecurrence):
    def forward(self, x: Tensor, days: Tensor) -> Tensor:
        return super().forward(torch.cat([x[:, 1:], x[:, -1:]], dim=1), days)


def test_recurrence_is_that_of_a_loop(spec: SequenceSpec) -> None:
    check_recurrence(GatedRecurrence, spec)


@pytest.mark.parametrize("mutant", [ForgetsTheGap, GapOfTheNextEvent, SeesTheNextEvent])
def test_recurrence_catches_its_mutants(mutant: type[GatedRecurrence], spec: SequenceSpec) -> None:
    with pytest.raises(AssertionError):
        check_recurrence(mutant, spec)


def test_memories_start_out_spread(spec: SequenceSpec) -> None:
    """Between 2 events and the longest journey, between the log's pace and a year."""
    module = GatedRecurrence(spec, 64)
    events = 1.0 / (1.0 - torch.sigmoid(module.forget.bias))
    days = torch.exp(-module.log_rate)
    for memory, low, high in (
        (events, 2.0, spec.max_length),
        (days, spec.time_scale, LONGEST_MEMORY),
    ):
        assert low <= memory.min() < 1.2 * low
        assert 0.8 * high < memory.max() <= high
    correlation = torch.corrcoef(torch.stack([events.log(), days.log()]))[0, 1]
    assert correlation.abs() < 0.2


@pytest.mark.parametrize(("max_length", "time_scale"), [(1, 0.0), (4, 1e4)])
def test_any_log_gives_finite_memories(
    spec: SequenceSpec, max_length: int, time_scale: float
) -> None:
    module = GatedRecurrence(replace(spec, max_length=max_length, time_scale=time_scale), D)
    assert all(parameter.isfinite().all() for parameter in module.parameters())


def test_long_memories_survive_bfloat16(spec: SequenceSpec) -> None:
    """A forget gate of 0.9998 is 1 in bfloat16, and would let nothing in."""
    torch.manual_seed(0)
    module = GatedRecurrence(spec, D)
    torch.nn.init.constant_(module.forget.bias, 8.5)
    x, days = torch.randn(2, 30, D), torch.zeros(2, 30)
    with torch.no_grad():
        module.out.bias.zero_()
        expected = module(x, days)
        with torch.autocast("cpu", torch.bfloat16):
            found = module(x, days).float()
    assert (found - expected).norm() < 0.05 * expected.norm()


def test_gaps_are_those_to_the_event_before(batch: JourneyBatch) -> None:
    days = gaps(batch)
    assert days.dtype == torch.float32
    same(days, torch.tensor([[0.0, 1.0, 0.5, 7.5], [0.0, 0.25, 29.75, 0.0]]))


@pytest.mark.parametrize("garbage", [float("nan"), 1e12, -1e12])
def test_padding_harms_neither_values_nor_gradients(
    spec: SequenceSpec, batch: JourneyBatch, garbage: float
) -> None:
    torch.manual_seed(0)
    block = RecurrenceBlock(spec, D, 0.0)
    x = torch.randn(2, 4, D)
    clean = block(x, gaps(batch))[batch.mask]
    dirty = batch._replace(time=batch.time.masked_fill(~batch.mask, garbage))
    found = block(x, gaps(dirty))[batch.mask]
    assert torch.equal(found, clean)
    found.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in block.parameters() if p.grad is not None)
