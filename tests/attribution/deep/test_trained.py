"""The methods on a model that was trained and read from its checkpoint."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seqmarket.attribution.attention import Attention
from seqmarket.attribution.attention_gradient import AttentionGradient
from seqmarket.attribution.attributor import Attributor, Evidence
from seqmarket.attribution.deep_shapley import DeepShapley
from seqmarket.attribution.integrated_gradients import IntegratedGradients
from seqmarket.attribution.journeys import JourneySettings, make_journeys
from seqmarket.attribution.removal import CounterfactualRemoval
from seqmarket.training.checkpoint import load_trained
from seqmarket.training.data import open_data


@pytest.fixture(scope="module")
def of_run(gru_run: Any) -> Evidence:
    trained = load_trained(gru_run.model_file)
    store = open_data(trained.config)
    present, past = (
        make_journeys(store.events, store.spec, store.split.periods[fold], JourneySettings())
        for fold in ("test", "train")
    )
    return Evidence(present, past, trained)


@pytest.mark.parametrize(
    "attributor",
    [
        Attention(),
        AttentionGradient(),
        IntegratedGradients(steps=4),
        CounterfactualRemoval(),
        DeepShapley(exact_up_to=2, samples=4),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_trained_run_is_asked(of_run: Evidence, attributor: Attributor) -> None:
    found = attributor.attribute(of_run)
    assert found.total == pytest.approx(len(of_run.journeys.conversion))
    assert np.isfinite(found.credit).all()
    assert np.abs(found.credit).sum() > 0
