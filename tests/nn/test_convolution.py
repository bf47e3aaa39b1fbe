"""Causal convolutions against a plain loop, and how far back they see."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from seqmarket.models.tcn import TCNEncoder
from seqmarket.nn.convolution import CausalConvolution, ConvolutionBlock
from seqmarket.schema import SequenceSpec

D = 6


def convolved_one_by_one(module: CausalConvolution, x: Tensor, dilation: int) -> Tensor:
    weight, bias = module.conv.weight.squeeze(2), module.conv.bias  # (D, D, kernel), (D,)
    rows = []
    for t in range(x.size(1)):
        row = bias.expand(x.size(0), -1)
        for back in range(weight.size(2)):
            if t - back * dilation >= 0:
                row = row + x[:, t - back * dilation] @ weight[:, :, -1 - back].T
        rows.append(row)
    return torch.stack(rows, dim=1)


def check_convolution(build: type[CausalConvolution], t: int, kernel: int, dilation: int) -> None:
    """Outputs, and gradients by input and weight, are those of the loop."""
    torch.manual_seed(0)
    module, x, seen = build(D, kernel, dilation), torch.randn(3, t, D), torch.randn(3, t, D)
    x.requires_grad_()
    inputs = [x, module.conv.weight, module.conv.bias]
    found, expected = module(x), convolved_one_by_one(module, x, dilation)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for actual, wanted in zip(
        torch.autograd.grad((found * seen).sum(), inputs),
        torch.autograd.grad((expected * seen).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(actual, wanted, rtol=1e-5, atol=1e-5)


class LeaksOneStep(CausalConvolution):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.cat([x[:, 1:], x[:, -1:]], dim=1))


class ForgetsDilation(CausalConvolution):
    def __init__(self, d_model: int, kernel_size: int, dilation: int) -> None:
        super().__init__(d_model, kernel_size, 1)


@pytest.mark.parametrize(
    ("t", "kernel", "dilation"), [(1, 2, 1), (9, 3, 1), (9, 3, 2), (20, 4, 4), (5, 4, 16)]
)
def test_convolution_is_that_of_a_loop(t: int, kernel: int, dilation: int) -> None:
    check_convolution(CausalConvolution, t, kernel, dilation)


@pytest.mark.parametrize("mutant", [LeaksOneStep, ForgetsDilation])
def test_loop_catches_its_mutants(mutant: type[CausalConvolution]) -> None:
    with pytest.raises(AssertionError):
        check_convolution(mutant, 20, 4, 4)


def events_seen(blocks: nn.Module, t: int) -> list[int]:
    """How many events back, from the last one, stand those that change the last state."""
    torch.manual_seed(0)
    x = torch.randn(1, t, D, requires_grad=True)
    blocks.eval()(x)[0, -1].sum().backward()
    assert x.grad is not None
    return (t - 1 - x.grad[0].abs().sum(-1).nonzero().flatten()).flip(0).tolist()


def check_receptive_field(build: Callable[..., TCNEncoder], spec: SequenceSpec) -> None:
    """The last state depends on as many events as the encoder says, on each, and on no other."""
    for kernel, n_layers in ((2, 3), (3, 2), (4, 2)):
        encoder = build(spec, d_model=D, n_layers=n_layers, kernel_size=kernel)
        assert encoder.receptive_field == kernel**n_layers
        assert events_seen(encoder.blocks, 20) == list(range(encoder.receptive_field))


class Undilated(TCNEncoder):
    def __init__(self, spec: SequenceSpec, d_model: int, n_layers: int, kernel_size: int) -> None:
        super().__init__(spec, d_model, n_layers, kernel_size)
        self.blocks = nn.Sequential(
            *(ConvolutionBlock(d_model, kernel_size, 1, 0.0) for _ in range(n_layers))
        )


def test_receptive_field_is_as_documented(spec: SequenceSpec) -> None:
    check_receptive_field(TCNEncoder, spec)


def test_receptive_field_catches_constant_dilation(spec: SequenceSpec) -> None:
    with pytest.raises(AssertionError):
        check_receptive_field(Undilated, spec)


@pytest.mark.parametrize(
    ("max_length", "kernel_size", "n_blocks"), [(1, 4, 1), (64, 4, 3), (65, 4, 4), (256, 2, 8)]
)
def test_by_default_the_fewest_blocks_that_see_a_whole_window(
    spec: SequenceSpec, max_length: int, kernel_size: int, n_blocks: int
) -> None:
    spec = dataclasses.replace(spec, max_length=max_length)
    encoder = TCNEncoder(spec, d_model=D, kernel_size=kernel_size)
    assert len(encoder.blocks) == n_blocks
    assert encoder.receptive_field >= max_length
