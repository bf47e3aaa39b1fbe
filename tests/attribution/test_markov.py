"""Removal effects against plain dictionaries and a dense solution."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from seqmarket.attribution import markov
from seqmarket.attribution.attributor import Evidence
from seqmarket.attribution.journeys import Journeys
from seqmarket.attribution.markov import (
    MarkovRemoval,
    bayesian_information,
    fit_chain,
    removal_effects,
)

Make = Callable[..., Journeys]
Log = list[list[tuple[Any, ...]]]


def by_hand(journeys: Journeys, order: int) -> np.ndarray:
    """(K,) removal effects, state by state."""
    times: dict[tuple[int, ...], Counter[Any]] = defaultdict(Counter)
    for first, stop, conversion in zip(*journeys.paths, strict=True):
        if first == stop:
            continue
        channels = journeys.channel[first:stop].tolist()
        state: tuple[int, ...] = ()
        for channel in channels:
            following = (*state, channel)[-order:]
            times[state][following] += 1
            state = following
        times[state]["yes" if conversion >= 0 else "no"] += 1

    def converts(without: int | None) -> float:
        states = list(times)
        system, right = np.eye(len(states)), np.zeros(len(states))
        for i, state in enumerate(states):
            total = sum(times[state].values())
            for following, n in times[state].items():
                if following == "yes":
                    right[i] += n / total
                elif following != "no" and following[-1] != without:
                    system[i, states.index(following)] -= n / total
        return float(np.linalg.solve(system, right)[states.index(())])

    everything = converts(None)
    return np.array([1 - converts(c) / everything for c in range(len(journeys.channels))])


def effects_are_as_by_hand(make: Make, log: Log, order: int) -> None:
    journeys = make(log)
    paths = journeys.paths.take(journeys.paths.stop > journeys.paths.first)
    found = removal_effects(fit_chain(journeys, paths, order), len(journeys.channels))
    assert found == pytest.approx(by_hand(journeys, order), abs=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_effects_are_as_by_hand(
    make: Make, random_log: Callable[[int], Log], seed: int, order: int
) -> None:
    effects_are_as_by_hand(make, random_log(seed), order)


def test_forgotten_null_paths_are_noticed(
    make: Make, random_log: Callable[[int], Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = markov.fit_chain

    def converting_only(journeys: Journeys, paths: Any, order: int) -> Any:
        return honest(journeys, paths.take(paths.conversion >= 0), order)

    monkeypatch.setitem(globals(), "fit_chain", converting_only)
    with pytest.raises(AssertionError):
        effects_are_as_by_hand(make, random_log(0), 1)


def test_an_example_small_enough_for_the_head(make: Make) -> None:
    """Half of the paths go by mail alone, of which half convert; half by mail and search: all."""
    log: Log = [
        [(1.0, "mail"), (2.0, "buy")],
        [(1.0, "mail")],
        [(1.0, "search"), (2.0, "mail"), (3.0, "buy")],
        [(1.0, "search"), (2.0, "buy")],
    ]
    journeys = make(log)
    chain = fit_chain(journeys, journeys.paths, 1)
    effect = dict(zip(journeys.channels, removal_effects(chain, 5), strict=True))
    # From the start half mail, half search; mail converts 2 in 3; search converts, or goes on.
    everything = 0.5 * 2 / 3 + 0.5 * (0.5 * 2 / 3 + 0.5)
    assert effect["mail"] == pytest.approx(1 - 0.25 / everything)
    assert effect["search"] == pytest.approx(1 - (1 / 3) / everything)
    assert effect["app"] == 0
    found = MarkovRemoval(order=1).attribute(Evidence(journeys, journeys))
    share = effect["mail"] / (effect["mail"] + effect["search"])
    mail = journeys.channel == journeys.channels.index("mail")
    assert found.credit[mail].sum() == pytest.approx(3 * share)
    assert found.credit[[1]] == 0  # no conversion followed it


def test_what_every_conversion_needs_is_worth_all(make: Make) -> None:
    log: Log = [[(1.0, "search"), (2.0, "mail"), (3.0, "buy")], [(1.0, "mail"), (2.0, "buy")]]
    journeys = make([*log, [(1.0, "search")]])
    chain = fit_chain(journeys, journeys.paths, 1)
    effect = removal_effects(chain, 5)
    assert effect[journeys.channels.index("mail")] == pytest.approx(1)


def chained(order: int, n: int = 600) -> Log:
    """Paths in which the next channel repeats the one `order` touches ago, nearly always."""
    random = np.random.default_rng(order)
    log: Log = []
    for _ in range(n):
        path = [str(name) for name in random.choice(["mail", "search"], size=order)]
        while random.random() < 0.9:
            same = random.random() < 0.9
            other = {"mail": "search", "search": "mail"}[path[-order]]
            path.append(path[-order] if same else other)
        journey: list[tuple[Any, ...]] = [(0.01 * i, name) for i, name in enumerate(path)]
        log.append([*journey, (2.0, "buy")] if random.random() < 0.5 else journey)
    return log


@pytest.mark.parametrize("order", [1, 2])
def test_the_order_is_found(make: Make, order: int) -> None:
    journeys = make(chained(order))
    chains = [fit_chain(journeys, journeys.paths, k) for k in (1, 2, 3)]
    assert min(chains, key=bayesian_information).order == order
