"""The running average of the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from seqmarket.training.fit import growing_average


@pytest.mark.parametrize("decay", [0.5, 0.998])
def test_weights_are_averaged_over_more_and_more_steps(decay: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    averaged = AveragedModel(model, use_buffers=False, multi_avg_fn=growing_average(decay))
    expected = [parameter.detach().clone() for parameter in model.parameters()]
    averaged.update_parameters(model)
    for n in range(1, 40):
        for parameter, value in zip(model.parameters(), expected, strict=True):
            parameter.data.add_(torch.randn_like(parameter))
            keep = min(decay, (1 + n) / (10 + n))
            value.mul_(keep).add_(parameter.detach(), alpha=1 - keep)
        averaged.update_parameters(model)
    for parameter, value in zip(averaged.module.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.detach(), value)
