"""Replays of a simulated world: what stays is drawn by lot, and what follows is as by hand."""

from __future__ import annotations

import numpy as np
import pytest

from seqmarket.data.simulation import replay as module
from seqmarket.data.simulation.cohort import Cohort, simulate
from seqmarket.data.simulation.response import Floats, Response
from seqmarket.data.simulation.world import PRESETS
from seqmarket.data.sources.simulator import JourneySimulator

WORLD = PRESETS["order_effects"]
PERIOD = slice(40, 120)
K = len(WORLD.channels)


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return simulate(WORLD, 40, 1, 0, 60)


def expected(cohort: Cohort, touched: np.ndarray) -> float:
    until = slice(PERIOD.stop)
    known = cohort.background[until], cohort.churning[until], PERIOD
    return float(Response(WORLD).expected(touched[:, until], *known).sum())


def replayed(cohort: Cohort, *plans: list[float], seed: int = 0) -> Floats:
    random = np.random.default_rng(seed)
    return module.replayed(WORLD, cohort, np.array(plans), PERIOD, random)


def nothing_and_everything(cohort: Cohort) -> None:
    """And one channel alone; what came before the period stays."""
    before = cohort.touched.copy()
    before[:, PERIOD.start :] = False
    first = before.copy()
    first[0] = cohort.touched[0]
    found = replayed(cohort, [0.0] * K, [1.0] * K, [1.0] + [0.0] * (K - 1))
    assert found == pytest.approx(
        [expected(cohort, before), expected(cohort, cohort.touched), expected(cohort, first)]
    )


def test_nothing_and_everything(cohort: Cohort) -> None:
    nothing_and_everything(cohort)


def test_a_replay_that_takes_the_past_away_is_noticed(
    cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Response.expected

    def forgets(
        self: Response, touched: np.ndarray, background: Floats, churning: Floats, steps: slice
    ) -> Floats:
        touched = touched.copy()
        touched[:, : steps.start] = False
        return honest(self, touched, background, churning, steps)

    monkeypatch.setattr(module.Response, "expected", forgets)
    with pytest.raises(AssertionError):
        found = replayed(cohort, [1.0] * K)
        monkeypatch.undo()
        assert found == pytest.approx([expected(cohort, cohort.touched)])


def test_plans_share_their_luck(cohort: Cohort) -> None:
    """More of a channel that helps is more, touch by touch; and the same is the same."""
    parts = np.linspace(0, 1, 9)
    found = replayed(cohort, *([part] + [0.0] * (K - 1) for part in parts))
    assert (np.diff(found) >= 0).all()
    assert found[-1] > found[0]
    again = replayed(cohort, [0.5] * K, [0.5] * K)
    assert again[0] == again[1] != replayed(cohort, [0.5] * K, seed=1)[0]


def test_a_part_is_kept(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def counts(self: Response, touched: np.ndarray, *_: object) -> Floats:
        seen.append(touched[:, PERIOD.start :].sum(axis=(1, 2)))
        return np.zeros(1)

    monkeypatch.setattr(module.Response, "expected", counts)
    replayed(cohort, [0.3] * K, [1.0] * K)
    assert (seen[0] <= seen[1]).all()
    assert seen[0].sum() == pytest.approx(0.3 * seen[1].sum(), rel=0.15)


def test_the_source_replays_all_of_its_cohorts() -> None:
    source = JourneySimulator(preset="confounded", n_customers=620, days=30)
    truth = source.truth(0, 30)
    everything = dict.fromkeys(source.world.names, 1.0)
    with_all, without = source.replay([everything, {}], 0, 30)
    assert with_all == pytest.approx(truth.expected)
    assert without == pytest.approx(truth.organic)
