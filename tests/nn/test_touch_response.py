"""The response to touches: by hand, and what it may never do."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from seqmarket.nn import touch_response as module
from seqmarket.nn.touch_response import TouchResponse

Mutant = Callable[[pytest.MonkeyPatch], None]


def response(hidden: int = 3, seen: tuple[bool, ...] = (True, True, False), seed: int = 0) -> Any:
    """One with large weights everywhere."""
    made = TouchResponse(torch.tensor(seen), hidden, 4.0, 0)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(torch.randn(weight.shape, generator=random))
    return made.double()


def some_pairs() -> tuple[Tensor, Tensor, Tensor, int]:
    """Ages, channels and moments; the moments 0 and 4 have no touch."""
    age = torch.tensor([0.5, 3.0, 3.0, 12.0, 0.1, 7.0], dtype=torch.float64)
    channel = torch.tensor([0, 1, 0, 0, 2, 2])
    return age, channel, torch.tensor([1, 1, 2, 2, 2, 3]), 5


def nothing_comes_of_nothing(seed: int) -> None:
    made = response(seed=seed)
    effect = made(made.levels(*some_pairs()))
    # The only touches of the moment 3 are of a channel that was not seen.
    assert effect[[0, 3, 4]].tolist() == [0.0, 0.0, 0.0]
    assert (effect[[1, 2]] != 0).all()


def unseen_channels_do_nothing(seed: int) -> None:
    made = response(seed=seed)
    age, channel, moment, n = some_pairs()
    there = made(made.levels(age, channel, moment, n))
    seen = channel < 2
    assert torch.equal(there, made(made.levels(age[seen], channel[seen], moment[seen], n)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("check", [nothing_comes_of_nothing, unseen_channels_do_nothing])
def test_only_touches_of_known_channels_do_anything(
    check: Callable[[int], None], seed: int
) -> None:
    check(seed)


def leaves_the_bias(patch: pytest.MonkeyPatch) -> None:
    def forward(self: TouchResponse, levels: Tensor) -> Tensor:
        return levels @ self.effect + torch.tanh(levels @ self.hidden.T + self.bias) @ self.out

    patch.setattr(TouchResponse, "forward", forward)


def hears_all_channels(patch: pytest.MonkeyPatch) -> None:
    honest = TouchResponse.__init__
    patch.setattr(
        TouchResponse,
        "__init__",
        lambda self, seen, *others: honest(self, torch.ones_like(seen), *others),
    )


@pytest.mark.parametrize(
    ("mutant", "check"),
    [
        (leaves_the_bias, nothing_comes_of_nothing),
        (hears_all_channels, nothing_comes_of_nothing),
        (hears_all_channels, unseen_channels_do_nothing),
    ],
)
def test_effects_without_a_cause_are_noticed(
    mutant: Mutant, check: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        check(0)


def levels_are_as_by_hand() -> None:
    made = response()
    age, channel, moment, n = some_pairs()
    life, most = made.log_life.exp().tolist(), made.log_saturation.exp().tolist()
    found = made.levels(age, channel, moment, n)
    for q in range(n):
        for k in range(3):
            total = sum(
                0.5 ** (a / life[k])
                for a, c, m in zip(age.tolist(), channel.tolist(), moment.tolist(), strict=True)
                if (c, m) == (k, q)
            )
            expected = most[k] * (1 - math.exp(-total / most[k])) if k < 2 else 0.0
            assert found[q, k].item() == pytest.approx(expected, abs=1e-12)


def test_levels_are_as_by_hand() -> None:
    levels_are_as_by_hand()


def by_e_instead_of_half(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module.torch, "exp2", torch.exp)


def one_life_for_all(patch: pytest.MonkeyPatch) -> None:
    honest = TouchResponse.felt
    patch.setattr(TouchResponse, "felt", lambda self, age, channel: honest(self, age, channel * 0))


def never_saturates(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module.torch, "expm1", lambda x: x)


@pytest.mark.parametrize("mutant", [by_e_instead_of_half, one_life_for_all, never_saturates])
def test_wrong_levels_are_noticed(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        levels_are_as_by_hand()


def test_a_half_life_is_one() -> None:
    """At the start it is the usual one; the scale of the ages is days."""
    made = TouchResponse(torch.ones(2, dtype=torch.bool), 0, 4.0, 0)
    channel = torch.tensor([0, 0, 1, 1])
    found = made.felt(torch.tensor([0.0, 4.0, 8.0, 40.0]), channel)
    assert found.tolist() == pytest.approx([1, 0.5, 0.25, 2**-10], rel=1e-6)
    with torch.no_grad():
        made.log_life[1] = math.log(8.0)
    found = made.felt(torch.tensor([0.0, 4.0, 8.0, 40.0]), channel)
    assert found.tolist() == pytest.approx([1, 0.5, 0.5, 2**-5], rel=1e-6)


def scale_of_ages_is_that_of_lives() -> None:
    """Ages and half-lives in weeks are the same as in days."""
    made = response()
    age, *others = some_pairs()
    in_days = made(made.levels(age, *others))
    with torch.no_grad():
        made.log_life -= math.log(7.0)
    torch.testing.assert_close(made(made.levels(age / 7, *others)), in_days)


def test_the_scale_of_ages_is_that_of_lives() -> None:
    scale_of_ages_is_that_of_lives()


def test_ages_of_a_scale_of_their_own_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = TouchResponse.felt
    monkeypatch.setattr(
        TouchResponse, "felt", lambda self, age, channel: honest(self, age.log1p(), channel)
    )
    with pytest.raises(AssertionError):
        scale_of_ages_is_that_of_lives()


def effects_add_up(hidden: int) -> None:
    made = response(hidden, (True, True, True))
    levels = torch.rand(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    alone = sum(made(levels * torch.eye(3, dtype=torch.float64)[k]) for k in range(3))
    torch.testing.assert_close(made(levels), alone)


def test_without_a_network_channels_add_up() -> None:
    effects_add_up(0)


def test_effects_of_channels_together_are_noticed() -> None:
    with pytest.raises(AssertionError):
        effects_add_up(3)


def test_at_first_no_channel_does_anything() -> None:
    made = TouchResponse(torch.ones(3, dtype=torch.bool), 5, 4.0, 1)
    assert not made(torch.rand(4, 3)).any()
    made(torch.rand(4, 3)).sum().backward()
    assert made.out.grad is not None
    assert made.out.grad.all()  # and yet the network can learn from there
    again, other = (TouchResponse(made.seen > 0, 5, 4.0, seed) for seed in (1, 2))
    assert torch.equal(made.hidden, again.hidden)
    assert not torch.equal(made.hidden, other.hidden)


@torch.no_grad()
def penalty_is_the_prior() -> None:
    """By the densities of torch, less what they are at their peaks."""
    made = response()
    peaks = {
        "effect": (0.0, 1.0),
        "log_life": (math.log(4.0), 0.7),
        "log_saturation": (math.log(2.0), 0.5),
        "hidden": (0.0, 1.0),
        "bias": (0.0, 1.0),
        "out": (0.0, 1.0),
    }
    assert set(peaks) == {name for name, _ in made.named_parameters()}
    expected = 0.0
    for name, weight in made.named_parameters():
        peak, spread = (torch.tensor(x, dtype=torch.float64) for x in peaks[name])
        prior = torch.distributions.Normal(peak, spread)
        expected -= float((prior.log_prob(weight) - prior.log_prob(peak)).sum())
    assert float(made.penalty()) == pytest.approx(expected)


def test_the_penalty_is_the_negative_log_prior() -> None:
    penalty_is_the_prior()


@pytest.mark.parametrize("name", ["_SPREAD_OF_LIFE", "_SPREAD_OF_SATURATION"])
def test_a_wrong_prior_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, name, 1.0)
    with pytest.raises(AssertionError):
        penalty_is_the_prior()
