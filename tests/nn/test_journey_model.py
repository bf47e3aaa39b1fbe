from __future__ import annotations

import io
import warnings

import pytest
import torch

from seqmarket.models.lstm import LSTMEncoder
from seqmarket.models.transformer import TransformerEncoder
from seqmarket.nn.heads import BinaryHead, ClassificationHead
from seqmarket.nn.journey_model import JourneyModel
from seqmarket.schema import SequenceSpec
from seqmarket.tensors import JourneyBatch, Points


@pytest.fixture(params=[LSTMEncoder, TransformerEncoder])
def model(request: pytest.FixtureRequest, spec: SequenceSpec) -> JourneyModel:
    torch.manual_seed(0)
    heads = {"next_channel": ClassificationHead(16, spec, 3), "purchase": BinaryHead(16, spec)}
    return JourneyModel(request.param(spec, d_model=16), heads).eval()


@pytest.fixture
def points(batch: JourneyBatch) -> Points:
    """At once after an event, later, and twice in one journey."""
    row, position = torch.tensor([0, 0, 1]), torch.tensor([1, 3, 2])
    later = torch.tensor([0.0, 3.0, 28.0], dtype=torch.float64)
    return Points(row, position, batch.time[row, position] + later)


def scripted(model: JourneyModel) -> torch.jit.ScriptModule:
    """The model after scripting, saving and loading."""
    with warnings.catch_warnings():
        # TorchScript is deprecated, and still what the serving side takes.
        warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*torch.jit", category=FutureWarning)
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.script(model), buffer)
        return torch.jit.load(io.BytesIO(buffer.getvalue()))


def test_forward_and_the_parts_agree(
    model: JourneyModel, batch: JourneyBatch, points: Points
) -> None:
    logits = model(batch, points)
    assert {task: tuple(x.shape) for task, x in logits.items()} == {
        "next_channel": (3, 3),
        "purchase": (3,),
    }
    states = model.encode(batch).states
    kept = model.score(
        states[points.row, points.position], torch.tensor([0.0, 3.0, 28.0]), points.time
    )
    for task, expected in logits.items():
        torch.testing.assert_close(model.logits(states, batch.time, task, points), expected)
        torch.testing.assert_close(kept[task], expected)


def test_no_points_give_no_logits(model: JourneyModel, batch: JourneyBatch) -> None:
    nowhere = torch.zeros(0, dtype=torch.int64)
    points = Points(nowhere, nowhere, torch.zeros(0, dtype=torch.float64))
    logits = model(batch, points)
    assert logits["next_channel"].shape == (0, 3)
    assert logits["purchase"].shape == (0,)
    loss = model.logits(model.encode(batch).states, batch.time, "purchase", points).sum()
    loss.backward()


def test_time_passing_changes_a_prediction(
    model: JourneyModel, batch: JourneyBatch, points: Points
) -> None:
    later = model(batch, points._replace(time=points.time + 28.0))
    assert ((later["purchase"] - model(batch, points)["purchase"]).abs() > 1e-4).all()


def test_events_after_the_point_change_nothing(
    model: JourneyModel, batch: JourneyBatch, points: Points
) -> None:
    now = Points(points.row[:1], points.position[:1], points.time[:1])  # after event 1 of journey 0
    channel, time = batch.channel.clone(), batch.time.clone()
    channel[0, 2:] = 3
    time[0, 2:] += 5.0
    planted = batch._replace(channel=channel, time=time)
    for task, expected in model(batch, now).items():
        torch.testing.assert_close(model(planted, now)[task], expected)


def test_scripted_model_gives_the_same(
    model: JourneyModel, batch: JourneyBatch, points: Points
) -> None:
    loaded = scripted(model)
    one = JourneyBatch(*(column[:1] for column in batch))
    for inputs, asked in ((batch, points), (one, Points(*(field[:2] for field in points)))):
        for task, expected in model(inputs, asked).items():
            torch.testing.assert_close(loaded(inputs, asked)[task], expected)
    expected, actual = model.encode(batch, True), loaded.encode(batch, True)
    torch.testing.assert_close(actual.pooled, expected.pooled)
    assert (actual.attention is None) == (expected.attention is None)
    nowhere = Points(*(field[:0] for field in points))
    assert loaded(batch, nowhere)["next_channel"].shape == (0, 3)
    kept = loaded.score(actual.pooled, torch.ones(2), batch.time[:, -1] + 1.0)
    assert kept["purchase"].shape == (2,)


def test_state_dict_loads_safely(model: JourneyModel, spec: SequenceSpec) -> None:
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    state = torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
    model.load_state_dict(state)
