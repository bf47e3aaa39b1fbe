"""Shapley values of a model: those of all orders of the channels."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch

from seqmarket.attribution.asking import PurchaseModel
from seqmarket.attribution.attributor import Evidence, by_customer
from seqmarket.attribution.deep_shapley import DeepShapley
from seqmarket.attribution.journeys import Journeys
from seqmarket.attribution.removal import CounterfactualRemoval
from seqmarket.attribution.without_touches import expected_without
from seqmarket.errors import SeqmarketError

Ask = Callable[..., Evidence]
Make = Callable[..., Journeys]


def values_are_those_of_all_orders(journeys: Journeys, evidence: Evidence) -> None:
    """Of customers with one conversion, channel by channel."""
    found = by_customer(journeys, DeepShapley().attribute(evidence).credit)
    model = PurchaseModel.of(evidence, "deep_shapley")
    paths = journeys.converting
    checked = 0
    for v, customer in enumerate(journeys.converts):
        touch = np.arange(paths.first[v], paths.stop[v])
        if (journeys.converts == customer).sum() > 1 or not len(touch):
            continue

        def worth(kept: tuple[int, ...], v: int = v, touch: Any = touch) -> float:
            out = touch[~np.isin(journeys.channel[touch], kept)]
            only, zero = np.array([v]), np.zeros(len(out), dtype=np.int64)
            return float(expected_without(model, journeys, only, zero, out)[0])

        channels = tuple(np.unique(journeys.channel[touch]).tolist())
        orders = list(permutations(channels))
        expected = np.zeros(len(journeys.channels))
        for order in orders:
            for i, channel in enumerate(order):
                expected[channel] += (worth(order[: i + 1]) - worth(order[:i])) / len(orders)
        checked += len(channels) > 2
        assert found[customer] == pytest.approx(expected / worth(channels), abs=1e-5)
    assert checked > 2


def test_values_are_those_of_all_orders(crowded: Journeys, network: Ask) -> None:
    values_are_those_of_all_orders(crowded, network(crowded))


def test_weights_of_other_sets_are_noticed(
    crowded: Journeys, network: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = DeepShapley._game

    def alike(self: DeepShapley, n: int) -> Any:
        sets, weights = honest(self, n)
        return sets, np.sign(weights) * 2.0 ** (1 - n)  # Banzhaf's values

    monkeypatch.setattr(DeepShapley, "_game", alike)
    with pytest.raises(AssertionError):
        values_are_those_of_all_orders(crowded, network(crowded))


def test_what_is_organic_is_as_by_removal(crowded: Journeys, network: Ask) -> None:
    evidence = network(crowded)
    found = DeepShapley().attribute(evidence)
    drawn = DeepShapley(exact_up_to=1, samples=2).attribute(evidence)
    removal = CounterfactualRemoval().attribute(evidence)
    assert found.organic == pytest.approx(removal.organic, abs=1e-5)
    assert drawn.organic == pytest.approx(removal.organic, abs=1e-5)


def additive(state: torch.Tensor, elapsed: torch.Tensor) -> torch.Tensor:
    weight = torch.tensor([0.0, 0.0, 1.0, 3.0, -0.1, 0.0, 0.0, 0.0], dtype=torch.float64)
    return 0.01 * (1 + state @ weight).unsqueeze(-1)


@pytest.mark.parametrize("exact_up_to", [6, 1])
def test_effects_that_add_up_are_found_whichever_orders(
    touching: Make, knowing: Ask, exact_up_to: int
) -> None:
    log = [[(1, "app"), (2, "mail"), (3, "search"), (4, "mail"), (5, "buy")], [(1, "app")]]
    journeys = touching(log)
    found = DeepShapley(exact_up_to=exact_up_to, samples=2).attribute(knowing(journeys, additive))
    assert found.organic == pytest.approx([2 / 7.9, 0.0])
    assert found.credit == pytest.approx([3 / 7.9, -0.1 / 7.9, 3 / 7.9])


def test_many_drawn_orders_come_near_to_all(crowded: Journeys, network: Ask) -> None:
    evidence = network(crowded)
    exact = DeepShapley().attribute(evidence).credit
    few, many = (
        np.abs(DeepShapley(exact_up_to=1, samples=n).attribute(evidence).credit - exact).max()
        for n in (2, 2_000)
    )
    assert many < min(0.02, few)


@pytest.mark.parametrize(("n", "exact_up_to"), [(1, 6), (4, 6), (4, 1), (30, 6)])
def test_values_sum_to_what_all_add(n: int, exact_up_to: int) -> None:
    sets, weights = DeepShapley(exact_up_to=exact_up_to)._game(n)
    assert (np.diff(sets) > 0).all()
    assert sets[0] == 0
    assert sets[-1] == 2**n - 1
    expected = np.zeros(len(sets))
    expected[[0, -1]] = -1, 1
    assert weights.sum(axis=0) == pytest.approx(expected, abs=1e-12)


def test_more_channels_than_fit_are_refused() -> None:
    with pytest.raises(SeqmarketError, match=r"63 channels.*(?s:.)*attribution\.journeys"):
        DeepShapley()._game(63)


def test_orders_are_drawn_by_their_seed(crowded: Journeys, network: Ask) -> None:
    evidence = network(crowded)
    first, again, other = (
        DeepShapley(exact_up_to=1, samples=2, seed=seed).attribute(evidence).credit
        for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert np.abs(first - other).max() > 1e-5
