"""In which precision states are passed on."""

import torch
from torch import Tensor


def as_autocast(x: Tensor) -> Tensor:
    """In the precision of autocast, where that is on: half the memory that every sum goes through.

    Products are in that precision anyway. Without it, the sum of a block's input and output would
    be float32, and be converted for each product that reads it.
    """
    if torch.jit.is_scripting():  # type: ignore[attr-defined]
        return x
    return _as_autocast(x)


@torch.jit.unused
def _as_autocast(x: Tensor) -> Tensor:
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


@torch.jit.unused
def training_on_cpu(x: Tensor) -> bool:
    """Whether steps that are written out for training on a CPU may be taken.

    An export would unroll them, and a prediction needs no gradients.
    """
    exporting = torch.compiler.is_exporting()
    return torch.is_grad_enabled() and x.device.type == "cpu" and not exporting


def out_of_autocast(x: Tensor) -> Tensor:
    """In float32, where a CPU's autocast is on and about to be left."""
    return x.to(torch.float32) if torch.is_autocast_enabled("cpu") else x
