"""The amount: its likelihood is torch's own, its expectation and median are those of samples."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, LogNormal, Normal
from torch.nn.functional import binary_cross_entropy_with_logits

from seqmarket.nn.heads import PointReader
from seqmarket.nn.value import WIDTH, ValueHead
from seqmarket.schema import SequenceSpec

N = 8


def made(spec: SequenceSpec, kind: type[ValueHead] = ValueHead) -> ValueHead:
    torch.manual_seed(0)
    return kind("value", PointReader(8, spec, WIDTH, hidden=8))


def amounts(n: int, unit: float = 1.0) -> Tensor:
    """A third spends nothing."""
    generator = torch.Generator().manual_seed(2)
    spent = torch.exp(3.0 + 0.8 * torch.randn(n, generator=generator))
    return unit * spent * (torch.arange(n) % 3 > 0)


def start(head: ValueHead, unit: float = 1.0, n: int = 3_000) -> Tensor:
    amount = amounts(n, unit)
    head.start_from((amount > 0).long(), amount, torch.ones(n))
    return amount


def parameters() -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(N, WIDTH, generator=generator).clamp(-0.9, 0.9)


def likelihood_is_torchs_own(head: ValueHead) -> None:
    start(head)
    raw = parameters()
    amount = torch.tensor([0.0, 5.0, 0.01, 900.0, 0.0, -3.0, 20.0, 20.0])
    spends = (amount > 0).float()
    place = head.center + head.spread * raw[:, 1]
    density = Normal(place, head.spread * raw[:, 2].exp())
    how_much = -density.log_prob(amount.clamp(min=1e-6).log())
    # In units of the spread in training, and without what no weight can change.
    how_much -= 0.5 * math.log(2.0 * math.pi) + head.spread.log()
    occurs = binary_cross_entropy_with_logits(raw[:, 0], spends, reduction="none")
    losses = head.losses(raw, spends.long(), amount)
    torch.testing.assert_close(losses, occurs + spends * how_much)


def test_likelihood_is_torchs_own(spec: SequenceSpec) -> None:
    likelihood_is_torchs_own(made(spec))


class NothingIsAnAmount(ValueHead):
    """Mutant: who spends nothing says how much is spent."""

    def losses(self, raw: Tensor, label: Tensor, amount: Tensor) -> Tensor:
        spends = super().losses(raw, label, amount.clamp(min=1.0))
        return torch.where(amount > 0, super().losses(raw, label, amount), spends)


def test_another_likelihood_is_noticed(spec: SequenceSpec) -> None:
    with pytest.raises(AssertionError):
        likelihood_is_torchs_own(made(spec, NothingIsAnAmount))


def answers_are_those_of_samples(head: ValueHead) -> None:
    start(head)
    raw = parameters()
    raw[:, 0] = torch.tensor([-4.0, -1.0, -0.05, 0.3, 0.7, 1.5, 3.0, 6.0])
    torch.manual_seed(1)
    n = 200_000
    amount = LogNormal(head.center + head.spread * raw[:, 1], head.spread * raw[:, 2].exp())
    drawn = Bernoulli(logits=raw[:, 0]).sample((n,)) * amount.sample((n,))
    expected, median = head.answer(raw, "value").unbind(dim=1)
    torch.testing.assert_close(expected, drawn.mean(dim=0), rtol=0.05, atol=0.0)
    torch.testing.assert_close(median, drawn.median(dim=0).values, rtol=0.05, atol=0.1)


def test_expected_value_and_median_are_those_of_samples(spec: SequenceSpec) -> None:
    answers_are_those_of_samples(made(spec))


class MedianOfSpenders(ValueHead):
    """Mutant: the median of those who spend, times how many do."""

    def answer(self, raw: Tensor, task: str) -> Tensor:
        expected = super().answer(raw, task)[:, 0]
        place, _ = self.shape(raw)
        return torch.stack([expected, raw[:, 0].sigmoid() * place.exp()], dim=1)


class MeanOfLogarithms(ValueHead):
    """Mutant: the expected logarithm for the logarithm of the expectation."""

    def answer(self, raw: Tensor, task: str) -> Tensor:
        place, _ = self.shape(raw)
        median = super().answer(raw, task)[:, 1]
        return torch.stack([raw[:, 0].sigmoid() * place.exp(), median], dim=1)


@pytest.mark.parametrize("mutant", [MedianOfSpenders, MeanOfLogarithms])
def test_other_answers_are_noticed(spec: SequenceSpec, mutant: type[ValueHead]) -> None:
    with pytest.raises(AssertionError):
        answers_are_those_of_samples(made(spec, mutant))


def test_the_median_is_zero_where_half_spend_nothing(spec: SequenceSpec) -> None:
    head = made(spec)
    start(head)
    raw = torch.zeros(5, WIDTH)
    raw[:, 0] = torch.tensor([-50.0, -1.0, 0.0, 1e-3, 50.0])
    expected, median = head.answer(raw, "value").unbind(dim=1)
    assert (median[:3] == 0).all()
    assert (median[3:] > 0).all()
    assert (expected.diff() > 0).all()
    assert expected.isfinite().all()
    assert median.isfinite().all()


def unit_does_not_matter(head: ValueHead, cents: ValueHead) -> None:
    """Losses and gradients are the same for amounts in euros and in cents."""
    in_euros, in_cents = start(head), start(cents, 100.0)
    raw = parameters()
    label = torch.ones(N, dtype=torch.int64)
    one, other = raw.clone().requires_grad_(), raw.clone().requires_grad_()
    losses = head.losses(one, label, in_euros[:N])
    same = cents.losses(other, label, in_cents[:N])
    torch.testing.assert_close(losses, same, rtol=1e-4, atol=1e-4)
    losses.sum().backward()
    same.sum().backward()
    torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        cents.answer(raw, "value"), 100.0 * head.answer(raw, "value"), rtol=1e-3, atol=0.0
    )


def test_the_unit_of_the_currency_does_not_matter(spec: SequenceSpec) -> None:
    unit_does_not_matter(made(spec), made(spec))


class InTheUnitOfTheLog(ValueHead):
    """Mutant: the spread and place of amounts in training are not looked at."""

    def start_from(self, label: Tensor, amount: Tensor, weight: Tensor) -> None:
        super().start_from(label, amount, weight)
        self.center.zero_()
        self.spread.fill_(1.0)


def test_losses_in_the_unit_of_the_log_are_noticed(spec: SequenceSpec) -> None:
    with pytest.raises(AssertionError):
        unit_does_not_matter(made(spec, InTheUnitOfTheLog), made(spec, InTheUnitOfTheLog))


def test_first_prediction_is_what_is_usual(spec: SequenceSpec) -> None:
    head = made(spec)
    amount = start(head)
    time = torch.full((20,), 20_454.5, dtype=torch.float64)
    expected, median = (
        head.answer(head(torch.randn(20, 8), torch.rand(20), time), "value").detach().unbind(dim=1)
    )
    assert (expected / amount.mean() - 1.0).abs().max() < 0.15
    assert (median / amount.median() - 1.0).abs().max() < 0.25


def test_the_start_is_weighted(spec: SequenceSpec) -> None:
    head = made(spec)
    weight = torch.tensor([3.0, 0.5, 0.5])
    head.start_from(torch.tensor([0, 1, 1]), torch.tensor([0.0, math.e, math.e**3]), weight)
    assert float(head.reader.out.bias.detach()[0].sigmoid()) == pytest.approx(0.25)
    assert float(head.center) == pytest.approx(2.0)
    assert float(head.spread) == pytest.approx(1.0)


@pytest.mark.parametrize("amount", [[0.0, 0.0], [7.0, 7.0], [-2.0, 0.0]])
def test_it_starts_from_amounts_of_one_kind(spec: SequenceSpec, amount: list[float]) -> None:
    head = made(spec)
    values = torch.tensor(amount)
    head.start_from((values > 0).long(), values, torch.ones(2))
    raw = head(torch.randn(2, 8), torch.rand(2), torch.full((2,), 20_454.5, dtype=torch.float64))
    assert head.losses(raw, (values > 0).long(), values).isfinite().all()
    assert head.answer(raw, "value").isfinite().all()


def test_no_points_no_answers(spec: SequenceSpec) -> None:
    head = made(spec)
    raw = head(torch.zeros(0, 8), torch.zeros(0), torch.zeros(0, dtype=torch.float64))
    assert head.answer(raw, "value").shape == (0, 2)
    assert head.losses(raw, torch.zeros(0, dtype=torch.int64), torch.zeros(0)).shape == (0,)
