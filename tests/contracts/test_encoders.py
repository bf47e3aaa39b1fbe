"""What every deep model must keep, found through `conf/model/*.yaml`.

Each check is a function of a way to build an encoder; each has a mutant with just that fault.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from seqmarket.nn.embedding import EventEmbedding
from seqmarket.nn.pooling import last_state
from seqmarket.schema import SPECIAL_TOKENS, SequenceSpec
from seqmarket.tensors import Encoding, JourneyBatch

Build = Callable[[SequenceSpec], nn.Module]
Journeys = Callable[..., JourneyBatch]
Check = Callable[[Build, SequenceSpec, Journeys], None]

GARBAGE_ID = 1_000_000


def encoder_configs() -> list[Path]:
    """The model configs whose class is a network; the baselines stand beside them."""
    paths = sorted((Path(__file__).parents[2] / "conf" / "model").glob("*.yaml"))
    return [
        path for path in paths if issubclass(get_class(OmegaConf.load(path)["_target_"]), nn.Module)
    ]


def built(build: Build, spec: SequenceSpec) -> nn.Module:
    """A seeded encoder in evaluation mode."""
    torch.manual_seed(0)
    return build(spec).eval()


def without_dropout(encoder: nn.Module) -> nn.Module:
    """The encoder in training mode, with nothing random left in it."""
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, nn.RNNBase):
            module.dropout = 0.0
    return encoder.train()


def same(actual: Tensor, expected: Tensor, what: str) -> None:
    """Equal up to rounding; NaN equals nothing."""
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5, msg=lambda m: f"{what}: {m}")


def repadded(batch: JourneyBatch, extra: int) -> JourneyBatch:
    """`extra` more padded slots, and nonsense in all of them."""
    b, t = batch.mask.shape
    mask = torch.cat([batch.mask, torch.zeros(b, extra, dtype=torch.bool)], dim=1)

    def spoil(column: Tensor) -> Tensor:
        filler = GARBAGE_ID if column.dtype == torch.int64 else float("nan")
        wide = torch.full((b, t + extra, *column.shape[2:]), filler, dtype=column.dtype)
        wide[:, :t][batch.mask] = column[batch.mask]
        return wide

    names = ("channel", "event_type", "categorical", "time", "value", "features")
    return batch._replace(mask=mask, **{name: spoil(getattr(batch, name)) for name in names})


def rows(batch: JourneyBatch, index: Tensor, length: int) -> JourneyBatch:
    """These journeys of a batch, cut to `length` events."""
    per_customer = ("static_categorical", "static_features", "prior_days", "prior_events")
    return JourneyBatch(
        **{
            name: column[index] if name in per_customer else column[index, :length]
            for name, column in batch._asdict().items()
        }
    )


def check_shapes(build: Build, spec: SequenceSpec, journeys: Journeys) -> None:
    """States (B, T, D), the last real one as the pooled vector, attention only where asked."""
    encoder = built(build, spec)
    lengths = [4, 9, 1]
    batch = journeys(spec, lengths)
    for need_attention in (False, True):
        encoding = encoder(batch, need_attention)
        assert isinstance(encoding, Encoding)
        assert encoding.states.shape == (3, 9, encoder.d_model)
        assert encoding.pooled.shape == (3, encoder.d_model)
        assert encoding.states.dtype == encoding.pooled.dtype == torch.float32
        assert encoding.states[batch.mask].isfinite().all()
        expected = encoding.states[torch.arange(3), torch.tensor(lengths) - 1]
        assert torch.equal(encoding.pooled, expected)
        if encoding.attention is not None:
            assert need_attention
            assert encoding.attention.shape == (3, 9, 9)


def check_padding(build: Build, spec: SequenceSpec, journeys: Journeys) -> None:
    """No amount of padding, whatever stands in it, changes a state or reaches a gradient."""
    encoder = built(build, spec)
    batch = journeys(spec, [3, 7, 5])
    wide = repadded(batch, extra=4)
    plain, padded = encoder(batch), encoder(wide)
    same(padded.states[wide.mask], plain.states[batch.mask], "states")
    same(padded.pooled, plain.pooled, "pooled")
    padded.states[wide.mask].square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


def check_causality(build: Build, spec: SequenceSpec, journeys: Journeys) -> None:
    """Other events after position t, more of them or none, change no state up to t."""
    encoder = built(build, spec)
    batch, other = journeys(spec, [8, 8, 6]), journeys(spec, [10, 10, 10], seed=1)
    states = encoder(batch).states
    for t in range(6):
        spliced = {
            name: torch.cat([getattr(batch, name)[:, : t + 1], getattr(other, name)[:, t + 1 :]], 1)
            for name in ("channel", "event_type", "categorical", "value", "features", "mask")
        }
        later = batch.time[:, t, None] + (other.time - other.time[:, t, None])[:, t + 1 :]
        planted = batch._replace(**spliced, time=torch.cat([batch.time[:, : t + 1], later], 1))
        same(encoder(planted).states[:, : t + 1], states[:, : t + 1], f"planted after {t}")
        cut = rows(batch, torch.arange(3), t + 1)
        same(encoder(cut).states, states[:, : t + 1], f"cut after {t}")


def check_batch(build: Build, spec: SequenceSpec, journeys: Journeys) -> None:
    """A journey's states are the same alone and in company, in training mode as well."""
    encoder = without_dropout(built(build, spec))
    lengths = [5, 9, 2, 7]
    batch = journeys(spec, lengths)
    together = encoder(batch).states
    for i, length in enumerate(lengths):
        alone = encoder(rows(batch, torch.tensor([i]), length)).states
        same(alone[0], together[i, :length], f"journey {i}")
    order = torch.tensor([2, 0, 3, 1])
    mask = batch.mask[order]
    same(encoder(rows(batch, order, 9)).states[mask], together[order][mask], "another order")


def check_gradient(build: Build, spec: SequenceSpec, journeys: Journeys) -> None:
    """The last state answers to every event, and to every parameter."""
    encoder = built(build, spec)
    batch = journeys(spec, [12, 12, 12])
    features = batch.features.clone().requires_grad_()
    pooled = encoder(batch._replace(features=features)).pooled
    (pooled * torch.randn(pooled.shape)).sum().backward()
    assert features.grad is not None
    reach = features.grad.norm(dim=-1)  # (B, T)
    assert (reach > 1e-5 * reach[:, -1:]).all(), "an event does not reach the last state"
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert parameter.grad.abs().sum() > 0, f"{name} has a gradient of zero"


def check_script(build: Build, spec: SequenceSpec, journeys: Journeys) -> None:
    """Scripted, saved and loaded, it gives the same at any B and T, with attention or without."""
    encoder = built(build, spec)
    with warnings.catch_warnings():
        # Deprecated (a FutureWarning in later releases), and still what the serving side takes.
        warnings.filterwarnings("ignore", message=".*torch.jit")
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.script(encoder), buffer)
        loaded = torch.jit.load(io.BytesIO(buffer.getvalue()))
    for lengths in ([3], [7, 2, 5], [1, 1], [30, 12]):
        batch = journeys(spec, lengths)
        for need_attention in (False, True):
            expected, actual = encoder(batch, need_attention), loaded(batch, need_attention)
            same(actual.states[batch.mask], expected.states[batch.mask], f"states, {lengths}")
            same(actual.pooled, expected.pooled, f"pooled, {lengths}")
            assert (actual.attention is None) == (expected.attention is None)
            if expected.attention is not None:
                same(actual.attention, expected.attention, f"attention, {lengths}")


def check_attention(build: Build, spec: SequenceSpec, journeys: Journeys) -> None:
    """Weights are a distribution over the past, and asking for them changes nothing."""
    encoder = built(build, spec)
    batch = journeys(spec, [6, 9])
    plain, asked = encoder(batch, False), encoder(batch, True)
    assert plain.attention is None
    same(asked.states[batch.mask], plain.states[batch.mask], "states")
    if asked.attention is not None:
        weights = asked.attention[batch.mask]  # (events, T)
        assert (weights >= 0).all()
        same(weights.sum(-1), torch.ones(len(weights)), "sum of a row")
        assert (asked.attention.triu(1)[batch.mask] == 0).all(), "attention to the future"


def check_determinism(build: Build, spec: SequenceSpec, journeys: Journeys) -> None:
    """In evaluation mode the same batch gives the same states, bit by bit."""
    encoder = built(build, spec)
    batch = journeys(spec, [6, 9])
    assert torch.equal(encoder(batch).states[batch.mask], encoder(batch).states[batch.mask])


def check_single_events(build: Build, spec: SequenceSpec, journeys: Journeys) -> None:
    """A journey of one event is a journey."""
    encoding = built(build, spec)(journeys(spec, [1, 1]), True)
    assert encoding.states.shape[:2] == (2, 1)
    assert encoding.states.isfinite().all()
    assert torch.equal(encoding.pooled, encoding.states[:, 0])


def check_order(build: Build, spec: SequenceSpec, journeys: Journeys) -> None:
    """Two early events that change places, at unchanged times, change the last state."""
    encoder = built(build, spec)
    batch = journeys(spec, [8, 8])
    batch.channel[:, 1:3] = torch.tensor([SPECIAL_TOKENS, SPECIAL_TOKENS + 1])
    swap = torch.tensor([0, 2, 1, 3, 4, 5, 6, 7])
    names = ("channel", "event_type", "categorical", "value", "features")
    swapped = batch._replace(**{name: getattr(batch, name)[:, swap] for name in names})
    change = (encoder(swapped).pooled - encoder(batch).pooled).abs().amax(dim=-1)
    assert (change > 1e-4).all(), "a bag of events"


def check_time(build: Build, spec: SequenceSpec, journeys: Journeys) -> None:
    """The same events in the same order at another pace are another journey."""
    encoder = built(build, spec)
    batch = journeys(spec, [8, 8])
    start = batch.time[:, :1]
    slower = batch._replace(time=start + 4.0 * (batch.time - start))
    change = (encoder(slower).pooled - encoder(batch).pooled).abs().amax(dim=-1)
    assert (change > 1e-4).all(), "time is not seen"


def check_paths(build: Build, spec: SequenceSpec, journeys: Journeys) -> None:
    """What is written out for training gives the states that a prediction rests on."""
    encoder = built(build, spec)
    batch = journeys(spec, [4, 9, 1])
    in_training = encoder(batch).pooled
    with torch.no_grad():
        same(encoder(batch).pooled, in_training, "without gradients")


def check_export(build: Build, spec: SequenceSpec, journeys: Journeys) -> None:
    """What training has written out stays out of an exported program."""
    encoder = built(build, spec)
    batch = journeys(spec, [4, 9, 1])

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, *columns: Tensor) -> Tensor:
            return self.encoder(JourneyBatch(*columns)).pooled  # type: ignore[no-any-return]

    with warnings.catch_warnings():
        # Of torch's own recurrent layers, which keep a list of their weights.
        warnings.filterwarnings("ignore", message="The tensor attributes .*_flat_weights")
        exported = torch.export.export(Pooled(), tuple(batch), strict=False).module()
    same(exported(*batch), encoder(batch).pooled, "exported")


CHECKS: list[Check] = [
    check_shapes,
    check_padding,
    check_causality,
    check_batch,
    check_gradient,
    check_script,
    check_attention,
    check_determinism,
    check_single_events,
    check_order,
    check_time,
    check_paths,
    check_export,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("config", encoder_configs(), ids=lambda path: path.stem)
def test_encoder_keeps_the_contract(
    config: Path, check: Check, spec: SequenceSpec, journeys: Journeys
) -> None:
    check(instantiate(OmegaConf.load(config)), spec, journeys)


@pytest.mark.parametrize("check", [c for c in CHECKS if c is not check_gradient])
@pytest.mark.parametrize("config", encoder_configs(), ids=lambda path: path.stem)
def test_encoder_keeps_the_contract_without_features(
    config: Path, check: Check, bare_spec: SequenceSpec, journeys: Journeys
) -> None:
    check(instantiate(OmegaConf.load(config)), bare_spec, journeys)


def test_configs_are_found() -> None:
    assert {"lstm", "gru", "ssm", "tcn", "transformer"} <= {path.stem for path in encoder_configs()}


class Mutant(nn.Module):
    """A sound recurrent encoder; each mutant below differs from it by one fault."""

    def __init__(self, spec: SequenceSpec) -> None:
        super().__init__()
        self.d_model = 16
        self.embedding = EventEmbedding(spec, 16)
        self.rnn = nn.GRU(16, 16, batch_first=True)

    def states(self, x: Tensor, batch: JourneyBatch) -> Tensor:
        return self.rnn(x)[0]

    def forward(self, batch: JourneyBatch, need_attention: bool = False) -> Encoding:
        states = self.states(self.embedding(batch), batch)
        return Encoding(states, last_state(states, batch.mask), None)


class ReadsLastPad(Mutant):
    def forward(self, batch: JourneyBatch, need_attention: bool = False) -> Encoding:
        encoding = super().forward(batch)
        return encoding._replace(pooled=encoding.states[:, -1])


class AveragesPadding(Mutant):
    def states(self, x: Tensor, batch: JourneyBatch) -> Tensor:
        return self.rnn(x)[0] + x.mean(dim=1, keepdim=True)


class ReadsPadding(Mutant):
    def states(self, x: Tensor, batch: JourneyBatch) -> Tensor:
        return self.rnn(x)[0] + batch.value.mean(dim=1)[:, None, None]


class Bidirectional(Mutant):
    def __init__(self, spec: SequenceSpec) -> None:
        super().__init__(spec)
        self.rnn = nn.GRU(16, 8, batch_first=True, bidirectional=True)


class BatchNormed(Mutant):
    def __init__(self, spec: SequenceSpec) -> None:
        super().__init__(spec)
        self.norm = nn.BatchNorm1d(16)

    def states(self, x: Tensor, batch: JourneyBatch) -> Tensor:
        return self.norm(self.rnn(x)[0].mT).mT


class Detached(Mutant):
    def states(self, x: Tensor, batch: JourneyBatch) -> Tensor:
        features = torch.cat([batch.features[:, :1].detach(), batch.features[:, 1:]], dim=1)
        return self.rnn(self.embedding(batch._replace(features=features)))[0]


class UnusedParameter(Mutant):
    def __init__(self, spec: SequenceSpec) -> None:
        super().__init__(spec)
        self.unused = nn.Linear(2, 2)


class DifferentWhenScripted(Mutant):
    def states(self, x: Tensor, batch: JourneyBatch) -> Tensor:
        return self.rnn(x)[0] * (1.01 if torch.jit.is_scripting() else 1.0)


class AttendsAhead(Mutant):
    def forward(self, batch: JourneyBatch, need_attention: bool = False) -> Encoding:
        encoding = super().forward(batch)
        weights = (encoding.states @ encoding.states.mT).softmax(dim=-1)
        return encoding._replace(attention=weights if need_attention else None)


class AttentionUnnormalised(Mutant):
    def forward(self, batch: JourneyBatch, need_attention: bool = False) -> Encoding:
        encoding = super().forward(batch)
        weights = (encoding.states @ encoding.states.mT).softmax(dim=-1).tril()
        return encoding._replace(attention=weights if need_attention else None)


class AttentionChangesStates(Mutant):
    def forward(self, batch: JourneyBatch, need_attention: bool = False) -> Encoding:
        encoding = super().forward(batch)
        return encoding._replace(states=encoding.states * (1.01 if need_attention else 1.0))


class AlwaysDropping(Mutant):
    def states(self, x: Tensor, batch: JourneyBatch) -> Tensor:
        return nn.functional.dropout(self.rnn(x)[0], training=True)


class NeedsTwoEvents(Mutant):
    def states(self, x: Tensor, batch: JourneyBatch) -> Tensor:
        return self.rnn(x)[0] * batch.time.diff(dim=1).mean().float()


class AnotherInTraining(Mutant):
    def states(self, x: Tensor, batch: JourneyBatch) -> Tensor:
        return self.rnn(x)[0] * (1.01 if torch.is_grad_enabled() else 1.0)


class Bag(Mutant):
    def states(self, x: Tensor, batch: JourneyBatch) -> Tensor:
        return self.embedding.event.table(batch.channel).cumsum(dim=1)


class Timeless(Mutant):
    def forward(self, batch: JourneyBatch, need_attention: bool = False) -> Encoding:
        return super().forward(batch._replace(time=torch.zeros_like(batch.time)))


@pytest.mark.parametrize(
    ("check", "mutant"),
    [
        (check_shapes, ReadsLastPad),
        (check_padding, AveragesPadding),
        (check_padding, ReadsPadding),
        (check_causality, Bidirectional),
        (check_batch, BatchNormed),
        (check_gradient, Detached),
        (check_gradient, UnusedParameter),
        (check_script, DifferentWhenScripted),
        (check_attention, AttendsAhead),
        (check_attention, AttentionUnnormalised),
        (check_attention, AttentionChangesStates),
        (check_determinism, AlwaysDropping),
        (check_single_events, NeedsTwoEvents),
        (check_order, Bag),
        (check_time, Timeless),
        (check_paths, AnotherInTraining),
    ],
)
def test_check_catches_its_mutant(
    check: Check, mutant: Build, spec: SequenceSpec, journeys: Journeys
) -> None:
    check(Mutant, spec, journeys)
    with pytest.raises(AssertionError):
        check(mutant, spec, journeys)
