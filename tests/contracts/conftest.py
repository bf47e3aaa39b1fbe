"""Random journeys for the contract tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from seqmarket.schema import SPECIAL_TOKENS, UNK, CategoricalFeature, NumericFeature, SequenceSpec
from seqmarket.tensors import JourneyBatch

Journeys = Callable[..., JourneyBatch]


def _vocabulary(name: str, size: int) -> CategoricalFeature:
    return CategoricalFeature(name, tuple(f"{name}_{i}" for i in range(size)))


@pytest.fixture
def spec() -> SequenceSpec:
    """Of every kind of feature at least one: K=2, F=4, S=2, P=2."""
    return SequenceSpec(
        channel=_vocabulary("channel", 5),
        event_type=_vocabulary("event_type", 3),
        categorical=(_vocabulary("device", 4), _vocabulary("campaign", 7)),
        numeric=(
            NumericFeature("value", 1.0, 2.0, has_missing=False),
            NumericFeature("items", 0.0, 1.0, has_missing=True),
            NumericFeature("discount", 0.0, 1.0, has_missing=False),
        ),
        static_categorical=(_vocabulary("region", 3), _vocabulary("segment", 2)),
        static_numeric=(NumericFeature("household_size", 0.0, 1.0, has_missing=True),),
        purchase_event_types=("event_type_0",),
        max_length=64,
        time_scale=1.5,
    )


@pytest.fixture
def bare_spec() -> SequenceSpec:
    """No feature beyond channel, type and time: K=F=S=P=0, and a median gap of 0."""
    return SequenceSpec(
        channel=_vocabulary("channel", 5),
        event_type=_vocabulary("event_type", 3),
        categorical=(),
        numeric=(),
        static_categorical=(),
        static_numeric=(),
        purchase_event_types=("event_type_0",),
        max_length=64,
        time_scale=0.0,
    )


@pytest.fixture
def journeys() -> Journeys:
    """A function of a spec and lengths that makes a batch of random events."""

    def make(spec: SequenceSpec, lengths: Sequence[int], seed: int = 0) -> JourneyBatch:
        generator = torch.Generator().manual_seed(seed)
        b, t = len(lengths), max(lengths)

        def ids(shape: tuple[int, ...], feature: CategoricalFeature, low: int) -> torch.Tensor:
            return torch.randint(low, feature.size, shape, generator=generator)

        def several(
            shape: tuple[int, ...], features: Sequence[CategoricalFeature], low: int
        ) -> torch.Tensor:
            columns = [ids(shape, feature, low) for feature in features]
            return torch.stack(columns, -1) if columns else torch.zeros((*shape, 0)).long()

        mask = torch.arange(t) < torch.tensor(lengths).unsqueeze(1)
        gaps = -3.0 * torch.rand(b, t, generator=generator, dtype=torch.float64).log()
        last = gaps.masked_fill(~mask, 0.0).cumsum(1)
        return JourneyBatch(
            channel=ids((b, t), spec.channel, SPECIAL_TOKENS) * mask,
            event_type=ids((b, t), spec.event_type, SPECIAL_TOKENS) * mask,
            categorical=several((b, t), spec.categorical, SPECIAL_TOKENS) * mask.unsqueeze(-1),
            time=20_454.0 + last,
            value=torch.rand(b, t, generator=generator) * mask,
            features=torch.randn(b, t, spec.n_features, generator=generator) * mask.unsqueeze(-1),
            static_categorical=several((b,), spec.static_categorical, UNK),
            static_features=torch.randn(b, spec.n_static_features, generator=generator),
            prior_days=torch.rand(b, generator=generator) * 100.0,
            prior_events=torch.randint(0, 9, (b,), generator=generator).float(),
            mask=mask,
        )

    return make
