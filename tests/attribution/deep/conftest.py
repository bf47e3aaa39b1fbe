"""Purchase models: some whose answer is written down, and small networks that nobody trained."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seqmarket.attribution.attributor import Evidence
from seqmarket.attribution.journeys import Journeys
from seqmarket.models.gru import GRUEncoder
from seqmarket.models.lstm import LSTMEncoder
from seqmarket.models.ssm import SSMEncoder
from seqmarket.models.tcn import TCNEncoder
from seqmarket.models.transformer import TransformerEncoder
from seqmarket.nn.ensemble import JourneyEnsemble
from seqmarket.nn.hazard import HazardHead
from seqmarket.nn.heads import ClassHead, PointReader
from seqmarket.nn.journey_model import JourneyModel
from seqmarket.nn.pooling import TouchPooling
from seqmarket.nn.time_encoding import days_since_first, days_since_previous
from seqmarket.schema import MICROSECONDS_PER_DAY, PURCHASES, SequenceSpec, WindowRule
from seqmarket.tensors import Encoding, JourneyBatch
from seqmarket.training.checkpoint import TrainedModel
from seqmarket.training.tasks import Task

WEEK = 7 * MICROSECONDS_PER_DAY
RULE = WindowRule("purchase", WEEK, "happens", PURCHASES, WEEK, PURCHASES)
IDS = {"app": 2, "mail": 3, "search": 4, "shop": 5, "new": 1}

Ask = Callable[..., Evidence]
Make = Callable[..., Journeys]


class Seen(nn.Module):
    """Its state is what was seen: counts of channels, days since the event before, known days."""

    d_model = 8

    def forward(self, batch: JourneyBatch, need_attention: bool = False) -> Encoding:
        one = nn.functional.one_hot(batch.channel, 6).double()
        first = days_since_first(batch.time, batch.mask)
        gap = days_since_previous(first).double()
        known = first + batch.prior_days.double().unsqueeze(1)
        states = torch.cat([one.cumsum(1), gap.unsqueeze(-1), known.unsqueeze(-1)], dim=-1)
        return Encoding(states, states[:, -1], None)


class Rate(nn.Module):
    """Expects `rate(state, elapsed)` purchases."""

    tasks = ("purchase",)

    def __init__(self, rate: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, state: Tensor, elapsed: Tensor, time: Tensor) -> Tensor:
        return self.rate(state, elapsed.double())

    def answer(self, raw: Tensor, task: str) -> Tensor:
        rate = raw.squeeze(-1)
        return rate + torch.log(-torch.expm1(-rate))


def trained(model: Any, spec: SequenceSpec, tokens: int = 512, rule: Any = RULE) -> TrainedModel:
    return TrainedModel(
        model=model,
        spec=spec,
        config=SimpleNamespace(training=SimpleNamespace(eval_tokens=tokens)),  # type: ignore[arg-type]
        plain_config={},
        tasks={rule.task: Task(rule.task, rule, 1.0, 1.0, "")},
        calibrations={},
        store_fingerprint="",
        gate=None,
    )


@pytest.fixture(scope="session")
def knowing() -> Ask:
    """Evidence with a model of a known rate: `knowing(journeys, lambda state, elapsed: ...)`."""

    def ask(journeys: Journeys, rate: Callable[[Tensor, Tensor], Tensor]) -> Evidence:
        model = JourneyModel(
            Seen(), {"time_to_purchase": Rate(rate)}, {"purchase": "time_to_purchase"}
        )
        return Evidence(journeys, journeys, trained(model, journeys.spec))

    return ask


ENCODERS: dict[str, Callable[[SequenceSpec], nn.Module]] = {
    "gru": lambda spec: GRUEncoder(spec, 8),
    "lstm": lambda spec: LSTMEncoder(spec, 8),
    "ssm": lambda spec: SSMEncoder(spec, 8),
    "tcn": lambda spec: TCNEncoder(spec, 8),
    "transformer": lambda spec: TransformerEncoder(spec, 8, n_heads=2),
}


def member(spec: SequenceSpec, encoder: str, seed: int, pooling: bool) -> JourneyModel:
    torch.manual_seed(seed)
    heads = {
        "next_channel": ClassHead("next_channel", PointReader(8, spec, spec.n_channels, 8)),
        "time_to_purchase": HazardHead(
            PointReader(8, spec, 4, 8), {"purchase": 7.0}, {"purchase": False}
        ),
    }
    model = JourneyModel(
        ENCODERS[encoder](spec),
        heads,
        {"next_channel": "next_channel", "purchase": "time_to_purchase"},
        TouchPooling(8, 2, head_width=4) if pooling else None,
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="session")
def network() -> Ask:
    """Evidence with small networks of drawn weights, whose answers differ from row to row."""

    def ask(
        journeys: Journeys,
        encoder: str = "gru",
        *,
        seeds: tuple[int, ...] = (1,),
        pooling: bool = True,
        tokens: int = 512,
    ) -> Evidence:
        members = [member(journeys.spec, encoder, seed, pooling) for seed in seeds]
        together = JourneyEnsemble(members, {"next_channel": "categorical", "purchase": "binary"})
        model = members[0] if len(members) == 1 else together
        return Evidence(journeys, journeys, trained(model, journeys.spec, tokens))

    return ask


@pytest.fixture(scope="session")
def touching(make: Make) -> Make:
    """As `make`, where visits of the app are no touches."""
    return lambda log, **settings: make(log, touches={"event_type": ["touch"]}, **settings)


@pytest.fixture(scope="session")
def exactly() -> Callable[..., dict[tuple[int, float], float]]:
    """Credit by customer and day."""

    def found(journeys: Journeys, credit: Any) -> dict[tuple[int, float], float]:
        day = journeys.time / MICROSECONDS_PER_DAY
        pairs = zip(journeys.customer.tolist(), day.tolist(), strict=True)
        return dict(zip(pairs, np.asarray(credit).tolist(), strict=True))

    return found


@pytest.fixture(scope="session")
def crowded(touching: Make) -> Journeys:
    """Paths of one to four channels, each before its customer's only purchase."""
    random = np.random.default_rng(0)
    every = ["mail", "search", "shop", "new"]
    log = [
        [
            *((float(day), str(name)) for day, name in enumerate(random.choice(names, size=7))),
            (8.0, "buy"),
        ]
        for names in 3 * [["app", "mail"], ["mail", "search", "new"], ["app", *every], every]
    ]
    return touching(log)
