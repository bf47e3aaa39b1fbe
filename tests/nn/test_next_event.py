"""The next event: its density, survival and quantiles agree, and the class says when it comes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from seqmarket.nn.heads import PointReader
from seqmarket.nn.next_event import NextEventHead
from seqmarket.nn.time_encoding import SECOND
from seqmarket.schema import QUANTILES, SequenceSpec

CLASSES, COMPONENTS = 3, 4
N = 6
MEDIAN = QUANTILES.index(0.5)


def made(
    spec: SequenceSpec,
    kind: type[NextEventHead] = NextEventHead,
    n_classes: int = CLASSES,
    components: int = COMPONENTS,
    **weights: float,
) -> NextEventHead:
    width = NextEventHead.parameters_of(n_classes, components)
    reader = PointReader(8, spec, width, hidden=8)
    class_task = "next_channel" if n_classes > 1 else ""
    return kind(reader, spec, n_classes, components, class_task, "time_to_next", **weights)


def drawn(head: NextEventHead) -> Tensor:
    """(N, W) parameters, and effects of the class, of events hours to months away."""
    torch.manual_seed(4)
    with torch.no_grad():
        head.at_once_by_class.normal_()
        head.share_by_class.normal_()
    return 0.8 * torch.randn(N, head.reader.out.out_features)


def likelihood(head: NextEventHead, raw: Tensor, label: int, days: Tensor) -> Tensor:
    """(N, S) of a class, -1 for none so far, at (S,) times."""
    steps = len(days)
    losses = head.losses(
        raw.repeat_interleave(steps, dim=0),
        torch.full((N * steps,), label),
        days.repeat(N),
    )
    return (-losses).exp().view(N, steps)


def grid(head: NextEventHead) -> tuple[Tensor, Tensor]:
    """Logarithms of time, and the times in days, from seconds to centuries."""
    y = torch.linspace(-11.0, 11.0, 4_001)
    return y, head.scale * y.exp()


def is_a_distribution(head: NextEventHead) -> None:
    """Density and at once over all classes sum to 1, up to each time with the survival."""
    raw = drawn(head)
    y, days = grid(head)
    at_once, later = torch.zeros(N), torch.zeros(N, len(y))
    for label in range(CLASSES):
        at_once += likelihood(head, raw, label, torch.zeros(1))[:, 0]
        later += likelihood(head, raw, label, days)
    until = at_once.unsqueeze(1) + torch.cumulative_trapezoid(later, y, dim=1)
    torch.testing.assert_close(until[:, -1], torch.ones(N), atol=2e-3, rtol=0.0)
    survival = likelihood(head, raw, -1, days)[:, 1:]
    torch.testing.assert_close(survival, 1.0 - until, atol=2e-3, rtol=0.0)


def test_density_survival_and_at_once_are_one_distribution(spec: SequenceSpec) -> None:
    is_a_distribution(made(spec))


class SurvivesRegardlessOfClass(NextEventHead):
    """Mutant: the survival takes the shares of the components to be those of no class."""

    def log_survival(self, raw: Tensor, y: Tensor) -> Tensor:
        start = self.n_classes + 1
        share = raw[:, start : start + self.components].softmax(dim=-1)
        place, log_spread = self.shape(raw)
        z = (y.unsqueeze(1) - place) * torch.exp(-log_spread)
        return (share * 0.5 * torch.erfc(z * math.sqrt(0.5))).sum(dim=1).clamp(min=1e-9).log()


class Unnormalised(NextEventHead):
    """Mutant: a class adds to the shares after they were made to sum to 1."""

    def shares(self, raw: Tensor, by_class: Tensor) -> Tensor:
        return super().shares(raw, torch.zeros_like(by_class)) + by_class


@pytest.mark.parametrize("mutant", [SurvivesRegardlessOfClass, Unnormalised])
def test_no_distribution_is_noticed(spec: SequenceSpec, mutant: type[NextEventHead]) -> None:
    with pytest.raises(AssertionError):
        is_a_distribution(made(spec, mutant))


def quantiles_invert_the_distribution(head: NextEventHead) -> None:
    raw = drawn(head)
    raw[:, CLASSES] = torch.tensor([-9.0, -1.0, 0.3, 9.0, -2.0, 1.0])  # how likely it is at once
    days = head.answer(raw, "time_to_next")
    assert days.shape == (N, len(QUANTILES))
    assert (days.diff(dim=1) >= 0).all()
    at_once, _ = head.mixture(raw)
    for i, share in enumerate(QUANTILES):
        reached = 1.0 - head.log_survival(raw, head.logarithm(days[:, i])).exp()
        expected = torch.where(at_once >= share, 0.0, share)
        found = torch.where(days[:, i] == 0, 0.0, reached)
        torch.testing.assert_close(found, expected, atol=0.02, rtol=0.0)


def test_quantiles_invert_the_distribution(spec: SequenceSpec) -> None:
    quantiles_invert_the_distribution(made(spec))


class CoarseGrid(NextEventHead):
    """Mutant: too few steps to invert it on."""

    def days(self, raw: Tensor) -> Tensor:
        self.n_steps = 6
        return super().days(raw)


def test_a_coarse_inversion_is_noticed(spec: SequenceSpec) -> None:
    with pytest.raises(AssertionError):
        quantiles_invert_the_distribution(made(spec, CoarseGrid))


def test_events_at_once_are_finite_and_differ_from_a_second_later(spec: SequenceSpec) -> None:
    head = made(spec)
    raw = drawn(head).requires_grad_()
    label = torch.arange(N) % CLASSES
    for days in (0.0, SECOND / 2, SECOND, 1e6):
        losses = head.losses(raw, label, torch.full((N,), days))
        assert losses.isfinite().all()
        (gradient,) = torch.autograd.grad(losses.sum(), raw)
        assert gradient.isfinite().all()
    none = torch.full((N,), -1)
    for days in (0.0, 3.0, 1e12):
        losses = head.losses(raw, none, torch.full((N,), days))
        assert losses.isfinite().all()
        (gradient,) = torch.autograd.grad(losses.sum(), raw)
        assert gradient.isfinite().all()


def test_points_with_and_without_an_event_do_not_mix(spec: SequenceSpec) -> None:
    head = made(spec)
    raw, days = drawn(head), torch.rand(N) * 5.0
    label = torch.tensor([0, -1, 2, -1, -1, 1])
    together = head.losses(raw, label, days)
    for i in range(N):
        alone = head.losses(raw[i : i + 1], label[i : i + 1], days[i : i + 1])
        torch.testing.assert_close(alone, together[i : i + 1])


def test_weights_are_powers_of_the_two_parts(spec: SequenceSpec) -> None:
    head, only_class, only_time = (
        made(spec, class_weight=a, time_weight=b) for a, b in ((0.3, 2.0), (1.0, 0.0), (0.0, 1.0))
    )
    raw = drawn(head)
    for other in (only_class, only_time):
        other.load_state_dict(head.state_dict())
    label, days = torch.tensor([0, -1, 2, -1, 0, 1]), torch.rand(N)
    parts = [part.losses(raw, label, days) for part in (only_class, only_time)]
    torch.testing.assert_close(
        head.losses(raw, label, days), 0.3 * parts[0] + 2.0 * parts[1], rtol=1e-4, atol=1e-5
    )
    assert (parts[0][label < 0] == 0).all()
    known = torch.nn.functional.cross_entropy(
        raw[:, :CLASSES], label.clamp(min=0), reduction="none"
    )
    torch.testing.assert_close(parts[0][label >= 0], known[label >= 0])


def test_label_smoothing_is_of_the_class_and_for_training_only(spec: SequenceSpec) -> None:
    head, plain = made(spec, label_smoothing=0.2, time_weight=0.0), made(spec, time_weight=0.0)
    raw, label, days = drawn(head), torch.arange(N) % CLASSES, torch.rand(N)
    smoothed = torch.nn.functional.cross_entropy(
        raw[:, :CLASSES], label, reduction="none", label_smoothing=0.2
    )
    torch.testing.assert_close(head.train().losses(raw, label, days), smoothed)
    torch.testing.assert_close(head.eval().losses(raw, label, days), plain.losses(raw, label, days))


def moments(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """States that say nothing, asked right after the event."""
    time = torch.full((n,), 20_454.5, dtype=torch.float64)
    return torch.zeros(n, 8), torch.zeros(n), time


def median_of_class(head: NextEventHead, label: int) -> float:
    """Of the time, if this class were certain to come."""
    raw = head(*moments(1)).detach().clone()
    raw[:, : head.n_classes] = -30.0
    raw[:, label] = 30.0
    return float(head.answer(raw, "time_to_next").detach()[0, MEDIAN])


def learns_when_each_class_comes(head: NextEventHead) -> None:
    """Of two channels one comes within hours, the other after weeks; the state tells neither."""
    torch.manual_seed(0)
    n = 400
    label = torch.arange(n) % 2
    days = torch.where(label == 0, 0.2, 20.0) * torch.exp(0.3 * torch.randn(n))
    head.start_from(label, days, torch.ones(n))
    at = moments(n)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    for _ in range(40):
        loss = head.losses(head(*at), label, days).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert median_of_class(head, 0) == pytest.approx(0.2, rel=0.3)
    assert median_of_class(head, 1) == pytest.approx(20.0, rel=0.3)
    probabilities = head.answer(head(*at), "next_channel").softmax(dim=-1)
    assert probabilities[0].tolist() == pytest.approx([0.5, 0.5], abs=0.05)


def test_when_each_class_comes_is_learned(spec: SequenceSpec) -> None:
    learns_when_each_class_comes(made(spec, n_classes=2))


class TimeRegardlessOfClass(NextEventHead):
    """Mutant: class and time are independent given the state."""

    def shares(self, raw: Tensor, by_class: Tensor) -> Tensor:
        return super().shares(raw, torch.zeros_like(by_class))


def test_time_that_does_not_know_the_class_is_noticed(spec: SequenceSpec) -> None:
    with pytest.raises(AssertionError):
        learns_when_each_class_comes(made(spec, TimeRegardlessOfClass, n_classes=2))


def observed(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Label, amount and weight: classes of unequal shares, a tenth at once, some unknown."""
    generator = torch.Generator().manual_seed(6)
    label = torch.multinomial(torch.tensor([0.6, 0.3, 0.1]), n, True, generator=generator)
    days = 3.0 * torch.exp(1.5 * torch.randn(n, generator=generator))
    days[torch.arange(n) % 10 == 0] = 0.0
    label[torch.arange(n) % 7 == 0] = -1
    return label, days, torch.ones(n)


def test_first_prediction_is_what_is_usual(spec: SequenceSpec) -> None:
    head = made(spec, components=8)
    label, days, weight = observed(3_000)
    head.start_from(label, days, weight)
    raw = head(torch.randn(20, 8), *moments(20)[1:])
    known = label >= 0
    shares = torch.bincount(label[known]) / known.sum()
    found = head.answer(raw, "next_channel").softmax(dim=-1)
    torch.testing.assert_close(found, shares.expand(20, 3), atol=0.05, rtol=0.0)
    usual = days[known].quantile(torch.tensor(QUANTILES))
    quantiles = head.answer(raw, "time_to_next")
    assert (quantiles[:, 1:] / usual[1:] - 1.0).abs().max() < 0.35
    assert (quantiles[:, 0] < 0.3).all()  # a tenth comes at once


@pytest.mark.parametrize("days", [0.0, 2.0, 400.0])
def test_it_starts_from_points_of_one_kind(spec: SequenceSpec, days: float) -> None:
    head = made(spec)
    label, amount = torch.ones(5, dtype=torch.int64), torch.full((5,), days)
    head.start_from(label, amount, torch.ones(5))
    raw = head(*moments(3))
    assert head.losses(raw, torch.arange(3), torch.rand(3)).isfinite().all()
    median = head.answer(raw, "time_to_next")[:, MEDIAN]
    torch.testing.assert_close(median, torch.full((3,), days), rtol=0.1, atol=1e-4)


def test_it_starts_without_any_event(spec: SequenceSpec) -> None:
    head = made(spec)
    before = head.reader.out.bias.detach().clone()
    head.start_from(torch.full((5,), -1), torch.rand(5), torch.ones(5))
    assert torch.equal(head.reader.out.bias, before)


def test_without_a_task_about_the_class_it_answers_the_time_alone(spec: SequenceSpec) -> None:
    head = made(replace(spec, time_scale=0.0), n_classes=1)
    assert head.tasks == ["time_to_next"]
    label, days = torch.zeros(200, dtype=torch.int64), 5.0 + torch.rand(200)
    head.start_from(label, days, torch.ones(200))
    median = head.answer(head(*moments(4)), "time_to_next")[:, MEDIAN]
    torch.testing.assert_close(median, torch.full((4,), 5.5), rtol=0.1, atol=0.0)


def test_no_points_no_answers(spec: SequenceSpec) -> None:
    head = made(spec)
    raw = head(*moments(0))
    assert head.answer(raw, "next_channel").shape == (0, CLASSES)
    assert head.answer(raw, "time_to_next").shape == (0, len(QUANTILES))
    assert head.losses(raw, torch.zeros(0, dtype=torch.int64), torch.zeros(0)).shape == (0,)
