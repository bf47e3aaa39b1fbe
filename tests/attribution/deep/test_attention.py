"""What is read from attention is what the model's parts give, journey by journey."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

from seqmarket.attribution import attention as module
from seqmarket.attribution.attention import Attention
from seqmarket.attribution.attention_gradient import AttentionGradient
from seqmarket.attribution.attributor import Evidence
from seqmarket.attribution.journeys import Journeys
from seqmarket.attribution.removal import CounterfactualRemoval
from seqmarket.attribution.rollout import AttentionRollout
from seqmarket.attribution.sharing import scaled_to
from seqmarket.data.batch import Windows, collate
from seqmarket.errors import SeqmarketError
from seqmarket.schema import MICROSECONDS_PER_DAY
from seqmarket.tensors import JourneyBatch, LayeredAttention, Points

Ask = Callable[..., Evidence]
Make = Callable[..., Journeys]
Log = list[list[tuple[Any, ...]]]

HEAD = 1  # of the purchase, in `network`


@pytest.fixture(scope="module")
def journeys(touching: Make, random_log: Callable[[int], Log]) -> Journeys:
    return touching(random_log(6))


def one_by_one(journeys: Journeys) -> Iterator[tuple[Any, Any, JourneyBatch, Points]]:
    """Touches of each path, their columns, the journey alone, and the point."""
    paths, events = journeys.converting, journeys.events
    for v, event in enumerate(journeys.conversion):
        touch = np.arange(paths.first[v], paths.stop[v])
        if len(touch):
            customer = journeys.converts[v : v + 1]
            first = events.offsets[customer]
            batch = collate(events, Windows(first, np.array([event]), customer))
            last = torch.tensor([event - first[0] - 1])
            time = torch.tensor([events.time[event] / MICROSECONDS_PER_DAY])
            yield touch, journeys.touch[touch] - first[0], batch, Points(last * 0, last, time)


def model_of(evidence: Evidence) -> Any:
    assert evidence.trained is not None
    return evidence.trained.model.eval()  # type: ignore[union-attr]


def weights_are_those_of_the_head(journeys: Journeys, evidence: Evidence) -> None:
    model, expected = model_of(evidence), np.zeros(len(journeys.touch))
    for touch, column, batch, points in one_by_one(journeys):
        weights = model.touch_weights(batch)[0, HEAD, points.position[0]].detach()
        assert float(weights.sum()) == pytest.approx(1)
        expected[touch] += weights[column].numpy()
    assert Attention().attribute(evidence).credit == pytest.approx(expected, abs=1e-6)


def test_weights_are_those_of_the_head(journeys: Journeys, network: Ask) -> None:
    weights_are_those_of_the_head(journeys, network(journeys))


def test_weights_of_another_head_are_noticed(
    journeys: Journeys, network: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "head_of", lambda member, task: 0)
    with pytest.raises(AssertionError):
        weights_are_those_of_the_head(journeys, network(journeys))


@pytest.mark.parametrize("pooling", [True, False])
def test_rollout_is_the_product_of_the_layers(
    journeys: Journeys, network: Ask, pooling: bool
) -> None:
    evidence = network(journeys, "transformer", pooling=pooling)
    model, expected = model_of(evidence), np.zeros(len(journeys.touch))
    for touch, column, batch, points in one_by_one(journeys):
        found = torch.eye(batch.mask.size(1))
        layers = model.encoder.attention_by_layer(batch)
        if pooling:
            layers.append(model.touch_weights(batch)[:, HEAD])
        for weights in layers:
            found = (0.5 * weights[0] + 0.5 * torch.eye(len(found))) @ found
        expected[touch] += found[points.position[0], column].detach().numpy()
    assert len(layers) == 2 + pooling
    found = AttentionRollout().attribute(evidence)
    assert found.credit == pytest.approx(expected, abs=1e-6)
    assert found.organic.min() > -1e-6


def test_layers_are_those_whose_mean_the_encoder_shows(journeys: Journeys, network: Ask) -> None:
    encoder = model_of(network(journeys, "transformer")).encoder
    assert isinstance(encoder, LayeredAttention)
    for _, _, batch, _ in one_by_one(journeys):
        mean = torch.stack(encoder.attention_by_layer(batch)).mean(dim=0)
        assert torch.equal(encoder(batch, True).attention, mean)


@pytest.mark.parametrize("encoder", ["gru", "lstm", "ssm", "tcn"])
def test_encoders_without_layers_of_attention_are_refused(
    journeys: Journeys, network: Ask, encoder: str
) -> None:
    with pytest.raises(SeqmarketError, match=r"(?s)has none.*rollout.*model=transformer"):
        AttentionRollout().attribute(network(journeys, encoder))


def products_are_those_of_differences(journeys: Journeys, evidence: Evidence) -> None:
    """A weight times how the answer changes with it, by moving it a little to either side."""
    model, step = model_of(evidence), 3e-3
    path, touch_of = journeys.converting.rows()
    product, at = np.zeros(len(path)), 0
    for _, column, batch, points in one_by_one(journeys):
        with torch.no_grad():
            states = model.encoder(batch).states
            weights = model.pooling.weights(states, batch)

            def answer(
                weights: Any, batch: Any = batch, states: Any = states, p: Any = points
            ) -> Any:
                wide = model.pooling.with_weights(states, batch, weights)
                logit = model.answer(wide, batch.time, "purchase", p)
                return softplus(logit.double()).log().item()

            for c in column:
                place = (0, HEAD, points.position[0], c)
                sides = []
                for sign in (1, -1):
                    moved = weights.clone()
                    moved[place] += sign * step
                    sides.append(answer(moved))
                product[at] = weights[place] * (sides[0] - sides[1]) / (2 * step)
                at += 1
    removal = CounterfactualRemoval().attribute(evidence)
    total = np.zeros(len(journeys.conversion))
    total[:] = 1 - removal.organic[journeys.converts]  # one conversion each
    expected = np.zeros(len(journeys.touch))
    np.add.at(expected, touch_of, scaled_to(total, product, path))
    found = AttentionGradient().attribute(evidence)
    assert found.credit == pytest.approx(expected, abs=2e-3)
    assert found.organic == pytest.approx(removal.organic, abs=1e-5)
    assert found.credit.min() < 0 < found.credit.max()


def test_products_are_those_of_differences(
    touching: Make, network: Ask, random_log: Callable[[int], Log]
) -> None:
    journeys = touching(random_log(6), conversions="first")
    products_are_those_of_differences(journeys, network(journeys))


def test_given_weights_find_what_the_fused_path_finds(journeys: Journeys, network: Ask) -> None:
    pooling, encoder = model_of(network(journeys)).pooling, model_of(network(journeys)).encoder
    for _, _, batch, _ in one_by_one(journeys):
        states = encoder(batch).states
        given = pooling.with_weights(states, batch, pooling.weights(states, batch))
        torch.testing.assert_close(given, pooling(states, batch))
