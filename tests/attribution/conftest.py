"""Logs written down event by event, for attribution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from seqmarket.attribution.attributor import Evidence, by_customer
from seqmarket.attribution.journeys import Journeys, JourneySettings, make_journeys
from seqmarket.data.event_log import EventLog
from seqmarket.data.settings import EncodingSettings, SplitSettings
from seqmarket.data.sources.simulator import JourneySimulator
from seqmarket.data.splits import Period
from seqmarket.data.store import open_store
from seqmarket.data.store_writing import write_store
from seqmarket.schema import (
    MICROSECONDS_PER_DAY,
    SPECIAL_TOKENS,
    UNK,
    CategoricalFeature,
    EventArrays,
    NumericFeature,
    SequenceSpec,
)


class Event(NamedTuple):
    """`buy` is a purchase; every other channel is of touches, one that is not known is UNK."""

    day: float
    channel: str
    value: float = 0.0
    cost: float = 0.0


CHANNELS = ("app", "mail", "search", "shop")
COST = NumericFeature("cost", 0.4, 1.7, has_missing=True)
SPEC = SequenceSpec(
    channel=CategoricalFeature("channel", CHANNELS),
    event_type=CategoricalFeature("event_type", ("buy", "touch", "visit")),
    categorical=(),
    numeric=(NumericFeature("value", 0.0, 1.0, has_missing=True), COST),
    static_categorical=(),
    static_numeric=(),
    purchase_event_types=("buy",),
    max_length=32,
    time_scale=1.0,
)

Customers = Sequence[Sequence[Event]]


def events_of(customers: Customers) -> EventArrays:
    flat = [event for journey in customers for event in journey]
    ids = {name: i + SPECIAL_TOKENS for i, name in enumerate(CHANNELS)} | {"buy": 5}
    cost = np.array([event.cost for event in flat])
    scaled = (np.log1p(cost) - COST.center) / COST.scale
    missing = np.isnan(cost)
    types = [
        "buy" if e.channel == "buy" else "visit" if e.channel == "app" else "touch" for e in flat
    ]
    return EventArrays(
        offsets=np.cumsum([0, *(len(journey) for journey in customers)]),
        time=np.array([round(e.day * MICROSECONDS_PER_DAY) for e in flat], dtype=np.int64),
        channel=np.array([ids.get(e.channel, UNK) for e in flat], dtype=np.int32),
        event_type=np.array(
            [("buy", "touch", "visit").index(t) + 2 for t in types], dtype=np.int32
        ),
        purchase=np.array([e.channel == "buy" for e in flat], dtype=np.bool_),
        value=np.array([e.value for e in flat], dtype=np.float32),
        categorical=np.zeros((len(flat), 0), dtype=np.int32),
        features=np.column_stack(
            [np.zeros(len(flat)), np.where(missing, 0, scaled), np.zeros(len(flat)), missing]
        ).astype(np.float32),
        static_categorical=np.zeros((len(customers), 0), dtype=np.int32),
        static_features=np.zeros((len(customers), 0), dtype=np.float32),
    )


def days(first: float, until: float) -> Period:
    return Period(round(first * MICROSECONDS_PER_DAY), round(until * MICROSECONDS_PER_DAY))


Make = Callable[..., Journeys]


@pytest.fixture(scope="session")
def make() -> Make:
    """Journeys of a written log: `make([[(day, channel), ...], ...], first=0, until=100)`."""

    def made(
        customers: Sequence[Sequence[tuple[object, ...]]],
        first: float = 0.0,
        until: float = 100.0,
        **settings: object,
    ) -> Journeys:
        log = [[Event(*event) for event in journey] for journey in customers]  # type: ignore[arg-type]
        given = JourneySettings.model_validate({"lookback": "10d", **settings})
        return make_journeys(events_of(log), SPEC, days(first, until), given)

    return made


@pytest.fixture(scope="session")
def random_log() -> Callable[[int], list[list[tuple[object, ...]]]]:
    """Customers with ties, purchases, unknown channels and long silences; some have nothing."""

    def drawn(seed: int) -> list[list[tuple[object, ...]]]:
        random = np.random.default_rng(seed)
        customers: list[list[tuple[object, ...]]] = []
        for _ in range(40):
            n = int(random.integers(1, 14))
            moments = np.sort(random.integers(0, 200, size=n) / 4)
            names = random.choice([*CHANNELS[:3], "new", "buy", "buy"], size=n)
            journey: list[tuple[object, ...]] = []
            for day, name in zip(moments, names, strict=True):
                value = float(random.integers(1, 9)) if name == "buy" else 0.0
                journey.append((float(day), str(name), value, 0.5))
            customers.append(journey)
        return customers

    return drawn


@pytest.fixture(scope="session")
def evidence() -> Callable[[Journeys], Evidence]:
    """Journeys that are their own history, for methods that do not learn."""
    return lambda journeys: Evidence(journeys, journeys)


class Known(NamedTuple):
    """A simulated log, whose truth is known; what is learnt is learnt from before the test."""

    evidence: Evidence
    source: JourneySimulator
    first_day: int

    def by_channel(self, credit: NDArray[np.float64]) -> dict[str, float]:
        journeys = self.evidence.journeys
        each = by_customer(journeys, credit).sum(axis=0).tolist()
        return dict(zip(journeys.channels, each, strict=True))


@pytest.fixture(scope="session")
def simulate_world(
    read_log: Callable[..., EventLog], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Known]:
    """Simulates a world and splits it in time, as a run does."""

    def simulated(source: JourneySimulator, train: float, validation: float) -> Known:
        path = tmp_path_factory.mktemp("simulated") / "store"
        split = SplitSettings(train_fraction=train, validation_fraction=validation)
        write_store(path, read_log(source), split, EncodingSettings())
        store = open_store(path)
        settings = JourneySettings.model_validate({"touches": {"event_type": ["touch"]}})
        periods = store.split.periods
        past, present = (
            make_journeys(store.events, store.spec, periods[fold], settings)
            for fold in ("train", "test")
        )
        first = (periods["test"].start - periods["train"].start) // MICROSECONDS_PER_DAY
        return Known(Evidence(present, past), source, int(first))

    return simulated
