from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from seqmarket.nn.dropout import ChannelDropout


def check_whole_channels(dropout: nn.Module) -> None:
    """Of ones, a channel of a journey is all zeros or all scaled, and both occur as asked."""
    torch.manual_seed(0)
    y: Tensor = dropout.train()(torch.ones(50, 7, 40))
    assert torch.equal(y, y[:, :1].expand_as(y)), "events differ"
    torch.testing.assert_close(y.unique(), torch.tensor([0.0, 1.0 / 0.75]))
    assert 0.2 < float((y == 0).float().mean()) < 0.3


def test_drops_whole_channels() -> None:
    check_whole_channels(ChannelDropout(0.25))


def test_check_catches_dropout_of_values() -> None:
    with pytest.raises(AssertionError, match="events differ"):
        check_whole_channels(nn.Dropout(0.25))


def test_changes_nothing_in_evaluation_or_at_zero() -> None:
    x = torch.randn(2, 3, 4)
    assert torch.equal(ChannelDropout(0.5).eval()(x), x)
    assert torch.equal(ChannelDropout(0.0).train()(x), x)


def test_adding_what_is_dropped_is_one_with_dropping_and_adding() -> None:
    x, y = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    drop = ChannelDropout(0.5)
    torch.manual_seed(1)
    found = drop.add(x, y)
    torch.manual_seed(1)
    torch.testing.assert_close(found, x + drop(y))
    assert torch.equal(drop.eval().add(x, y), x + y)
