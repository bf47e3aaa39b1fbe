"""From the states of a journey to one vector."""

from __future__ import annotations

import torch
from torch import Tensor


def last_state(states: Tensor, mask: Tensor) -> Tensor:
    """The state after the last real event of each journey.

    Args:
        states: (B, T, D).
        mask: (B, T) bool, True at real events: a prefix of at least one.

    Returns:
        (B, D).
    """
    rows = torch.arange(states.size(0), device=states.device)
    return states[rows, mask.sum(dim=1) - 1]
