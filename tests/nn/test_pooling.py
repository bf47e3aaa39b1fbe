from __future__ import annotations

import torch

from seqmarket.nn.pooling import last_state


def test_last_state_is_that_of_the_last_real_event() -> None:
    states = torch.arange(12.0).view(2, 3, 2)
    mask = torch.tensor([[True, False, False], [True, True, True]])
    assert last_state(states, mask).tolist() == [[0.0, 1.0], [10.0, 11.0]]
