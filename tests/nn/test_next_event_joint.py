"""The joint loss is the sum of its heads' own losses, each where it is known."""

from __future__ import annotations

import pytest
import torch

from seqmarket.nn.next_event_joint import JointNextEvent, NextEvents
from seqmarket.schema import CategoricalFeature, SequenceSpec

SPEC = SequenceSpec(
    channel=CategoricalFeature("channel", ("a", "b")),
    event_type=CategoricalFeature("event_type", ("x", "y", "z")),
    categorical=(),
    numeric=(),
    static_categorical=(),
    static_numeric=(),
    purchase_event_types=(),
    max_length=4,
    time_scale=2.0,
)
N = 7


@pytest.fixture
def following() -> NextEvents:
    return NextEvents(
        channel=torch.tensor([0, 1, 1, -1, 0, 1, -1]),
        event_type=torch.tensor([2, 0, 1, -1, -1, 2, -1]),  # the fifth is of an unknown type
        days=torch.tensor([0.0, 1.0, 3.0, 20.0, 0.5, 7.0, 2.0]),
        value=torch.tensor([0.0, 5.0, 2.5, 0.0, 9.0, 0.0, 0.0]),
        follows=torch.tensor([True, True, True, False, True, True, False]),
    )


def test_the_loss_is_the_sum_of_its_parts(following: NextEvents) -> None:
    torch.manual_seed(0)
    joint = JointNextEvent(SPEC, 5, components=3)
    joint.start_from(following)
    state, time = torch.randn(N, 5), torch.arange(N, dtype=torch.float64)
    with torch.no_grad():
        total = float(joint(state, time, following))
        zero = torch.zeros(N)
        raw = joint.next_event(state, zero, time)
        expected = float(joint.next_event.losses(raw, following.channel, following.days).sum()) / N
        kinds = joint.event_type(state, zero, time).log_softmax(dim=1)
        of_kind = [-float(kinds[i, k]) for i, k in enumerate(following.event_type) if k >= 0]
        raw = joint.value(state, zero, time)
        of_value = joint.value.losses(raw, following.channel, following.value)[following.follows]
        expected += sum(of_kind) / len(of_kind) + float(of_value.mean())
    assert total == pytest.approx(expected, rel=1e-5)


def test_what_is_not_known_does_not_matter(following: NextEvents) -> None:
    torch.manual_seed(0)
    joint = JointNextEvent(SPEC, 5, components=3)
    state, time = torch.randn(N, 5), torch.arange(N, dtype=torch.float64)
    value = torch.where(following.follows, following.value, 1e6)
    with torch.no_grad():
        one = joint(state, time, following)
        two = joint(state, time, following._replace(value=value))
        other = joint(state, time, following._replace(value=following.value + 1))
    assert float(one) == float(two)
    assert float(one) != float(other)


def test_nothing_that_follows_is_still_a_finite_loss(following: NextEvents) -> None:
    """Silence alone is learnt from."""
    joint = JointNextEvent(SPEC, 5, components=3)
    nothing = following._replace(
        channel=torch.full((N,), -1),
        event_type=torch.full((N,), -1),
        value=torch.zeros(N),
        follows=torch.zeros(N, dtype=torch.bool),
    )
    joint.start_from(nothing)
    loss = joint(torch.randn(N, 5), torch.zeros(N, dtype=torch.float64), nothing)
    loss.backward()
    assert torch.isfinite(loss.detach())
    gradients = [p.grad for p in joint.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
