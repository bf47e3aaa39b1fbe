"""What all methods that ask the run's model have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from seqmarket.attribution import asking, sharing, without_touches
from seqmarket.attribution.asking import PurchaseModel
from seqmarket.attribution.attributor import Attribution, Attributor, Evidence
from seqmarket.attribution.journeys import Journeys, make_journeys
from seqmarket.errors import SeqmarketError
from seqmarket.schema import MICROSECONDS_PER_DAY, EventArrays
from seqmarket.training.config import ComponentConfig
from seqmarket.training.instantiate import build, resolve_target

Ask = Callable[..., Evidence]
Make = Callable[..., Journeys]
Log = list[list[tuple[Any, ...]]]
RandomLog = Callable[[int], Log]

CONF = Path(__file__).parents[3] / "conf" / "attribution"
METHODS = (
    "attention",
    "rollout",
    "attention_gradient",
    "integrated_gradients",
    "removal",
    "deep_shapley",
)
SIGNED = METHODS[2:]


def method(name: str, **settings: Any) -> Attributor:
    """As its file says."""
    plain = yaml.safe_load((CONF / f"{name}.yaml").read_text())[name]
    target = plain.pop("_target_")
    return build(ComponentConfig.model_validate({"_target_": target, **plain, **settings}))


def asked(name: str, ask: Ask, journeys: Journeys, **options: Any) -> Evidence:
    return ask(journeys, "transformer" if name == "rollout" else "gru", **options)


@pytest.fixture(scope="module")
def journeys(touching: Make, random_log: RandomLog) -> Journeys:
    return touching(random_log(4), first=5.0, until=45.0)


@pytest.mark.parametrize("name", METHODS)
def test_a_file_names_every_setting(name: str) -> None:
    plain = yaml.safe_load((CONF / f"{name}.yaml").read_text())[name]
    target: Any = resolve_target(plain.pop("_target_"))
    assert plain == target().model_dump()
    assert target.signed == (name in SIGNED)


def conserves(found: Attribution, journeys: Journeys) -> None:
    """Every conversion is divided among its own path's touches and what is organic."""
    assert found.organic_is in ("anyway", "elsewhere")
    assert np.isfinite(found.credit).all()
    by_customer = np.bincount(journeys.converts, minlength=journeys.n_customers)
    value = np.bincount(journeys.converts, journeys.value, minlength=journeys.n_customers)
    for credit, organic, total in (
        (found.credit, found.organic, by_customer),
        (found.value, found.organic_value, value),
    ):
        of_touches = np.bincount(journeys.customer, credit, minlength=journeys.n_customers)
        assert of_touches + organic == pytest.approx(total, abs=1e-9)
    _, on_paths = journeys.converting.rows()
    outside = np.setdiff1d(np.arange(len(journeys.touch)), on_paths)
    assert len(outside) > 0
    assert (found.credit[outside] == 0).all()
    assert np.abs(found.credit[on_paths]).max() > 1e-3


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("restart", [True, False])
def test_credit_conserves_and_stays_on_paths(
    touching: Make, network: Ask, random_log: RandomLog, name: str, restart: bool
) -> None:
    journeys = touching(random_log(4), first=5.0, until=45.0, restart=restart)
    found = method(name).attribute(asked(name, network, journeys))
    conserves(found, journeys)
    if name not in SIGNED:
        assert found.credit.min() >= 0
        assert found.organic.min() >= -1e-9


def test_credit_at_the_wrong_touches_is_noticed(
    journeys: Journeys, network: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = sharing.np.add.at  # the only place where parts become credit

    class Shifted:
        at = staticmethod(lambda array, index, part: honest(array, (index + 1) % len(array), part))

    monkeypatch.setattr(sharing, "np", type("Numpy", (), {**vars(np), "add": Shifted}))
    found = method("attention").attribute(network(journeys))
    monkeypatch.undo()
    with pytest.raises(AssertionError):
        conserves(found, journeys)


def shuffled(journeys: Journeys, order: np.ndarray) -> tuple[Journeys, np.ndarray]:
    """The same customers in another order, and where each of their touches was."""
    events = journeys.events
    size = np.diff(events.offsets)[order]
    begin = np.cumsum(size) - size
    row = np.repeat(events.offsets[order] - begin, size) + np.arange(size.sum())
    per_customer = ("static_categorical", "static_features")
    columns = {
        field.name: getattr(events, field.name)[order if field.name in per_customer else row]
        for field in fields(EventArrays)
        if field.name != "offsets"
    }
    moved = EventArrays(offsets=np.concatenate([[0], np.cumsum(size)]), **columns)
    other = make_journeys(moved, journeys.spec, journeys.period, journeys.settings)
    return other, np.searchsorted(journeys.touch, row[other.touch])


def same_in_any_order(journeys: Journeys, evidence: Evidence, attributor: Attributor) -> None:
    order = np.random.default_rng(0).permutation(journeys.n_customers)
    other, place = shuffled(journeys, order)
    found = attributor.attribute(evidence)
    again = attributor.attribute(evidence._replace(journeys=other))
    assert again.credit == pytest.approx(found.credit[place], abs=1e-5)
    assert again.organic == pytest.approx(found.organic[order], abs=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_the_order_of_customers_does_not_matter(
    journeys: Journeys, network: Ask, name: str
) -> None:
    same_in_any_order(journeys, asked(name, network, journeys), method(name))


def test_nor_does_it_for_drawn_orders(crowded: Journeys, network: Ask) -> None:
    drawn = method("deep_shapley", exact_up_to=1, samples=2)
    same_in_any_order(crowded, network(crowded), drawn)


@pytest.mark.parametrize("name", METHODS)
def test_the_size_of_batches_does_not_matter(
    journeys: Journeys, network: Ask, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = method(name).attribute(asked(name, network, journeys))
    monkeypatch.setattr(without_touches, "_AT_ONCE", 40)
    for tokens in (1, 30, 10_000):
        again = method(name).attribute(asked(name, network, journeys, tokens=tokens))
        assert again.credit == pytest.approx(found.credit, abs=1e-5)
        assert again.organic == pytest.approx(found.organic, abs=1e-5)


def sees_nothing_of_the_conversion(journeys: Journeys, network: Ask, name: str) -> None:
    """A purchase through another channel, with other numbers, gives its own path the same."""
    events, bought = journeys.events, journeys.conversion
    channel, features = events.channel.copy(), events.features.copy()
    channel[bought], features[bought] = 2, 5.0
    other = replace(journeys, events=replace(events, channel=channel, features=features))
    found = method(name).attribute(asked(name, network, journeys))
    again = method(name).attribute(asked(name, network, other))
    once = np.bincount(journeys.converts, minlength=journeys.n_customers) == 1
    mine = once[journeys.customer]
    assert again.credit[mine] == pytest.approx(found.credit[mine], abs=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_a_conversion_is_not_told_of_itself(journeys: Journeys, network: Ask, name: str) -> None:
    sees_nothing_of_the_conversion(journeys, network, name)


def test_a_model_that_is_told_is_noticed(
    journeys: Journeys, network: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = asking.just_before

    def told(journeys: Journeys, asked: Any) -> Any:
        customer, newest, time = honest(journeys, asked)
        return customer, newest + 1, time

    monkeypatch.setattr(asking, "just_before", told)
    with pytest.raises(AssertionError):
        sees_nothing_of_the_conversion(journeys, network, "integrated_gradients")


def sees_nothing_of_the_margin(touching: Make, network: Ask, name: str) -> None:
    """The same journeys end in what they end in, whatever belongs to the conversion."""

    def credited(*last: tuple[Any, ...]) -> Any:
        log = [[(0, "app"), (1, "mail"), (2.5, "search"), *last, (6, "buy")]] * 2
        journeys = touching(log, margin="1d", lookback="10d")
        return journeys, method(name).attribute(asked(name, network, journeys))

    journeys, found = credited()
    with_more, other = credited((5.25, "mail"), (5.5, "app"))
    kept = with_more.time < 5 * MICROSECONDS_PER_DAY
    assert kept.sum() == len(journeys.touch)
    assert other.credit[kept] == pytest.approx(found.credit, abs=1e-6)
    assert other.credit[~kept] == pytest.approx(np.zeros((~kept).sum()))
    assert other.organic == pytest.approx(found.organic, abs=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_what_belongs_to_the_conversion_is_not_seen(
    touching: Make, network: Ask, name: str
) -> None:
    sees_nothing_of_the_margin(touching, network, name)


def test_a_model_that_is_shown_the_margin_is_noticed(
    touching: Make, network: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(journeys: Journeys, asked: Any) -> Any:
        event = journeys.conversion[asked]
        return journeys.converts[asked], event - 1, journeys.events.time[event]

    monkeypatch.setattr(asking, "just_before", shown)
    with pytest.raises(AssertionError):
        sees_nothing_of_the_margin(touching, network, "integrated_gradients")


@pytest.mark.parametrize("name", METHODS)
def test_an_ensemble_of_one_model_twice_is_that_model(
    journeys: Journeys, network: Ask, name: str
) -> None:
    alone = method(name).attribute(asked(name, network, journeys, seeds=(3,)))
    twice = method(name).attribute(asked(name, network, journeys, seeds=(3, 3)))
    assert twice.credit == pytest.approx(alone.credit, abs=1e-5)
    other = method(name).attribute(asked(name, network, journeys, seeds=(3, 4)))
    conserves(other, journeys)
    assert np.abs(other.credit - alone.credit).max() > 1e-3


def test_an_ensemble_expects_by_its_mean_probability(journeys: Journeys, network: Ask) -> None:
    def answer(*seeds: int) -> Any:
        return PurchaseModel.of(network(journeys, seeds=seeds), "x").with_all_touches(journeys)

    mean = (-np.expm1(-answer(1)) - np.expm1(-answer(2))) / 2
    known = ~np.isnan(mean)
    assert answer(1, 2)[known] == pytest.approx(-np.log1p(-mean[known]), rel=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_conversions_without_touches_are_organic(touching: Make, network: Ask, name: str) -> None:
    log = [[(1, "buy", 3.0)], [(1, "app"), (2, "buy", 4.0)], [(3, "mail"), (50, "app")]]
    found = method(name).attribute(asked(name, network, touching(log)))
    assert found.credit.tolist() == [0.0]
    assert found.organic.tolist() == [1.0, 1.0, 0.0]
    assert found.organic_value.tolist() == [3.0, 4.0, 0.0]


@pytest.mark.parametrize("name", METHODS)
def test_a_journey_longer_than_the_window_is_cut(touching: Make, network: Ask, name: str) -> None:
    """What is not shown has no credit, unless taking it out moves the window."""
    days = np.arange(70) / 10
    log = [[*((float(day), ("mail", "search")[i % 2]) for i, day in enumerate(days)), (8.0, "buy")]]
    journeys = touching(log)
    found = method(name).attribute(asked(name, network, journeys))
    assert found.total == pytest.approx(1.0)
    shown = np.arange(70) >= 70 - 1 - (70 - 1 - 48)  # windows start at multiples of 16
    if name not in ("removal", "deep_shapley", "attention_gradient"):
        assert (found.credit[~shown] == 0).all()
    assert np.abs(found.credit[shown]).max() > 0


@pytest.mark.parametrize("name", METHODS)
def test_a_baseline_is_refused(journeys: Journeys, network: Ask, name: str) -> None:
    evidence = network(journeys)
    assert evidence.trained is not None
    for trained in (None, replace(evidence.trained, model=None)):
        with pytest.raises(SeqmarketError, match=f"(?s)baseline.*attribution={name}\n.*model=gru"):
            method(name).attribute(evidence._replace(trained=trained))


@pytest.mark.parametrize("name", METHODS)
def test_journeys_of_another_log_are_refused(journeys: Journeys, network: Ask, name: str) -> None:
    evidence = network(journeys)
    assert evidence.trained is not None
    other = replace(evidence.trained, spec=replace(journeys.spec, time_scale=2.0))
    with pytest.raises(SeqmarketError, match="encoded otherwise"):
        method(name).attribute(evidence._replace(trained=other))


def test_a_run_without_a_purchase_is_refused(journeys: Journeys, network: Ask) -> None:
    evidence = network(journeys)
    assert evidence.trained is not None
    task = evidence.trained.tasks["purchase"]
    absent = replace(task, rule=replace(task.rule, task="churn", outcome="absent"))
    with pytest.raises(SeqmarketError, match=r"(?s)churn.*task=purchase"):
        PurchaseModel.of(
            evidence._replace(trained=replace(evidence.trained, tasks={"churn": absent})), "removal"
        )


def test_of_several_windows_the_shortest_is_asked(journeys: Journeys, network: Ask) -> None:
    evidence = network(journeys)
    assert evidence.trained is not None
    task = evidence.trained.tasks["purchase"]
    longer = replace(task, rule=replace(task.rule, window=10 * task.rule.window))
    tasks = {"soon": longer, "purchase": task, "later": longer}
    model = PurchaseModel.of(
        evidence._replace(trained=replace(evidence.trained, tasks=tasks)), "removal"
    )
    assert model.task == "purchase"


@pytest.mark.parametrize("name", ["attention", "attention_gradient"])
def test_heads_that_do_not_look_back_are_refused(
    journeys: Journeys, network: Ask, name: str
) -> None:
    with pytest.raises(SeqmarketError, match=r"training\.pooling=attention"):
        method(name).attribute(network(journeys, pooling=False))


@pytest.mark.parametrize("name", ["integrated_gradients", "removal", "deep_shapley"])
@pytest.mark.parametrize("encoder", ["lstm", "ssm", "tcn", "transformer"])
def test_any_encoder_is_asked_with_pooling_or_without(
    journeys: Journeys, network: Ask, name: str, encoder: str
) -> None:
    for pooling in (True, False):
        found = method(name).attribute(network(journeys, encoder, pooling=pooling))
        conserves(found, journeys)


def test_asking_leaves_no_gradients(journeys: Journeys, network: Ask) -> None:
    evidence = network(journeys)
    assert evidence.trained is not None
    assert evidence.trained.model is not None
    for name in SIGNED:
        method(name).attribute(evidence)
    assert all(p.grad is None for p in evidence.trained.model.parameters())
    assert torch.is_grad_enabled()
