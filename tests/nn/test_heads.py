from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from seqmarket.nn.heads import BinaryHead, ClassHead, PointReader, class_shares
from seqmarket.schema import SequenceSpec

NOON = 20_454.5
N = 12


def points(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """State, elapsed and time of n predictions."""
    generator = torch.Generator().manual_seed(0)
    elapsed = 40.0 * torch.rand(n, generator=generator)
    return torch.randn(n, 8, generator=generator), elapsed, NOON + elapsed.double()


def of_classes(spec: SequenceSpec, n_classes: int, label_smoothing: float = 0.0) -> ClassHead:
    return ClassHead("next_channel", PointReader(8, spec, n_classes), label_smoothing)


def of_two(spec: SequenceSpec, positive_weight: float = 1.0, hidden: int = 64) -> BinaryHead:
    return BinaryHead("churn", PointReader(8, spec, 1, hidden), positive_weight)


def answers(head: ClassHead | BinaryHead, n: int) -> Tensor:
    return head.answer(head(*points(n)), head.tasks[0])


def test_first_prediction_is_the_base_rate(spec: SequenceSpec) -> None:
    head = of_classes(spec, 3)
    label = torch.arange(100) % 20
    label = (label >= 14).long() + (label == 19).long()  # 70, 25 and 5
    head.start_from(label, torch.zeros(100), torch.ones(100))
    probabilities = answers(head, 50).softmax(dim=-1)
    assert probabilities.shape == (50, 3)
    shares = torch.tensor([0.7, 0.25, 0.05])
    torch.testing.assert_close(probabilities, shares.expand(50, 3), atol=0.05, rtol=0.0)


def test_first_prediction_of_a_binary_head_is_the_base_rate(spec: SequenceSpec) -> None:
    head = of_two(spec)
    label = (torch.arange(100) < 3).long()
    head.start_from(label, torch.zeros(100), torch.ones(100))
    probabilities = answers(head, 50).sigmoid()
    assert probabilities.shape == (50,)
    torch.testing.assert_close(probabilities, torch.full((50,), 0.03), atol=0.01, rtol=0.0)


def starts_from_weighted_shares(spec: SequenceSpec, head: type[BinaryHead]) -> None:
    """A point of weight 3 counts like three."""
    weighted = head("churn", PointReader(8, spec, 1))
    weighted.start_from(torch.tensor([1, 0]), torch.zeros(2), torch.tensor([3.0, 1.0]))
    assert float(weighted.reader.out.bias.detach().sigmoid()) == pytest.approx(0.75, abs=1e-6)


class StartsUnweighted(BinaryHead):
    """The mutant of the check above."""

    def start_from(self, label: Tensor, amount: Tensor, weight: Tensor) -> None:
        super().start_from(label, amount, torch.ones_like(weight))


def test_base_rates_are_weighted(spec: SequenceSpec) -> None:
    starts_from_weighted_shares(spec, BinaryHead)
    with pytest.raises(AssertionError):
        starts_from_weighted_shares(spec, StartsUnweighted)
    shares = class_shares(torch.tensor([1, 0, -1]), torch.tensor([3.0, 1.0, 50.0]), 2).exp()
    assert shares.tolist() == pytest.approx([0.25, 0.75])  # -1 is no class


def test_what_training_never_showed_stays_possible(spec: SequenceSpec) -> None:
    head, binary = of_classes(spec, 2), of_two(spec)
    never, ones = torch.zeros(9, dtype=torch.int64), torch.ones(9)
    head.start_from(never, torch.zeros(9), ones)
    binary.start_from(never, torch.zeros(9), ones)
    assert answers(head, 5).isfinite().all()
    assert answers(binary, 5).isfinite().all()


def test_no_points_give_no_logits(spec: SequenceSpec) -> None:
    assert answers(of_classes(spec, 3), 0).shape == (0, 3)
    assert answers(of_two(spec), 0).shape == (0,)


@pytest.mark.parametrize("n_out", [1, 4])
def test_state_elapsed_and_time_all_matter(spec: SequenceSpec, n_out: int) -> None:
    torch.manual_seed(0)
    reader = PointReader(8, spec, n_out)
    state, elapsed, time = points(6)
    read = reader(state, elapsed, time)
    for other in (
        reader(state.flip(0), elapsed, time),
        reader(state, elapsed + 28.0, time),
        reader(state, elapsed, time + 0.4),
    ):
        assert ((other - read).abs().amax(dim=-1) > 1e-4).all()


def test_losses_are_torchs_own(spec: SequenceSpec) -> None:
    generator = torch.Generator().manual_seed(3)
    raw, label = torch.randn(N, 4, generator=generator), torch.randint(4, (N,), generator=generator)
    losses = of_classes(spec, 4).losses(raw, label, torch.zeros(N))
    torch.testing.assert_close(losses, cross_entropy(raw, label, reduction="none"))
    raw, label = raw[:, :1], label % 2
    losses = of_two(spec).losses(raw, label, torch.zeros(N))
    expected = binary_cross_entropy_with_logits(raw[:, 0], label.float(), reduction="none")
    torch.testing.assert_close(losses, expected)


def test_positive_weight_multiplies_the_losses_of_positive_points(spec: SequenceSpec) -> None:
    generator = torch.Generator().manual_seed(3)
    raw, label = torch.randn(N, 1, generator=generator), torch.arange(N) % 2
    losses = of_two(spec, positive_weight=3.0).losses(raw, label, torch.zeros(N))
    expected = binary_cross_entropy_with_logits(
        raw[:, 0], label.float(), pos_weight=torch.tensor(3.0), reduction="none"
    )
    torch.testing.assert_close(losses, expected)
    assert losses.sum() > of_two(spec).losses(raw, label, torch.zeros(N)).sum()


def test_label_smoothing_is_for_training_only(spec: SequenceSpec) -> None:
    head, plain = of_classes(spec, 4, label_smoothing=0.2), of_classes(spec, 4)
    raw, label = torch.randn(N, 4), torch.arange(N) % 4
    smoothed = cross_entropy(raw, label, reduction="none", label_smoothing=0.2)
    torch.testing.assert_close(head.train().losses(raw, label, torch.zeros(N)), smoothed)
    torch.testing.assert_close(
        head.eval().losses(raw, label, torch.zeros(N)), plain.losses(raw, label, torch.zeros(N))
    )


def test_a_silence_can_be_learned(spec: SequenceSpec) -> None:
    torch.manual_seed(0)
    head = of_two(spec, hidden=16)
    at = points(256)
    silent = (at[1] > 7.0).long()
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    for _ in range(100):
        loss = head.losses(head(*at), silent, torch.zeros(256)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert ((head(*at)[:, 0] > 0) == (silent > 0)).float().mean() > 0.97
