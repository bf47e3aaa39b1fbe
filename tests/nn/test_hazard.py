"""The hazard: its likelihood term by term, its life table, its windows, and where its bins lie."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from seqmarket.nn.hazard import HazardHead
from seqmarket.nn.heads import PointReader
from seqmarket.schema import SequenceSpec

WINDOWS = {"purchase": 7.0, "churn": 28.0, "soon": 1.0}
ABSENT = {"purchase": False, "churn": True, "soon": False}
BINS = 12


@pytest.fixture
def head(spec: SequenceSpec) -> HazardHead:
    torch.manual_seed(0)
    return HazardHead(PointReader(8, spec, BINS, hidden=8), WINDOWS, ABSENT)


def drawn(n: int, censored: bool, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Label, amount and weight of points whose event comes after some days, or not in 28."""
    generator = torch.Generator().manual_seed(seed)
    days = -15.0 * torch.rand(n, generator=generator).log()
    known = torch.full((n,), 28.0)
    if censored:
        known *= torch.rand(n, generator=generator)
    weight = 0.1 + torch.rand(n, generator=generator)
    return (days < known).long(), torch.minimum(days, known), weight


def first_prediction(head: HazardHead) -> Tensor:
    """(1, bins): the bias alone."""
    return head.reader.out.bias.detach().unsqueeze(0)


def probability(head: HazardHead, raw: Tensor, task: str) -> Tensor:
    """That something happens in the window of a task."""
    logit = head.answer(raw, task)
    return torch.sigmoid(-logit if ABSENT[task] else logit)


def likelihoods(
    raw: Tensor, edges: list[float], label: list[int], days: list[float]
) -> list[float]:
    """Bin by bin: what the hazard of each bin says of the time spent in it."""
    found = []
    for row, happened, time in zip(raw.tolist(), label, days, strict=True):
        log_likelihood = 0.0
        for k, log_expected in enumerate(row):
            start, end = edges[k], edges[k + 1]
            if time <= start and k > 0:
                break
            log_likelihood -= math.exp(log_expected) * (min(time, end) - start) / (end - start)
            if happened and time <= end:
                log_likelihood += log_expected
        found.append(-log_likelihood)
    return found


def likelihood_is_that_of_the_bins(head: HazardHead) -> None:
    head.start_from(*drawn(500, censored=True))
    edges = head.edges.tolist()
    torch.manual_seed(2)
    # In the first bin and in the last, within one, exactly at an edge, at the start and the end.
    days = [0.01, 27.9, 5.5, edges[3], edges[BINS - 1], 0.0, edges[BINS]]
    days = torch.tensor(days * 2).tolist()
    label = [1] * 7 + [0] * 7
    raw = torch.randn(14, BINS)
    losses = head.losses(raw, torch.tensor(label), torch.tensor(days))
    assert losses.tolist() == pytest.approx(likelihoods(raw, edges, label, days), rel=1e-4)


def test_likelihood_is_that_of_the_bins(head: HazardHead) -> None:
    likelihood_is_that_of_the_bins(head)


class ForgetsCensored(HazardHead):
    """Mutant: nothing is learnt from a customer who has not come until the period ends."""

    def losses(self, raw: Tensor, label: Tensor, amount: Tensor) -> Tensor:
        return super().losses(raw, label, amount) * label


class NextBin(HazardHead):
    """Mutant: an event at an edge counts in the bin after it, whose time it does not spend."""

    def losses(self, raw: Tensor, label: Tensor, amount: Tensor) -> Tensor:
        at = torch.bucketize(amount, self.edges[1:-1], right=True)
        expected = (self.exposure(amount) * raw.exp()).sum(dim=1)
        return expected - raw.gather(1, at.unsqueeze(1)).squeeze(1) * label


@pytest.mark.parametrize("mutant", [ForgetsCensored, NextBin])
def test_another_likelihood_is_noticed(mutant: type[HazardHead], spec: SequenceSpec) -> None:
    with pytest.raises(AssertionError):
        likelihood_is_that_of_the_bins(mutant(PointReader(8, spec, BINS), WINDOWS, ABSENT))


def test_gradients_are_finite_however_wrong_the_hazard(head: HazardHead) -> None:
    label, amount, _ = drawn(50, censored=True)
    for scale in (0.0, 30.0, -30.0):
        raw = torch.full((50, BINS), scale).requires_grad_()
        head.losses(raw.clamp(max=head.largest), label, amount).sum().backward()
        assert raw.grad is not None
        assert raw.grad.isfinite().all()
        for task in WINDOWS:
            answer = head.answer(raw.detach().clamp(max=head.largest), task)
            assert answer.isfinite().all()


def windows_agree(head: HazardHead) -> None:
    """The longer the window, the likelier the event; a label of absence is the complement."""
    torch.manual_seed(1)
    head.start_from(*drawn(500, censored=True))
    raw = torch.randn(200, BINS) - 2.0
    soon, week, month = (probability(head, raw, task) for task in ("soon", "purchase", "churn"))
    assert (soon < week).all()
    assert (week < month).all()
    happens = 1.0 - (-(raw.exp() @ head.exposure(torch.tensor([7.0]))[0])).exp()
    torch.testing.assert_close(week, happens)
    assert (head.answer(raw, "churn") < -head.answer(raw, "purchase")).all()


def test_probabilities_rise_with_the_window(head: HazardHead) -> None:
    windows_agree(head)


class OnlyTheLastBin(HazardHead):
    """Mutant: of a window, the bin in which it ends counts alone."""

    def exposure(self, days: Tensor) -> Tensor:
        passed = super().exposure(days)
        return passed * (passed < 1)


def test_windows_that_contradict_each_other_are_noticed(spec: SequenceSpec) -> None:
    with pytest.raises(AssertionError):
        windows_agree(OnlyTheLastBin(PointReader(8, spec, BINS), WINDOWS, ABSENT))


def survival(label: Tensor, amount: Tensor, weight: Tensor, until: float) -> float:
    """The weighted estimate of Kaplan and Meier (1958), event by event."""
    left = 1.0
    for time in amount[label == 1].unique().tolist():
        if time <= until:
            happens = weight[(label == 1) & (amount == time)].sum()
            left *= 1.0 - float(happens / weight[amount >= time].sum())
    return left


def starts_from_the_life_table(head: HazardHead) -> None:
    points = drawn(2_000, censored=True)
    head.start_from(*points)
    for task, window in WINDOWS.items():
        expected = 1.0 - survival(*points, window)
        (found,) = probability(head, first_prediction(head), task).tolist()
        assert found == pytest.approx(expected, abs=0.01)


def test_first_prediction_is_the_life_table(head: HazardHead) -> None:
    starts_from_the_life_table(head)


class CensoredAreAbsent(HazardHead):
    """Mutant: whoever has not come when the period ends is taken to stay away all window."""

    def start_from(self, label: Tensor, amount: Tensor, weight: Tensor) -> None:
        super().start_from(label, torch.where(label == 1, amount, self.windows.max()), weight)


class CensoredAreLeftOut(HazardHead):
    def start_from(self, label: Tensor, amount: Tensor, weight: Tensor) -> None:
        super().start_from(label[label == 1], amount[label == 1], weight[label == 1])


@pytest.mark.parametrize("mutant", [CensoredAreAbsent, CensoredAreLeftOut])
def test_a_life_table_without_the_censored_is_noticed(
    mutant: type[HazardHead], spec: SequenceSpec
) -> None:
    with pytest.raises(AssertionError):
        starts_from_the_life_table(mutant(PointReader(8, spec, BINS), WINDOWS, ABSENT))


def test_uncensored_windows_start_at_the_observed_shares(head: HazardHead) -> None:
    label, amount, weight = drawn(2_000, censored=False)
    head.start_from(label, amount, weight)
    state = torch.randn(20, 8)
    raw = head(state, torch.rand(20), torch.full((20,), 20_454.5, dtype=torch.float64))
    for task, window in WINDOWS.items():
        within = ((label == 1) & (amount <= window)).float()
        share = float((within * weight).sum() / weight.sum())
        assert probability(head, first_prediction(head), task).item() == pytest.approx(
            share, abs=0.01
        )
        # The features hardly matter yet.
        assert (probability(head, raw, task) - share).abs().max() < 0.08


def test_the_windows_are_edges_and_equally_many_events_lie_between_the_others(
    head: HazardHead,
) -> None:
    label, amount, weight = drawn(4_000, censored=True)
    head.start_from(label, amount, weight)
    assert head.edges[0] == 0.0
    assert head.edges[-1].item() == pytest.approx(28.0)
    for window in WINDOWS.values():
        assert (head.edges - window).abs().min() < 0.02
    happened, mass = amount[label == 1], weight[label == 1]
    own = head.edges[1:-1][
        [(edge - head.windows).abs().min().item() > 0.02 for edge in head.edges[1:-1]]
    ]
    shares = [float(mass[happened <= edge].sum() / mass.sum()) for edge in own]
    assert shares == pytest.approx([i / (len(own) + 1) for i in range(1, len(own) + 1)], abs=0.01)


def rises(edges: Tensor) -> bool:
    return bool((edges.diff() > 0).all()) and bool(edges[0] == 0.0)


@pytest.mark.parametrize("tied", [0.5, 7.0, 27.999])
def test_edges_rise_whatever_the_ties(head: HazardHead, tied: float) -> None:
    amount = torch.full((500,), tied)
    amount[:3] = torch.tensor([0.0, 1.0, 20.0])
    head.start_from(torch.ones(500, dtype=torch.int64), amount, torch.ones(500))
    assert rises(head.edges)
    assert head.edges[-1].item() == pytest.approx(28.0)
    for task in WINDOWS:
        assert probability(head, first_prediction(head), task).isfinite().all()


@pytest.mark.parametrize("events", [0, 1, BINS - 1])
def test_fewer_events_than_bins_leave_bins_of_equal_length(head: HazardHead, events: int) -> None:
    points = (torch.arange(40) < events).long(), torch.linspace(0.1, 28.0, 40), torch.ones(40)
    head.start_from(*points)
    torch.testing.assert_close(head.edges, torch.linspace(0.0, 28.0, BINS + 1))
    assert first_prediction(head).isfinite().all()
    (share,) = probability(head, first_prediction(head), "churn").tolist()
    assert share == pytest.approx(1.0 - survival(*points, 28.0), abs=0.02)


def test_edges_and_first_prediction_are_kept_with_the_weights(
    head: HazardHead, spec: SequenceSpec
) -> None:
    head.start_from(*drawn(500, censored=True))
    other = HazardHead(PointReader(8, spec, BINS, hidden=8), WINDOWS, ABSENT)
    other.load_state_dict(head.state_dict())
    raw = torch.randn(5, BINS)
    assert torch.equal(other.answer(raw, "purchase"), head.answer(raw, "purchase"))


def test_when_an_event_comes_can_be_learned(head: HazardHead) -> None:
    """One kind of customer comes on the second day, the other on the twentieth."""
    torch.manual_seed(0)
    n = 200
    late = torch.arange(n) % 2 == 0
    state = torch.randn(n, 8)
    state[:, 0] = torch.where(late, 2.0, -2.0)
    days = torch.where(late, 20.0, 2.0) + torch.rand(n)
    at = (state, torch.zeros(n), torch.full((n,), 20_454.5, dtype=torch.float64))
    label = torch.ones(n, dtype=torch.int64)
    head.start_from(label, days, torch.ones(n))
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    for _ in range(60):
        loss = head.losses(head(*at), label, days).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    week = probability(head, head(*at), "purchase")
    assert week[~late].mean() > 0.9
    assert week[late].mean() < 0.1
    assert probability(head, head(*at), "churn").mean() > 0.9
