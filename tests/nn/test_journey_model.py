from __future__ import annotations

import io
import warnings

import pytest
import torch

from seqmarket.models.lstm import LSTMEncoder
from seqmarket.models.transformer import TransformerEncoder
from seqmarket.nn.hazard import HazardHead
from seqmarket.nn.heads import BinaryHead, ClassHead, PointReader
from seqmarket.nn.journey_model import JourneyModel
from seqmarket.nn.next_event import NextEventHead
from seqmarket.nn.pooling import TouchPooling
from seqmarket.nn.value import WIDTH, ValueHead
from seqmarket.schema import QUANTILES, SequenceSpec
from seqmarket.tensors import JourneyBatch, Points

WIDTHS = {
    "next_channel": (3,),
    "time_to_next": (len(QUANTILES),),
    "next_event_type": (2,),
    "purchase": (),
    "churn": (),
    "converts": (),
    "value": (2,),
}


def heads_of_every_kind(spec: SequenceSpec) -> dict[str, torch.nn.Module]:
    def reader(n_out: int) -> PointReader:
        return PointReader(16, spec, n_out, hidden=8)

    windows, absent = {"purchase": 7.0, "churn": 28.0}, {"purchase": False, "churn": True}
    width = NextEventHead.parameters_of(3, 4)
    heads: dict[str, torch.nn.Module] = {
        "next_event": NextEventHead(reader(width), spec, 3, 4, "next_channel", "time_to_next"),
        "next_event_type": ClassHead("next_event_type", reader(2), label_smoothing=0.1),
        "time_to_purchase": HazardHead(reader(6), windows, absent),
        "converts": BinaryHead("converts", reader(1), positive_weight=2.0),
        "value": ValueHead("value", reader(WIDTH)),
    }
    label, days = torch.arange(90) % 2, 0.3 * torch.arange(90.0)
    for head in heads.values():
        head.start_from(label, days, torch.ones(90))  # type: ignore[operator]
    return heads


def make_model(encoder: type[torch.nn.Module], spec: SequenceSpec, pooled: bool) -> JourneyModel:
    """Of any kind of head; with something for the heads to find in the touches, if pooled."""
    heads = heads_of_every_kind(spec)
    head_of = {task: name for name, head in heads.items() for task in head.tasks}  # type: ignore[union-attr]
    pooling = TouchPooling(16, len(heads)) if pooled else None
    if pooling is not None:
        torch.nn.init.normal_(pooling.out, std=0.5)
    return JourneyModel(encoder(spec, d_model=16), heads, head_of, pooling).eval()


@pytest.fixture(params=[False, True], ids=["last", "pooled"])
def pooled(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=[LSTMEncoder, TransformerEncoder])
def model(request: pytest.FixtureRequest, spec: SequenceSpec, pooled: bool) -> JourneyModel:
    torch.manual_seed(0)
    return make_model(request.param, spec, pooled)


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
    answers = model(batch, points)
    assert {task: tuple(x.shape) for task, x in answers.items()} == {
        task: (3, *width) for task, width in WIDTHS.items()
    }
    states = model.encode(batch).states
    kept = model.score(
        states[points.row, points.position], torch.tensor([0.0, 3.0, 28.0]), points.time
    )
    for task, expected in answers.items():
        torch.testing.assert_close(model.answer(states, batch.time, task, points), expected)
        torch.testing.assert_close(kept[task], expected)
        raw = model.read(states, batch.time, model.head_of[task], points)
        head = model.heads[model.head_of[task]]
        torch.testing.assert_close(head.answer(raw, task), expected)  # type: ignore[operator]


def test_no_points_give_no_answers(model: JourneyModel, batch: JourneyBatch) -> None:
    nowhere = torch.zeros(0, dtype=torch.int64)
    points = Points(nowhere, nowhere, torch.zeros(0, dtype=torch.float64))
    for task, answer in model(batch, points).items():
        assert answer.shape == (0, *WIDTHS[task])
    states = model.encode(batch).states
    for task in WIDTHS:
        model.answer(states, batch.time, task, points).sum().backward(retain_graph=True)


def test_time_passing_changes_a_prediction(
    model: JourneyModel, batch: JourneyBatch, points: Points
) -> None:
    now, later = model(batch, points), model(batch, points._replace(time=points.time + 28.0))
    for task, answer in now.items():
        assert ((later[task] - answer).abs().reshape(3, -1).amax(dim=1) > 1e-5).all(), task


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
    for task, answer in loaded(batch, nowhere).items():
        assert answer.shape == (0, *WIDTHS[task])
    kept = loaded.score(actual.pooled, torch.ones(2), batch.time[:, -1] + 1.0)
    for task, width in WIDTHS.items():
        assert kept[task].shape == (2, *width)
    touches = model.touch_weights(batch)
    assert touches.shape == (2, 5 if model.pooling is not None else 0, 4, 4)
    torch.testing.assert_close(loaded.touch_weights(batch), touches)


def test_state_dict_loads_safely(model: JourneyModel, spec: SequenceSpec) -> None:
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    state = torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
    model.load_state_dict(state)


def heads_read_what_they_find_themselves(model: JourneyModel, batch: JourneyBatch) -> None:
    """What one head finds in the touches changes the answers of its own tasks alone."""
    assert model.pooling is not None
    row, position = torch.tensor([0, 1]), torch.tensor([3, 2])
    points = Points(row, position, batch.time[row, position])
    before = model(batch, points)
    with torch.no_grad():
        model.pooling.out[2] += torch.randn_like(model.pooling.out[2])
    for task, answer in model(batch, points).items():
        changed = not torch.allclose(answer, before[task])
        assert changed == (model.head_of[task] == "time_to_purchase"), task


def test_each_head_looks_back_on_its_own(spec: SequenceSpec, batch: JourneyBatch) -> None:
    torch.manual_seed(0)
    heads_read_what_they_find_themselves(make_model(LSTMEncoder, spec, pooled=True), batch)


def test_heads_that_look_back_together_are_noticed(
    spec: SequenceSpec, batch: JourneyBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = TouchPooling.read
    monkeypatch.setattr(TouchPooling, "read", lambda pooling, state, head: own(pooling, state, 2))
    with pytest.raises(AssertionError):
        heads_read_what_they_find_themselves(make_model(LSTMEncoder, spec, pooled=True), batch)


def test_heads_answer_in_float32_under_autocast(
    model: JourneyModel, batch: JourneyBatch, points: Points
) -> None:
    """Points are another number in every batch, which a CPU's bfloat16 products pay dearly for."""
    with torch.autocast("cpu", torch.bfloat16):
        states = model.encode(batch).states
        for name in model.heads:
            raw = model.read(states, batch.time, name, points)
            assert raw.dtype == torch.float32
            exact = model.read(states.float(), batch.time, name, points)
            torch.testing.assert_close(raw, exact)
