"""Costs of touches, which the encoding holds as a scaled logarithm in 32 bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from seqmarket.attribution import journeys as module
from seqmarket.attribution.journeys import Journeys, JourneySettings, make_journeys
from seqmarket.schema import NumericFeature

Make = Callable[..., Journeys]

COSTS = [0.0, 0.02, 0.5, 3.5, 1234.0, float("nan")]


def costs_are_recovered(make: Make, center: float, missing: tuple[bool, bool]) -> None:
    """From the feature as the encoding writes it: values, then the flags of those that have one."""
    found = make([[(float(day), "mail") for day in range(len(COSTS))]])
    value = NumericFeature("value", 0.0, 1.0, has_missing=missing[0])
    cost = NumericFeature("cost", center, 0.7, has_missing=missing[1])
    of_cost = np.array(COSTS)
    scaled = np.nan_to_num((np.log1p(of_cost) - center) / 0.7)
    flags = [
        column for column, has in zip([of_cost > 1, np.isnan(of_cost)], missing, strict=True) if has
    ]
    features = np.column_stack([np.zeros(len(COSTS)), scaled, *flags]).astype(np.float32)
    again = make_journeys(
        replace(found.events, features=features),
        replace(found.spec, numeric=(value, cost)),
        found.period,
        JourneySettings(),
    ).cost
    assert again[1:5] == pytest.approx(COSTS[1:5], rel=1e-4)
    assert again[0] == 0
    if missing[1]:
        assert again[5] == 0


@pytest.mark.parametrize("center", [0.0, 0.0198, 0.4, 1.1, 7.0])
@pytest.mark.parametrize("missing", [(False, False), (True, False), (False, True), (True, True)])
def test_costs_are_recovered(make: Make, center: float, missing: tuple[bool, bool]) -> None:
    costs_are_recovered(make, center, missing)


def test_costs_as_they_are_encoded_are_noticed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.np, "expm1", lambda logarithm: logarithm)
    with pytest.raises(AssertionError):
        costs_are_recovered(make, 0.4, (True, True))


def test_a_log_without_costs_costs_nothing(make: Make) -> None:
    found = make([[(1.0, "mail", 0.0, 5.0), (2.0, "mail", 0.0, 5.0)]])
    spec = replace(found.spec, numeric=found.spec.numeric[:1])
    again = make_journeys(found.events, spec, found.period, JourneySettings())
    assert again.cost.tolist() == [0, 0]


def test_costs_are_those_of_the_log(make: Make) -> None:
    costs = [0.0, 0.02, 3.5, 1234.0, float("nan")]
    found = make([[(float(day), "mail", 0.0, cost) for day, cost in enumerate(costs)]])
    assert found.cost == pytest.approx([0.0, 0.02, 3.5, 1234.0, 0.0], rel=1e-4, abs=1e-6)
