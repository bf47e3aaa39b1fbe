"""Trees of amounts: one model of the mean, one of the median."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from seqmarket.errors import SeqmarketError
from seqmarket.metrics.amounts import AmountScores
from seqmarket.models.gbdt import GradientBoosting
from seqmarket.models.majority import Majority
from seqmarket.schema import (
    EVERY_EVENT,
    MICROSECONDS_PER_DAY,
    PURCHASES,
    CategoricalFeature,
    EventArrays,
    LabelTable,
    NumericFeature,
    SequenceSpec,
    WindowRule,
)

DAY = MICROSECONDS_PER_DAY
N = 800
RULE = WindowRule("value", 7 * DAY, "value", PURCHASES, 99 * DAY, EVERY_EVENT)
SPEC = SequenceSpec(
    channel=CategoricalFeature("channel", ("web",)),
    event_type=CategoricalFeature("event_type", ("purchase",)),
    categorical=(),
    numeric=(NumericFeature("value", 0.0, 1.0, False),),
    static_categorical=(),
    static_numeric=(),
    purchase_event_types=("purchase",),
    max_length=64,
    time_scale=1.0,
)


def lone_purchases(value: np.ndarray) -> EventArrays:
    """One purchase of each customer."""
    n = len(value)
    return EventArrays(
        offsets=np.arange(n + 1),
        time=np.full(n, 17_000 * DAY),
        channel=np.full(n, 2, dtype=np.int32),
        event_type=np.full(n, 2, dtype=np.int32),
        purchase=np.ones(n, dtype=np.bool_),
        value=value.astype(np.float32),
        categorical=np.zeros((n, 0), dtype=np.int32),
        features=np.zeros((n, 1), dtype=np.float32),
        static_categorical=np.zeros((n, 0), dtype=np.int32),
        static_features=np.zeros((n, 0), dtype=np.float32),
    )


def table_of(label: np.ndarray) -> LabelTable:
    rows = np.arange(len(label))
    return LabelTable("value", "amount", rows, rows, np.full(len(rows), 17_001 * DAY), label, RULE)


def sample(seed: int, returns: bool) -> tuple[EventArrays, LabelTable]:
    """Those who paid much last time will, if they buy at all."""
    rng = np.random.default_rng(seed)
    last = rng.choice([5.0, 20.0, 60.0], N)
    label = last * rng.gamma(0.7, 1.4, N) * (rng.random(N) < 0.9)
    if returns:
        label[rng.random(N) < 0.1] *= -0.5
    return lone_purchases(last), table_of(label)


def learnt(events: EventArrays, table: LabelTable) -> np.ndarray:
    model = GradientBoosting(SPEC)
    model.fit(events, {"value": table})
    return model.predict(events, table)


@pytest.mark.parametrize("returns", [False, True])
def test_one_learns_the_mean_and_the_other_the_median(returns: bool) -> None:
    events, table = sample(0, returns)
    answer = learnt(events, table)
    for last in (5.0, 20.0, 60.0):
        rows = events.value == last
        assert answer[rows, 0].mean() == pytest.approx(table.label[rows].mean(), rel=0.15)
        assert answer[rows, 1].mean() == pytest.approx(np.median(table.label[rows]), rel=0.15)
        assert np.median(table.label[rows]) < 0.75 * table.label[rows].mean()
    if not returns:
        assert (answer[:, 0] > 0).all()  # a mean of what is never negative is not


@pytest.mark.parametrize("returns", [False, True])
def test_both_are_better_than_a_constant_for_others(returns: bool) -> None:
    train, test = sample(0, returns), sample(1, returns)
    scores = []
    for model in (GradientBoosting(SPEC), Majority(SPEC)):
        model.fit(train[0], {"value": train[1]})
        answer = AmountScores(test[1].label, model.predict(*test))
        scores.append(dict(zip(answer.metrics, answer.evaluate(), strict=True)))
    trees, constant = scores
    assert trees["gini"] > 0.3
    assert constant["gini"] == 0
    for metric in ("mean_absolute_error", "root_mean_squared_error"):
        assert trees[metric] < 0.95 * constant[metric]


@pytest.mark.parametrize("amount", [0.0, 3.0, -2.0])
def test_an_amount_that_never_varies_is_predicted(amount: float) -> None:
    events, _ = sample(0, returns=False)
    answer = learnt(events, table_of(np.full(N, amount)))
    assert answer == pytest.approx(np.full((N, 2), amount), abs=1e-5)


def test_without_lightgbm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(SeqmarketError, match=r"pip install 'seqmarket\[gbdt\]'"):
        GradientBoosting(SPEC)
