"""Integrated gradients: complete, of the contents of a path's touches, none without captum."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from seqmarket.attribution import integrated_gradients as module
from seqmarket.attribution.asking import PurchaseModel
from seqmarket.attribution.attributor import Evidence
from seqmarket.attribution.integrated_gradients import IntegratedGradients
from seqmarket.attribution.journeys import Journeys
from seqmarket.attribution.without_touches import unknown_numbers
from seqmarket.data.batch import Windows, collate
from seqmarket.errors import SeqmarketError
from seqmarket.schema import MICROSECONDS_PER_DAY, SPECIAL_TOKENS, UNK
from seqmarket.tensors import Points

Ask = Callable[..., Evidence]
Make = Callable[..., Journeys]
Log = list[list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def journeys(touching: Make, random_log: Callable[[int], Log]) -> Journeys:
    return touching(random_log(7), conversions="first")


def is_complete(journeys: Journeys, evidence: Evidence, **settings: Any) -> None:
    """What is organic is what is expected of a log in which the paths' touches say nothing."""
    _, touch = journeys.converting.rows()
    place = journeys.touch[touch]
    channel, features = journeys.events.channel.copy(), journeys.events.features.copy()
    channel[place], features[place] = UNK, unknown_numbers(journeys.spec)
    model = PurchaseModel.of(evidence, "integrated_gradients")
    silent = replace(journeys, events=replace(journeys.events, channel=channel, features=features))
    left = model.with_all_touches(silent) / model.with_all_touches(journeys)
    expected = np.zeros(journeys.n_customers)
    expected[journeys.converts] = np.nan_to_num(left, nan=1.0)
    found = IntegratedGradients(**settings).attribute(evidence)
    assert found.organic == pytest.approx(expected, abs=1e-3)
    assert np.abs(expected[journeys.converts] - 1).max() > 0.01


@pytest.mark.parametrize("encoder", ["gru", "lstm", "ssm", "tcn", "transformer"])
def test_credits_sum_to_what_the_contents_change(
    journeys: Journeys, network: Ask, encoder: str
) -> None:
    is_complete(journeys, network(journeys, encoder), steps=32)


def test_of_an_ensemble_too(journeys: Journeys, network: Ask) -> None:
    is_complete(journeys, network(journeys, seeds=(1, 2)), steps=16)


def test_gradients_of_the_end_alone_are_noticed(
    journeys: Journeys, network: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    import captum.attr

    class EndAlone(captum.attr.IntegratedGradients):  # type: ignore[misc]
        def attribute(self, there: Any, start: Any, **others: Any) -> Any:
            x = tuple(each.clone().requires_grad_() for each in there)
            answer = self.forward_func(*x, *others["additional_forward_args"])
            gradients = torch.autograd.grad(answer.sum(), x)
            found = tuple(g * (a - b) for g, a, b in zip(gradients, there, start, strict=True))
            return found, answer.detach() * 0

    monkeypatch.setattr(captum.attr, "IntegratedGradients", EndAlone)
    with pytest.raises(AssertionError):
        is_complete(journeys, network(journeys))


def test_each_touch_has_the_integral_over_its_own_contents(touching: Make, network: Ask) -> None:
    """Against a fine sum of our own, of one journey."""
    journeys = touching(
        [[(1, "app"), (2, "mail"), (4, "search"), (5, "app"), (6, "mail"), (9, "buy")]]
    )
    evidence = network(journeys)
    model: Any = evidence.trained.model.eval()  # type: ignore[union-attr]
    zero = np.zeros(1, dtype=np.int64)
    batch = collate(journeys.events, Windows(zero, zero + 5, zero))
    points = Points(torch.tensor([0]), torch.tensor([4]), torch.tensor([9.0], dtype=torch.float64))
    touches = torch.tensor([[False, True, True, False, True]])
    embedding = model.encoder.embedding
    asked = PurchaseModel.of(evidence, "x")

    def answer(x: Any) -> Any:
        states, _ = model.encoder.rnn(embedding.complete(x, batch))
        return asked.expected(model.pooling(states, batch), batch.time, points)

    with torch.no_grad():
        there = embedding.contents(batch)
        start = embedding.contents(module.without_contents(batch, touches, journeys.spec))
    assert torch.equal(there[~touches], start[~touches])
    total = torch.zeros_like(there)
    for alpha in (torch.arange(200) + 0.5) / 200:
        x = (start + alpha * (there - start)).requires_grad_()
        total += torch.autograd.grad(answer(x).sum(), x)[0] / 200
    expected = (total * (there - start)).sum(-1)[touches] / answer(there).item()
    found = IntegratedGradients(steps=32).attribute(evidence)
    assert found.credit == pytest.approx(expected.detach().numpy(), abs=1e-4)
    assert journeys.time.tolist() == [day * MICROSECONDS_PER_DAY for day in (2, 4, 6)]


def test_the_planted_channel_has_all_credit(journeys: Journeys, network: Ask) -> None:
    """Where the network takes every channel but mail for an unknown one, and reads no number."""
    evidence = network(journeys)
    model: Any = evidence.trained.model  # type: ignore[union-attr]
    mail = journeys.channels.index("mail")
    embedding = model.encoder.embedding
    with torch.no_grad():
        table = embedding.event.table.weight
        for channel in range(journeys.spec.n_channels):
            if channel != mail:
                table[channel + SPECIAL_TOKENS] = table[UNK]
        embedding.numeric.weight[:, : journeys.spec.n_features] = 0.0
    credit = IntegratedGradients().attribute(evidence).credit
    of_mail = journeys.channel == mail
    assert np.abs(credit[of_mail]).sum() > 0.1
    assert credit[~of_mail] == pytest.approx(0, abs=1e-6)


def test_an_integral_that_is_off_is_told(
    journeys: Journeys, network: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    evidence = network(journeys)
    with caplog.at_level(logging.INFO):
        IntegratedGradients(steps=16).attribute(evidence)
    assert "miss" in caplog.text
    assert "tolerance" not in caplog.text
    with caplog.at_level(logging.INFO):
        IntegratedGradients(steps=2, tolerance=1e-9).attribute(evidence)
    assert "attribution.integrated_gradients.steps" in caplog.text


def test_without_captum_the_extra_is_named(
    journeys: Journeys, network: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(SeqmarketError, match=r"pip install 'seqmarket\[attribution\]'"):
        IntegratedGradients().attribute(network(journeys))


def test_an_encoder_with_an_embedding_of_its_own_is_refused(
    journeys: Journeys, knowing: Ask
) -> None:
    evidence = knowing(journeys, lambda state, elapsed: state[:, :1] + 0.1)
    with pytest.raises(SeqmarketError, match="EventEmbedding"):
        IntegratedGradients().attribute(evidence)
