"""Training knows nothing of the periods and the customers that are kept for the evaluation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from seqmarket.data.dense import HazardObjective, NextObjective, Objective, WindowObjective
from seqmarket.data.labels import Neighbours
from seqmarket.data.splits import Period, Split
from seqmarket.schema import (
    EVERY_EVENT,
    PURCHASES,
    EventFilter,
    NextRule,
    Outcome,
    WindowRule,
)

NEXT_CHANNEL = NextRule("next_channel", "channel")


def window(outcome: Outcome) -> WindowRule:
    return WindowRule("asked", 9, outcome, PURCHASES, 20, PURCHASES)


OBJECTIVES: dict[str, Objective] = {
    "next channel": NextObjective(NEXT_CHANNEL, censored=False),
    "next channel and time": NextObjective(NEXT_CHANNEL, censored=True),
    "next type": NextObjective(NextRule("next_event_type", "event_type"), censored=False),
    "time": NextObjective(NextRule("time_to_next", "time"), censored=True),
    "hazard": HazardObjective(PURCHASES, 14, ((PURCHASES, 20), (EVERY_EVENT, 5))),
    "long hazard": HazardObjective(EventFilter(channel=("app",)), 50, ((EVERY_EVENT, 50),)),
    "happens": WindowObjective(window("happens")),
    "absent": WindowObjective(window("absent")),
    "value": WindowObjective(window("value")),
}


def the_later_periods_change_nothing(small: Any, objective: Objective, split: Split) -> None:
    """A draw from a log whose events after the training period are other ones is the same."""
    events, rng = small.busy(), np.random.default_rng(7)
    later = events.time >= small.split.periods["train"].end
    changed = replace(
        events,
        time=np.where(later, 60 + (events.time - 60) // 3, events.time),
        channel=np.where(later, rng.integers(1, 6, len(later)), events.channel).astype(np.int32),
        event_type=np.where(later, 5 - events.event_type, events.event_type),
        purchase=np.where(later, ~events.purchase, events.purchase),
        value=np.where(later, np.float32(1e6), events.value),
    )
    before, after = (
        objective.points(Neighbours(log, small.spec), split).draw(np.random.default_rng(8))
        for log in (events, changed)
    )
    asked = before.weight > 0
    assert asked.any()
    for old, new in zip(before, after, strict=True):
        assert (old[asked] == new[asked]).all()
    assert (before.weight == after.weight).all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_draw_looks_beyond_the_training_period(small: Any, name: str) -> None:
    the_later_periods_change_nothing(small, OBJECTIVES[name], small.split)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_draws_that_look_beyond_the_training_period_are_caught(small: Any, name: str) -> None:
    """The mutant takes a longer period to be that of the training."""
    longer = replace(small.split, periods={**small.split.periods, "train": Period(0, 75)})
    with pytest.raises(AssertionError):
        the_later_periods_change_nothing(small, OBJECTIVES[name], longer)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_customers_of_other_folds_are_not_learnt_from(small: Any, name: str) -> None:
    near = Neighbours(small.busy(), small.spec)
    group = np.arange(near.events.n_customers, dtype=np.int8) % 3
    split = replace(small.split, customer_fold=group)
    draw = OBJECTIVES[name].points(near, split).draw(np.random.default_rng(8))
    everybody = OBJECTIVES[name].points(near, small.split).draw(np.random.default_rng(8))
    mine = group[near.customer] == 0
    assert ((draw.weight > 0) == (mine & (everybody.weight > 0))).all()
    assert (draw.time[mine] == everybody.time[mine]).all()
    assert (draw.amount[mine] == everybody.amount[mine]).all()
