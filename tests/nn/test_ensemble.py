"""Members answer together: the mean of what they say, whatever its form."""

from __future__ import annotations

import io
import warnings

import pytest
import torch
from torch import Tensor

from seqmarket.models.gru import GRUEncoder
from seqmarket.nn.ensemble import JourneyEnsemble
from seqmarket.nn.hazard import HazardHead
from seqmarket.nn.heads import PointReader
from seqmarket.nn.journey_model import JourneyModel
from seqmarket.nn.next_event import NextEventHead
from seqmarket.nn.pooling import TouchPooling
from seqmarket.nn.value import WIDTH, ValueHead
from seqmarket.schema import SequenceSpec, TaskKind
from seqmarket.tensors import JourneyBatch, Points

KINDS: dict[str, TaskKind] = {
    "next_channel": "categorical",
    "time_to_next": "duration",
    "churn": "binary",
    "value": "amount",
}


def member(spec: SequenceSpec, seed: int) -> JourneyModel:
    torch.manual_seed(seed)

    def reader(n_out: int) -> PointReader:
        return PointReader(8, spec, n_out, hidden=8)

    width = NextEventHead.parameters_of(3, 2)
    heads: dict[str, torch.nn.Module] = {
        "next_event": NextEventHead(reader(width), spec, 3, 2, "next_channel", "time_to_next"),
        "time_to_purchase": HazardHead(reader(4), {"churn": 28.0}, {"churn": True}),
        "value": ValueHead("value", reader(WIDTH)),
    }
    head_of = {"next_channel": "next_event", "time_to_next": "next_event"}
    head_of |= {"churn": "time_to_purchase", "value": "value"}
    model = JourneyModel(GRUEncoder(spec, d_model=8), heads, head_of, TouchPooling(8, 3)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture
def members(spec: SequenceSpec) -> list[JourneyModel]:
    return [member(spec, seed) for seed in (1, 2, 3)]


@pytest.fixture
def points(batch: JourneyBatch) -> Points:
    row, position = torch.tensor([0, 0, 1]), torch.tensor([1, 3, 2])
    return Points(row, position, batch.time[row, position] + 1.0)


def said(answer: Tensor, task: str) -> Tensor:
    """What a user is told: probabilities, amounts and days."""
    if KINDS[task] == "binary":
        return answer.sigmoid()
    return answer.softmax(dim=-1) if KINDS[task] == "categorical" else answer


def says_the_mean(
    ensemble: JourneyEnsemble, members: list[JourneyModel], batch: JourneyBatch, points: Points
) -> None:
    together = ensemble(batch, points)
    each = [model(batch, points) for model in members]
    for task in KINDS:
        mean = torch.stack([said(answers[task], task) for answers in each]).mean(dim=0)
        torch.testing.assert_close(said(together[task], task), mean, rtol=1e-4, atol=1e-6)


def test_it_says_the_mean_of_the_members(
    members: list[JourneyModel], batch: JourneyBatch, points: Points
) -> None:
    says_the_mean(JourneyEnsemble(members, KINDS), members, batch, points)


def test_a_mean_of_logits_is_noticed(
    members: list[JourneyModel], batch: JourneyBatch, points: Points
) -> None:
    mutant = JourneyEnsemble(members, dict.fromkeys(KINDS, "amount"))
    with pytest.raises(AssertionError):
        says_the_mean(mutant, members, batch, points)


def test_forward_and_the_parts_agree_also_scripted(
    members: list[JourneyModel], batch: JourneyBatch, points: Points
) -> None:
    ensemble = JourneyEnsemble(members, KINDS)
    with warnings.catch_warnings():
        # TorchScript is deprecated, and still what the serving side takes.
        warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*torch.jit", category=FutureWarning)
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.script(ensemble), buffer)
        loaded = torch.jit.load(io.BytesIO(buffer.getvalue()))
    states = ensemble.encode(batch).states
    kept = ensemble.score(states[points.row, points.position], torch.ones(3), points.time)
    for task, expected in ensemble(batch, points).items():
        torch.testing.assert_close(ensemble.answer(states, batch.time, task, points), expected)
        torch.testing.assert_close(kept[task], expected)
        torch.testing.assert_close(loaded(batch, points)[task], expected)


def test_one_member_is_the_model(
    members: list[JourneyModel], batch: JourneyBatch, points: Points
) -> None:
    alone = JourneyEnsemble(members[:1], KINDS)
    says_the_mean(alone, members[:1], batch, points)
