"""RFM features against a plain per-row oracle, and what they may not see."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from seqmarket.nn.rfm import RfmFeatures, customer_attributes, recency_frequency_monetary
from seqmarket.schema import (
    MICROSECONDS_PER_DAY,
    CategoricalFeature,
    EventArrays,
    LabelTable,
    NumericFeature,
    SequenceSpec,
)

DAY = MICROSECONDS_PER_DAY
CHANNELS = {2: "shop", 3: "mail", 4: "never_used"}


def random_log(seed: int, n_customers: int = 30) -> EventArrays:
    """Bursty journeys with tied times, customers who never buy, and unknown channels."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 40, n_customers)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    half_days = [np.sort(rng.integers(0, 800, n)) for n in lengths]  # whole steps: ties, borders
    n = offsets[-1]
    buys = np.repeat(rng.choice([0.0, 0.1, 0.6], n_customers), lengths)
    purchase = rng.random(n) < buys
    return EventArrays(
        offsets=offsets,
        time=(np.concatenate(half_days) * DAY // 2 + 17_000 * DAY).astype(np.int64),
        channel=rng.integers(1, 4, n).astype(np.int32),
        event_type=np.where(purchase, 2, 3).astype(np.int32),
        purchase=purchase,
        value=np.where(purchase, rng.gamma(2.0, 20.0, n), 0.0).astype(np.float32),
        categorical=np.zeros((n, 0), dtype=np.int32),
        features=np.zeros((n, 1), dtype=np.float32),
        static_categorical=rng.integers(1, 5, (n_customers, 1)).astype(np.int32),
        static_features=rng.normal(size=(n_customers, 1)).astype(np.float32),
    )


def random_rows(events: EventArrays, seed: int, per_customer: int) -> LabelTable:
    """Rows in no order, at moments that often fall on the border of a window."""
    rng = np.random.default_rng(seed)
    customer = rng.permutation(np.repeat(np.arange(events.n_customers), per_customer))
    low, high = events.offsets[customer], events.offsets[customer + 1]
    event = rng.integers(low, high)
    wait = rng.choice([0, DAY // 2, 7 * DAY, 28 * DAY, 400 * DAY], len(event))
    label = np.zeros(len(event), dtype=np.int64)
    return LabelTable("purchase", "binary", customer, event, events.time[event] + wait, label)


def oracle(events: EventArrays, customer: int, event: int, now: int) -> dict[str, float]:
    """The features of one row, written down a second time, without arrays."""
    seen = range(int(events.offsets[customer]), event + 1)
    ago = {i: (now - int(events.time[i])) / DAY for i in seen}
    buys = [i for i in seen if events.purchase[i]]
    touches = [i for i in seen if not events.purchase[i]]
    out: dict[str, float] = {}

    def recency(name: str, among: list[int]) -> None:
        out[f"{name}_recency"] = min(ago[among[-1]], 365.0) if among else 365.0
        out[f"{name}_never"] = float(not among)

    def within(among: list[int], days: float) -> list[int]:
        return [i for i in among if ago[i] < days]

    def value(among: list[int]) -> float:
        return sum(float(events.value[i]) for i in among)

    recency("event", list(seen))
    del out["event_never"]
    recency("purchase", buys)
    recency("touch", touches)
    for days in (7, 14, 28, 56, 84):
        out[f"purchases_{days}"] = len(within(buys, days))
        out[f"value_{days}"] = value(within(buys, days))
    out["purchases_all"], out["value_all"] = len(buys), value(buys)
    out["basket_mean"] = value(buys) / len(buys) if buys else 0.0
    out["basket_last"] = float(events.value[buys[-1]]) if buys else 0.0
    for name in ("purchases", "value"):
        new, both = out[f"{name}_28"], out[f"{name}_56"]
        out[f"{name}_trend"] = (new + 1) / (both - new + 1)

    gaps = [ago[a] - ago[b] for a, b in pairwise(buys)]
    last = gaps[-8:]
    quantities = {
        "mean": statistics.fmean(gaps) if gaps else 365.0,
        "std": statistics.pstdev(gaps) if gaps else 365.0,
        "last": gaps[-1] if gaps else 365.0,
        "median": statistics.median(last) if gaps else 365.0,
        "longest": max(last) if gaps else 365.0,
    }
    out |= {f"gap_{name}": min(days, 365.0) for name, days in quantities.items()}
    out["gap_never"] = float(not gaps)
    for name in ("mean", "median"):
        ratio = out["purchase_recency"] / max(out[f"gap_{name}"], 1 / 24)
        out[f"recency_over_gap_{name}"] = min(ratio, 100.0) if gaps else 0.0

    for days in (7, 28, 56):
        out[f"touches_{days}"] = len(within(touches, days))
    out["touches_all"] = len(touches)
    new, both = out["touches_28"], out["touches_56"]
    out["touches_trend"] = (new + 1) / (both - new + 1)
    out["tenure"] = ago[seen[0]]
    for channel, name in CHANNELS.items():
        on_it = [i for i in seen if events.channel[i] == channel]
        recency(f"channel_{name}", on_it)
        out[f"channel_{name}_28"] = len(within(on_it, 28))
        out[f"channel_{name}_all"] = len(on_it)
    hour, weekday = now / DAY % 1, (now / DAY - 4) / 7 % 1
    for name, share in (("hour", hour), ("weekday", weekday)):
        out[f"{name}_sin"] = math.sin(2 * math.pi * share)
        out[f"{name}_cos"] = math.cos(2 * math.pi * share)
    return out


@pytest.mark.parametrize("seed", range(5))
def test_features_equal_the_oracle(seed: int) -> None:
    events = random_log(seed)
    table = random_rows(events, seed, per_customer=4)
    features, names = recency_frequency_monetary(events, table, CHANNELS)
    assert features.dtype == np.float32
    assert len(set(names)) == len(names) == features.shape[1]
    for row in range(len(table)):
        expected = oracle(
            events, int(table.customer[row]), int(table.event[row]), int(table.time[row])
        )
        assert set(expected) == set(names)
        for name, got in zip(names, features[row], strict=True):
            # A standard deviation from running sums loses half of the digits near 0.
            precision = 1e-4 if name == "gap_std" else 1e-5
            assert got == pytest.approx(expected[name], rel=1e-5, abs=precision), name


def test_weekday_angle_starts_on_monday() -> None:
    events = random_log(0, n_customers=1)
    monday = np.datetime64("2024-01-01", "us").astype(np.int64)
    one = np.zeros(1, dtype=np.int64)
    table = LabelTable("purchase", "binary", one, one, one + monday, one)
    features, names = recency_frequency_monetary(events, table)
    clock = dict(zip(names, features[0].tolist(), strict=True))
    assert clock["weekday_sin"] == pytest.approx(0, abs=1e-6)
    assert clock["weekday_cos"] == pytest.approx(1)
    assert clock["hour_cos"] == pytest.approx(1)


def rewrite_the_future(events: EventArrays, table: LabelTable, seed: int) -> EventArrays:
    """Changes everything after each row's event; the table has one row per customer."""
    rng = np.random.default_rng(seed)
    seen = np.zeros(events.n_customers, dtype=np.int64)
    seen[table.customer] = table.event
    owner = np.repeat(np.arange(events.n_customers), np.diff(events.offsets))
    later = np.arange(events.n_events) > seen[owner]
    n = events.n_events
    return replace(
        events,
        time=np.where(later, events.time + 3 * DAY, events.time),
        channel=np.where(later, rng.integers(1, 5, n), events.channel).astype(np.int32),
        purchase=np.where(later, ~events.purchase, events.purchase),
        value=np.where(later, np.float32(1e30), events.value),
    )


def assert_as_of(features_of) -> None:
    for seed in range(5):
        events = random_log(seed)
        crooked = np.linspace(0, DAY / 3, events.n_events).astype(np.int64)  # no exact sums
        events = replace(events, time=events.time + crooked)
        table = random_rows(events, seed, per_customer=1)
        before = features_of(events, table)
        after = features_of(rewrite_the_future(events, table, seed), table)
        np.testing.assert_array_equal(before, after)


def test_later_events_change_no_feature() -> None:
    assert_as_of(lambda events, table: recency_frequency_monetary(events, table, CHANNELS)[0])


def one_event_late(events: EventArrays, table: LabelTable) -> np.ndarray:
    end = events.offsets[table.customer + 1] - 1
    peeking = replace(table, event=np.minimum(table.event + 1, end))
    return recency_frequency_monetary(events, peeking, CHANNELS)[0]


def sums_through_the_whole_log(events: EventArrays, table: LabelTable) -> np.ndarray:
    running = np.concatenate([[0.0], np.cumsum(events.value, dtype=np.float64)])
    return running[table.event + 1] - running[events.offsets[table.customer]]


@pytest.mark.parametrize("mutant", [one_event_late, sums_through_the_whole_log])
def test_a_leaking_feature_is_caught(mutant) -> None:
    with pytest.raises(AssertionError):
        assert_as_of(mutant)


def make_spec(n_large: int = 3) -> SequenceSpec:
    return SequenceSpec(
        channel=CategoricalFeature("channel", ("shop", "mail")),
        event_type=CategoricalFeature("event_type", ("purchase", "touch")),
        categorical=(),
        numeric=(NumericFeature("value", 0.0, 1.0, False),),
        static_categorical=(CategoricalFeature("region", tuple(f"r{i}" for i in range(n_large))),),
        static_numeric=(NumericFeature("income", 0.0, 1.0, False),),
        purchase_event_types=("purchase",),
        max_length=64,
        time_scale=1.0,
    )


def test_static_features_are_appended_one_hot() -> None:
    events = random_log(1)
    table = random_rows(events, 1, per_customer=2)
    features, names = customer_attributes(make_spec(), events, table)
    assert names == ("static_0", "region=r0", "region=r1", "region=r2")
    np.testing.assert_array_equal(features[:, 0], events.static_features[table.customer, 0])
    ids = events.static_categorical[table.customer, 0]
    np.testing.assert_array_equal(features[:, 1:].argmax(axis=1)[ids >= 2], ids[ids >= 2] - 2)
    assert not features[ids < 2, 1:].any()

    _, with_static = RfmFeatures(make_spec(), max_channels=1, static=True)(events, table)
    _, without = RfmFeatures(make_spec(), max_channels=1, static=False)(events, table)
    assert with_static == without + names
    assert "channel_shop_28" in without
    assert "channel_mail_28" not in without


def test_a_static_feature_with_many_categories_is_left_out() -> None:
    events = random_log(1)
    table = random_rows(events, 1, per_customer=1)
    assert customer_attributes(make_spec(n_large=31), events, table)[1] == ("static_0",)


def test_a_log_without_a_purchase_has_finite_features() -> None:
    events = random_log(2)
    events = replace(events, purchase=np.zeros_like(events.purchase))
    features, _ = recency_frequency_monetary(events, random_rows(events, 2, 2), CHANNELS)
    assert np.isfinite(features).all()
