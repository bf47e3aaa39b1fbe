from __future__ import annotations

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from seqmarket.nn.heads import BinaryHead, ClassificationHead
from seqmarket.schema import SequenceSpec

NOON = 20_454.5


def points(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """State, elapsed and time of n predictions."""
    generator = torch.Generator().manual_seed(0)
    elapsed = 40.0 * torch.rand(n, generator=generator)
    return torch.randn(n, 8, generator=generator), elapsed, NOON + elapsed.double()


def test_first_prediction_is_the_base_rate(spec: SequenceSpec) -> None:
    head = ClassificationHead(8, spec, n_classes=3)
    shares = torch.tensor([0.7, 0.25, 0.05])
    head.set_prior(shares)
    probabilities = head(*points(50)).softmax(dim=-1)
    assert probabilities.shape == (50, 3)
    torch.testing.assert_close(probabilities, shares.expand(50, 3), atol=0.05, rtol=0.0)


def test_first_prediction_of_a_binary_head_is_the_base_rate(spec: SequenceSpec) -> None:
    head = BinaryHead(8, spec)
    head.set_prior(torch.tensor(0.03))
    probabilities = head(*points(50)).sigmoid()
    assert probabilities.shape == (50,)
    torch.testing.assert_close(probabilities, torch.full((50,), 0.03), atol=0.01, rtol=0.0)


def test_what_training_never_showed_stays_possible(spec: SequenceSpec) -> None:
    head, binary = ClassificationHead(8, spec, n_classes=2), BinaryHead(8, spec)
    head.set_prior(torch.tensor([1.0, 0.0]))
    binary.set_prior(torch.tensor([0.0]))
    assert head(*points(5)).isfinite().all()
    assert binary(*points(5)).isfinite().all()


def test_no_points_give_no_logits(spec: SequenceSpec) -> None:
    assert ClassificationHead(8, spec, n_classes=3)(*points(0)).shape == (0, 3)
    assert BinaryHead(8, spec)(*points(0)).shape == (0,)


@pytest.mark.parametrize("n_classes", [1, 4])
def test_state_elapsed_and_time_all_matter(spec: SequenceSpec, n_classes: int) -> None:
    torch.manual_seed(0)
    head = ClassificationHead(8, spec, n_classes)
    state, elapsed, time = points(6)
    logits = head(state, elapsed, time)
    for other in (
        head(state.flip(0), elapsed, time),
        head(state, elapsed + 28.0, time),
        head(state, elapsed, time + 0.4),
    ):
        assert ((other - logits).abs().amax(dim=-1) > 1e-4).all()


def test_a_silence_can_be_learned(spec: SequenceSpec) -> None:
    torch.manual_seed(0)
    head = BinaryHead(8, spec, hidden=16)
    state, elapsed, time = points(256)
    silent = (elapsed > 7.0).float()
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    for _ in range(100):
        loss = binary_cross_entropy_with_logits(head(state, elapsed, time), silent)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert ((head(state, elapsed, time) > 0) == (silent > 0)).float().mean() > 0.97
