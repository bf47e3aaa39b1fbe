"""Removal effects against plain dictionaries and a dense solution."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
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


def ends_at_loops(patch: pytest.MonkeyPatch) -> None:
    """A channel that is touched again is the end. (To leave loops out would change nothing.)"""
    honest = fit_chain

    def without_loops(journeys: Journeys, paths: Any, order: int) -> Any:
        chain = honest(journeys, paths, order)
        loops = chain.origin == chain.target
        return chain._replace(target=np.where(loops, len(chain.channel) + 1, chain.target))

    patch.setitem(globals(), "fit_chain", without_loops)


def goes_on_past_what_is_removed(patch: pytest.MonkeyPatch) -> None:
    """Ways into a removed channel do not lead nowhere: the others take them over."""
    honest = markov._converts

    def rescaled(chain: Any, probability: Any, open_: Any) -> float:
        left = np.bincount(chain.origin, probability * open_, minlength=len(chain.channel))
        return honest(chain, probability / np.maximum(left[chain.origin], 1e-12), open_)

    patch.setattr(markov, "_converts", rescaled)


def remembers_one_touch(patch: pytest.MonkeyPatch) -> None:
    honest = fit_chain
    patch.setitem(globals(), "fit_chain", lambda journeys, paths, _: honest(journeys, paths, 1))


@pytest.mark.parametrize(
    ("mutant", "order"),
    [(ends_at_loops, 1), (goes_on_past_what_is_removed, 1), (remembers_one_touch, 2)],
)
def test_wrong_chains_are_noticed(
    make: Make,
    random_log: Callable[[int], Log],
    mutant: Callable[[pytest.MonkeyPatch], None],
    order: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        effects_are_as_by_hand(make, random_log(0), order)


def test_the_states_of_many_channels_are_told_apart(make: Make) -> None:
    """Six of 3,000 channels are more than an integer can number."""
    random = np.random.default_rng(0)
    seen = make([[(float(day), "mail") for day in range(6)]] * 100)
    channels = tuple(f"channel {i}" for i in range(3_000))
    wide = replace(seen, channels=channels, channel=random.integers(3_000, size=600))
    chain = fit_chain(wide, wide.paths, 6)
    following = {tuple(wide.channel[i : j + 1]) for i in range(0, 600, 6) for j in range(i, i + 6)}
    assert len(chain.channel) == 1 + len(following)
    assert sorted(chain.channel[1:]) == sorted(path[-1] for path in following)
    assert chain.channel[0] == -1


def test_a_published_example(make: Make) -> None:
    """S. Bryl', "Marketing multi-channel attribution model with R", AnalyzeCore, 2016."""
    log: Log = [
        [(1.0, "app"), (2.0, "mail"), (3.0, "search"), (4.0, "buy", 10.0)],
        [(1.0, "app")],
        [(1.0, "mail"), (2.0, "search")],
    ]
    journeys = make(log)
    assert removal_effects(fit_chain(journeys, journeys.paths, 1), 5) == pytest.approx(
        [0.5, 1, 1, 0, 0]
    )
    found = MarkovRemoval(order=1).attribute(Evidence(journeys, journeys))
    assert found.credit == pytest.approx([0.2, 0.4, 0.4, 0, 0, 0])
    assert found.value == pytest.approx([2, 4, 4, 0, 0, 0])


def test_a_loop_is_a_way_to_go_on(make: Make) -> None:
    """Mail is followed by mail twice in four times, by search and by an end once each."""
    log: Log = [
        [(1.0, "mail"), (2.0, "mail"), (3.0, "mail"), (4.0, "search"), (5.0, "buy")],
        [(1.0, "mail")],
        [(1.0, "search")],
    ]
    journeys = make(log)
    effect = removal_effects(fit_chain(journeys, journeys.paths, 1), 5)
    # Once in mail, search is reached from it 1 in 2, as loops come back; search converts 1 in 2.
    everything = 2 / 3 * (1 / 2) * (1 / 2) + 1 / 3 * (1 / 2)
    mail, search = (journeys.channels.index(name) for name in ("mail", "search"))
    assert effect[mail] == pytest.approx(1 - (1 / 6) / everything)
    assert effect[search] == pytest.approx(1)


def test_paths_that_do_not_convert_change_the_effects(make: Make) -> None:
    log: Log = [
        [(1.0, "mail"), (2.0, "search"), (3.0, "buy")],
        [(1.0, "mail"), (2.0, "buy")],
        [(1.0, "search"), (2.0, "buy")],
    ]
    idle: Log = [[(1.0, "search")]] * 3
    before, after = make(log), make([*log, *idle])
    found = [removal_effects(fit_chain(j, j.paths, 1), 5) for j in (before, after)]
    mail, search = (before.channels.index(name) for name in ("mail", "search"))
    assert found[0][search] == pytest.approx(found[0][mail])
    assert found[1][search] != pytest.approx(found[1][mail], rel=0.1)


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
    found = [
        MarkovRemoval.model_validate({"order": k}).attribute(Evidence(journeys, journeys)).credit
        for k in ("auto", 1, 2, 3)
    ]
    assert [bool((found[0] == other).all()) for other in found[1:]] == [
        k == order for k in (1, 2, 3)
    ]
