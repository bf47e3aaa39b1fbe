"""Two small journeys with every kind of feature."""

from __future__ import annotations

import pytest
import torch

from seqmarket.schema import CategoricalFeature, NumericFeature, SequenceSpec
from seqmarket.tensors import JourneyBatch


@pytest.fixture
def spec() -> SequenceSpec:
    return SequenceSpec(
        channel=CategoricalFeature("channel", ("email", "store", "web")),
        event_type=CategoricalFeature("event_type", ("purchase", "touch")),
        categorical=(CategoricalFeature("device", ("phone", "desktop")),),
        numeric=(NumericFeature("value", 0.0, 1.0, has_missing=True),),
        static_categorical=(CategoricalFeature("region", ("north", "south")),),
        static_numeric=(NumericFeature("age", 0.0, 1.0, has_missing=False),),
        purchase_event_types=("purchase",),
        max_length=32,
        time_scale=2.0,
    )


@pytest.fixture
def batch() -> JourneyBatch:
    """Journeys of four and three events, from noon of 2026-01-01 (day 20454)."""
    days = [[0.0, 1.0, 1.5, 9.0], [0.0, 0.25, 30.0, 30.0]]
    return JourneyBatch(
        channel=torch.tensor([[2, 3, 4, 2], [4, 4, 2, 0]]),
        event_type=torch.tensor([[2, 3, 3, 2], [3, 3, 2, 0]]),
        categorical=torch.tensor([[[2], [3], [1], [2]], [[3], [3], [2], [0]]]),
        time=20_454.5 + torch.tensor(days, dtype=torch.float64),
        value=torch.tensor([[5.0, 0.0, 0.0, 7.0], [0.0, 0.0, 3.0, 0.0]]),
        features=torch.tensor(
            [
                [[0.5, 0.0], [0.0, 1.0], [0.0, 1.0], [0.7, 0.0]],
                [[0.0, 1.0], [0.0, 1.0], [0.3, 0.0], [0.0, 0.0]],
            ]
        ),
        static_categorical=torch.tensor([[2], [3]]),
        static_features=torch.tensor([[0.1], [-0.4]]),
        prior_days=torch.tensor([0.0, 12.0]),
        prior_events=torch.tensor([0.0, 3.0]),
        mask=torch.tensor([[True, True, True, True], [True, True, True, False]]),
    )
