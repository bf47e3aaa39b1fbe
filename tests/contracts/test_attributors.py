"""What every attribution method must keep, found through `conf/attribution/*.yaml`.

Each check is a function of a method and of what it may look at; each has a mutant with just that
fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from seqmarket.attribution.attributor import Attribution, Attributor, Evidence, by_customer
from seqmarket.attribution.config import (
    AttributionSettings,
    build_methods,
    parse_attribute_config,
)
from seqmarket.attribution.deconfounded import Deconfounded
from seqmarket.attribution.journeys import Floats, Journeys, make_journeys
from seqmarket.attribution.linear import Linear
from seqmarket.attribution.regression import Regression
from seqmarket.attribution.run import gather
from seqmarket.cli.compose import load_plain
from seqmarket.data.log_settings import LogSettings
from seqmarket.data.prepare import Workshop, prepare_store
from seqmarket.data.settings import EncodingSettings, SplitSettings
from seqmarket.data.simulation.world import PRESETS, Channel, World
from seqmarket.data.sources.simulator import JourneySimulator
from seqmarket.errors import SeqmarketError
from seqmarket.schema import EventArrays
from seqmarket.training.checkpoint import load_trained
from seqmarket.training.scoring import own_store

METHODS = [
    path.stem
    for path in sorted((Path(__file__).parents[2] / "conf" / "attribution").glob("*.yaml"))
    if path.stem != "all"
]
DRIVER = "social"
NAMES = ("mail", "search", DRIVER, "display", "affiliate", "popup")
PLANTED = World(
    tuple(Channel(name, 0.012, 4.0 if name == DRIVER else 0.0, 2.0) for name in NAMES),
    purchase_rate=0.003,
    intent=0.2,
    weekly=0.0,
    yearly=0.0,
)
"""One channel brings purchases about; all are met equally often, by everybody."""

SETTINGS = AttributionSettings.model_validate(
    {"journeys": {"touches": {"event_type": ["touch"]}, "lookback": "7d"}}
)
SEEDS = range(10)
Train = Callable[[int], Evidence]


def method_of(name: str) -> Attributor:
    """As the command builds it, but without what only its intervals need, which takes longest."""
    plain = load_plain([f"attribution={name}"], "attribute")
    if "groups" in plain["attribution"][name]:
        plain["attribution"][name]["groups"] = 0
    return build_methods(parse_attribute_config(plain).attribution)[name]


@contextmanager
def planted_world() -> Iterator[None]:
    """Only while it is simulated: other tests of the same process look at the world as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "sparse", PLANTED)  # type: ignore[arg-type]
        yield


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Train:
    """What there is to see in the planted world of a seed, without a model."""

    @cache
    def made(seed: int) -> Evidence:
        source = JourneySimulator(preset="sparse", n_customers=1_000, days=100, seed=seed)
        split = SplitSettings(train_fraction=0.6, validation_fraction=0.2)
        place = Workshop(tmp_path_factory.mktemp("world"))
        with planted_world():
            store = prepare_store(source, LogSettings(), split, EncodingSettings(), place)
        return gather(store, SETTINGS, None)

    return made


@pytest.fixture(scope="session")
def trained_world(trained) -> Train:
    """The same, with a run that was trained on it."""

    @cache
    def made(seed: int, customers: int = 1_000, epochs: int = 12) -> Evidence:
        with planted_world():
            run = trained(
                "model=transformer",
                "data=simulator",
                "data.preset=sparse",
                "data.days=100",
                f"data.n_customers={customers}",
                f"data.seed={seed}",
                "data.encoding.max_length=32",
                f"training.max_epochs={epochs}",
                "training.calibration=none",
                "task=purchase",
                "task.purchase.active_by=event",
                "task.purchase.active_within=100d",
                drop=("data", "training.max_epochs"),
            )
            model = load_trained(run.model_file)
            return gather(own_store(model), SETTINGS, model)

    return made


@pytest.fixture(scope="session")
def evidence(trained_world) -> Evidence:
    return trained_world(1, 300, 2)


def has_the_right_shapes(method: Attributor, evidence: Evidence) -> None:
    journeys, found = evidence.journeys, method.attribute(evidence)
    for array, length in (
        (found.credit, len(journeys.touch)),
        (found.value, len(journeys.touch)),
        (found.organic, journeys.n_customers),
        (found.organic_value, journeys.n_customers),
    ):
        assert array.shape == (length,)
        assert array.dtype == np.float64
        assert np.isfinite(array).all()
    assert found.organic_is in ("untouched", "anyway", "elsewhere")


def says_whether_it_is_signed(method: Attributor, evidence: Evidence) -> None:
    if not method.signed:
        assert method.attribute(evidence).credit.min() >= 0


def conserves(method: Attributor, evidence: Evidence) -> None:
    journeys, found = evidence.journeys, method.attribute(evidence)
    divided = found.total, found.value.sum() + found.organic_value.sum()
    there = len(journeys.conversion), journeys.value.sum()
    assert divided == pytest.approx(there)


def credits_nothing_outside_paths(method: Attributor, evidence: Evidence) -> None:
    journeys, found = evidence.journeys, method.attribute(evidence)
    outside = np.ones(len(journeys.touch), dtype=np.bool_)
    if isinstance(method, Regression | Deconfounded):  # to them, a purchase ends no path
        settings = journeys.settings.model_copy(update={"restart": False})
        journeys = make_journeys(
            journeys.events, journeys.spec, journeys.period, settings, journeys.members
        )
    outside[journeys.converting.rows()[1]] = False
    assert outside.any()
    assert not found.credit[outside].any()
    assert not found.value[outside].any()


def does_not_mind_the_order_of_customers(method: Attributor, evidence: Evidence) -> None:
    """Of those who are attributed; what is drawn from the history depends on the order of that."""
    journeys = evidence.journeys
    order = np.random.default_rng(0).permutation(journeys.n_customers)
    mixed = evidence._replace(journeys=in_order(journeys, order))
    place = np.argsort(order)[journeys.customer]
    before, after = method.attribute(evidence), method.attribute(mixed)
    by_place = np.argsort(place, kind="stable")
    np.testing.assert_allclose(after.credit, before.credit[by_place], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(after.organic, before.organic[order], rtol=1e-3, atol=1e-4)


def in_order(journeys: Journeys, order: np.ndarray) -> Journeys:
    """The same journeys, made of a log whose customers are in another order."""
    events = journeys.events
    rows = np.concatenate([np.arange(*events.offsets[c : c + 2]) for c in order])
    arrays = {
        name: getattr(events, name)[rows if name not in STATIC else order]
        for name in EventArrays.__dataclass_fields__
        if name != "offsets"
    }
    offsets = np.cumsum([0, *np.diff(events.offsets)[order]])
    mixed = EventArrays(offsets=offsets, **arrays)
    return make_journeys(mixed, journeys.spec, journeys.period, journeys.settings)


STATIC = ("static_categorical", "static_features")


def finds_the_driver(method: Attributor, seeds: list[Evidence]) -> None:
    """It is among the three best of six channels in nine of ten worlds."""
    found = 0
    for evidence in seeds:
        credit = channel_credit(method, evidence)
        best = np.argsort(-credit, kind="stable")[:3]
        found += evidence.journeys.channels.index(DRIVER) in best
    assert found >= 0.9 * len(seeds), f"in {found} of {len(seeds)}"


def beats_chance(method: Attributor, seeds: list[Evidence]) -> None:
    """Its shares are nearer to the truth, which is the driver alone, than those drawn by lot."""
    random = np.random.default_rng(0).dirichlet(np.ones(len(NAMES)), 2_000)
    errors = []
    for evidence in seeds:
        credit = channel_credit(method, evidence)
        channels = evidence.journeys.channels
        shares = np.array([credit[channels.index(name)] for name in NAMES]) / credit.sum()
        errors.append(distance(shares))
    lucky = np.quantile([distance(shares) for shares in random], 0.25)
    assert np.median(errors) < lucky  # credit that sums to almost nothing has shares of any size


def distance(shares: Floats) -> float:
    return float(np.abs(shares - np.array([name == DRIVER for name in NAMES])).mean())


def channel_credit(method: Attributor, evidence: Evidence) -> Floats:
    journeys = evidence.journeys
    return by_customer(journeys, method.attribute(evidence).credit).sum(axis=0)


ON_ONE_RUN = [
    has_the_right_shapes,
    says_whether_it_is_signed,
    conserves,
    credits_nothing_outside_paths,
    does_not_mind_the_order_of_customers,
]
OVER_SEEDS = [finds_the_driver, beats_chance]


@pytest.mark.parametrize("check", ON_ONE_RUN)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_keeps(name: str, check: Callable[..., None], evidence: Evidence) -> None:
    check(method_of(name), evidence)


@pytest.mark.parametrize("check", OVER_SEEDS)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns(name: str, check: Callable[..., None], world: Train) -> None:
    method = method_of(name)
    try:
        method.attribute(world(SEEDS[0]))
    except SeqmarketError:
        pytest.skip("it asks a trained model: see the slow test")
    check(method, [world(seed) for seed in SEEDS])


@pytest.mark.slow
@pytest.mark.parametrize("check", OVER_SEEDS)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_with_a_model_learns(
    name: str, check: Callable[..., None], world: Train, trained_world: Train
) -> None:
    method = method_of(name)
    try:
        method.attribute(world(SEEDS[0]))
    except SeqmarketError:
        check(method, [trained_world(seed) for seed in SEEDS])
    else:
        pytest.skip("it needs no model")


class Mutant:
    """Linear attribution with a fault."""

    signed: ClassVar[bool] = False

    def attribute(self, evidence: Evidence) -> Attribution:
        return self.spoil(Linear().attribute(evidence), evidence.journeys)

    def spoil(self, found: Attribution, journeys: Journeys) -> Attribution:
        raise NotImplementedError


class LosesATouch(Mutant):
    def spoil(self, found: Attribution, journeys: Journeys) -> Attribution:
        return replace(found, credit=found.credit[:-1])


class IsNotANumber(Mutant):
    def spoil(self, found: Attribution, journeys: Journeys) -> Attribution:
        return replace(found, organic=found.organic * np.nan)


class HidesHarm(Mutant):
    def spoil(self, found: Attribution, journeys: Journeys) -> Attribution:
        return replace(found, credit=found.credit - 0.01)


class CountsTwice(Mutant):
    def spoil(self, found: Attribution, journeys: Journeys) -> Attribution:
        return replace(found, credit=2 * found.credit)


class ForgetsValue(Mutant):
    def spoil(self, found: Attribution, journeys: Journeys) -> Attribution:
        return replace(found, organic_value=0 * found.organic_value)


class ExpectsTooMuch(Mutant):
    def spoil(self, found: Attribution, journeys: Journeys) -> Attribution:
        return replace(found, organic=found.organic + 1)


class CreditsOutside(Mutant):
    """Of the same sum, but everywhere."""

    def spoil(self, found: Attribution, journeys: Journeys) -> Attribution:
        return replace(found, credit=np.full_like(found.credit, found.credit.mean()))


class LooksAtTheRow(Mutant):
    """The first customers of the store have more."""

    def spoil(self, found: Attribution, journeys: Journeys) -> Attribution:
        return replace(found, credit=found.credit / (1 + journeys.customer))


class ByLot(Mutant):
    """Channels have what a lot gives them."""

    def spoil(self, found: Attribution, journeys: Journeys) -> Attribution:
        random = np.random.default_rng(len(journeys.touch))
        worth = random.permutation(len(journeys.channels)) ** 3.0
        return replace(found, credit=worth[journeys.channel])


class BlamesTheDriver(Mutant):
    def spoil(self, found: Attribution, journeys: Journeys) -> Attribution:
        driver = journeys.channels.index(DRIVER)
        return replace(found, credit=np.where(journeys.channel == driver, 0, found.credit))


@pytest.mark.parametrize(
    ("check", "mutant"),
    [
        (has_the_right_shapes, LosesATouch),
        (has_the_right_shapes, IsNotANumber),
        (says_whether_it_is_signed, HidesHarm),
        (conserves, CountsTwice),
        (conserves, ForgetsValue),
        (conserves, ExpectsTooMuch),
        (credits_nothing_outside_paths, CreditsOutside),
        (does_not_mind_the_order_of_customers, LooksAtTheRow),
    ],
)
def test_a_check_catches_its_mutant(
    check: Callable[..., None], mutant: type[Mutant], evidence: Evidence
) -> None:
    check(Linear(), evidence)
    with pytest.raises(AssertionError):
        check(mutant(), evidence)


@pytest.mark.parametrize("mutant", [ByLot, BlamesTheDriver])
@pytest.mark.parametrize("check", OVER_SEEDS)
def test_a_check_over_seeds_catches_its_mutant(
    check: Callable[..., None], mutant: type[Mutant], world: Train
) -> None:
    with pytest.raises(AssertionError):
        check(mutant(), [world(seed) for seed in SEEDS])


def test_every_method_is_found() -> None:
    assert {"first", "markov", "regression", "shapley_rate"} <= set(METHODS)
