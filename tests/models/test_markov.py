"""The Markov chain against a plain dictionary of counts."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from seqmarket.errors import SeqmarketError
from seqmarket.models.markov import Markov
from seqmarket.schema import CategoricalFeature, EventArrays, LabelTable, NextRule, SequenceSpec


def make_spec(n_channels: int) -> SequenceSpec:
    channel = CategoricalFeature("channel", tuple(f"c{i}" for i in range(n_channels)))
    return SequenceSpec(channel, channel, (), (), (), (), ("c0",), 64, 1.0)


def make_events(journeys: list[list[int]]) -> EventArrays:
    """Events of these channel ids, an hour apart."""
    lengths = [len(journey) for journey in journeys]
    channel = np.array([c for journey in journeys for c in journey], dtype=np.int32)
    n = len(channel)
    return EventArrays(
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        time=np.arange(n, dtype=np.int64) * 3_600_000_000,
        channel=channel,
        event_type=channel,
        purchase=np.zeros(n, dtype=np.bool_),
        value=np.zeros(n, dtype=np.float32),
        categorical=np.zeros((n, 0), dtype=np.int32),
        features=np.zeros((n, 0), dtype=np.float32),
        static_categorical=np.zeros((len(journeys), 0), dtype=np.int32),
        static_features=np.zeros((len(journeys), 0), dtype=np.float32),
    )


def next_rows(events: EventArrays) -> LabelTable:
    """Every next event with a known channel."""
    customer = np.repeat(np.arange(events.n_customers), np.diff(events.offsets))
    event = np.flatnonzero(customer[:-1] == customer[1:])
    event = event[events.channel[event + 1] >= 2]
    label = events.channel[event + 1].astype(np.int64) - 2
    return LabelTable(
        "next_channel", "categorical", customer[event], event, events.time[event], label
    )


def random_journeys(seed: int, n_channels: int, n: int = 40) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(1, n_channels + 2, rng.integers(1, 12)).tolist() for _ in range(n)]


def context(events: EventArrays, customer: int, event: int, length: int) -> tuple[int, ...]:
    """The newest channels, the newest one first, with blanks before the first event."""
    first = int(events.offsets[customer])
    return tuple(
        int(events.channel[event - lag]) if event - lag >= first else 0 for lag in range(length)
    )


def oracle(
    events: EventArrays, train: LabelTable, test: LabelTable, order: int, n_channels: int
) -> np.ndarray:
    counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for customer, event, label in zip(train.customer, train.event, train.label, strict=True):
        for length in range(order + 1):
            counts[context(events, customer, event, length)][int(label)] += 1
    rows = []
    for customer, event in zip(test.customer, test.event, strict=True):
        p = [1 / n_channels] * n_channels
        for length in range(order + 1):
            followers = counts.get(context(events, customer, event, length))
            if followers is None:
                break
            n, distinct = sum(followers.values()), len(followers)
            p = [(followers[c] + distinct * p[c]) / (n + distinct) for c in range(n_channels)]
        rows.append(p)
    return np.array(rows)


def halves(table: LabelTable) -> tuple[LabelTable, LabelTable]:
    train = table.customer % 2 == 0
    return table.take(train), table.take(~train)


@pytest.mark.parametrize("order", [0, 1, 2, 4])
@pytest.mark.parametrize("n_channels", [1, 3])
def test_equals_a_dictionary_of_counts(order: int, n_channels: int) -> None:
    events = make_events(random_journeys(order, n_channels))
    train, test = halves(next_rows(events))
    model = Markov(make_spec(n_channels), order=order)
    model.fit(events, {"next_channel": train})
    expected = oracle(events, train, test, order, n_channels)
    np.testing.assert_allclose(model.predict(events, test), expected, rtol=1e-12)


def test_a_chain_of_types_looks_at_types_alone() -> None:
    by_channel = make_events(random_journeys(7, 3))
    train, test = halves(next_rows(by_channel))
    expected = oracle(by_channel, train, test, 2, 3)
    types = replace(by_channel, channel=np.full_like(by_channel.channel, 2))
    spec = replace(make_spec(3), channel=CategoricalFeature("channel", ("only",)))
    rule = NextRule("next_event_type", "event_type")
    model = Markov(spec, order=2)
    model.fit(types, {"next_event_type": replace(train, task=rule.task, rule=rule)})
    found = model.predict(types, replace(test, task=rule.task, rule=rule))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_long_contexts_of_many_channels_do_not_overflow() -> None:
    n_channels = 5_000  # 5,000 ** 8 is far beyond 64 bits
    rng = np.random.default_rng(0)
    paths = rng.integers(2, n_channels + 2, (4, 12))
    journeys = [paths[i].tolist() for i in rng.integers(0, 4, 30)]
    events = make_events(journeys)
    train, test = halves(next_rows(events))
    model = Markov(make_spec(n_channels), order=8)
    model.fit(events, {"next_channel": train})
    expected = oracle(events, train, test, 8, n_channels)
    np.testing.assert_allclose(model.predict(events, test), expected, rtol=1e-12)


def test_a_longer_order_learns_what_a_shorter_one_cannot() -> None:
    cycle = [2, 2, 3]  # after one 2 anything may come; after two of them only 3
    events = make_events([(cycle * 8)[start:] for start in (0, 1, 2) * 10])
    train, test = halves(next_rows(events))

    def accuracy(order: int) -> float:
        model = Markov(make_spec(2), order=order)
        model.fit(events, {"next_channel": train})
        later = test.take(test.event >= events.offsets[test.customer] + 2)
        return float((model.predict(events, later).argmax(axis=1) == later.label).mean())

    assert accuracy(2) == 1.0
    assert accuracy(1) < 0.8


def test_a_journeys_beginning_is_a_context() -> None:
    # A first 2 is followed by 3, a later 2 by 2.
    events = make_events([[2, 3, 2, 2, 2, 2]] * 20)
    table = next_rows(events)
    model = Markov(make_spec(2), order=3)
    model.fit(events, {"next_channel": table})
    probability = model.predict(events, table)
    first = table.event == events.offsets[table.customer]
    assert (probability[first].argmax(axis=1) == 1).all()
    assert (probability[~first].argmax(axis=1) == table.label[~first]).all()


def test_a_negative_order_is_refused() -> None:
    with pytest.raises(SeqmarketError, match="order -1"):
        Markov(make_spec(2), order=-1)
