"""The counts of a log are those of a plain loop over it, however its customers are divided."""

from __future__ import annotations

import dataclasses
import pickle
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmarket.data.quality import counts
from seqmarket.data.quality.histogram import LogHistogram
from seqmarket.data.quality.journeys import JourneyStats
from seqmarket.data.shard import ORDER, POSITION, Lexicon, Shard
from seqmarket.schema import NEVER

Row = tuple[str, datetime, str, str, float | None]
MakeShard = Callable[[list[Row]], tuple[Shard, Lexicon]]
Plain = Callable[[Any], Any]
START = datetime(2023, 12, 30)
rows = st.lists(
    st.tuples(
        st.sampled_from(["a", "bb", "c", "dd", "eee"]),
        st.integers(0, 40).map(lambda n: START + timedelta(hours=11.5 * n)),
        st.sampled_from(["mail", "web", "shop"]),
        st.sampled_from(["view", "purchase"]),
        st.one_of(st.none(), st.sampled_from([0.0, 1.5, 100.0, -2.0])),
    ),
    min_size=1,
    max_size=40,
)


def part(shard: Shard, customers: list[int]) -> Shard:
    """Some customers of a shard, which may be none."""
    chosen = np.isin(np.arange(shard.n_customers), customers)
    return shard.keep(chosen[shard.customer])


def check_adds_up(
    of: Callable[[Shard, Lexicon], JourneyStats],
    plain: Plain,
    shard: Shard,
    lexicon: Lexicon,
    division: list[int],
) -> None:
    parts = [
        part(shard, [i for i in range(shard.n_customers) if division[i] == place])
        for place in range(3)
    ]
    for order in (parts, parts[::-1]):
        merged = reduce(JourneyStats.merge, (of(piece, lexicon) for piece in order))
        assert plain(merged) == plain(of(shard, lexicon))


@settings(deadline=None)
@given(log=rows, division=st.lists(st.integers(0, 2), min_size=5, max_size=5))
def test_shards_add_up(
    make_shard: MakeShard, plain: Plain, log: list[Row], division: list[int]
) -> None:
    check_adds_up(JourneyStats.of, plain, *make_shard(log), division)


def test_the_check_sees_gaps_across_customers(make_shard: MakeShard, plain: Plain) -> None:
    def across(shard: Shard, lexicon: Lexicon) -> JourneyStats:
        gaps = LogHistogram.of(np.diff(shard.time))
        return dataclasses.replace(JourneyStats.of(shard, lexicon), gaps=gaps)

    log = [(who, START + timedelta(days=day), "web", "view", 1.0) for who in "ab" for day in (1, 4)]
    shard, lexicon = make_shard(log)
    check_adds_up(JourneyStats.of, plain, shard, lexicon, [0, 1])
    with pytest.raises(AssertionError):
        check_adds_up(across, plain, shard, lexicon, [0, 1])


@settings(deadline=None)
@given(log=rows)
def test_counts_are_those_of_a_loop(make_shard: MakeShard, log: list[Row]) -> None:
    shard, lexicon = make_shard(log)
    stats = JourneyStats.of(shard, lexicon)
    journeys = defaultdict(list)
    for row in sorted(log, key=lambda row: (row[0], row[1])):
        journeys[row[0]].append(row)
    gaps = [
        (late[1] - early[1]) // timedelta(microseconds=1)
        for journey in journeys.values()
        for early, late in pairwise(journey)
    ]
    busiest = {
        who: max(Counter(row[1].date() for row in journey).values())
        for who, journey in journeys.items()
    }
    assert stats.customers == len(journeys)
    assert stats.events == len(log)
    assert stats.lengths == Counter(map(len, journeys.values()))
    assert stats.busiest_day == Counter(busiest.values())
    assert stats.largest == tuple(
        sorted(((len(journey), busiest[who]) for who, journey in journeys.items()), reverse=True)
    )
    assert stats.ties == gaps.count(0)
    assert stats.gaps.total == len(gaps)
    assert stats.shortest_gap == min(gaps, default=NEVER)
    assert stats.longest_gap == max(gaps, default=-1)
    sharp = Counter(row[1].hour for row in log if row[1].minute == 0)
    assert stats.full_hours.tolist() == [sharp[hour] for hour in range(24)]
    assert np.flatnonzero(stats.hours).tolist() == sorted(
        {24 * row[1].weekday() + row[1].hour for row in log}
    )
    for name, place in (("channel", 2), ("event_type", 3)):
        column = stats.categories[name]
        for code, text in enumerate(lexicon[name]):
            having = [row for row in log if row[place] == text]
            first = min(row[1] for row in having).replace(tzinfo=UTC).timestamp() * 1e6
            assert column.events[code] == len(having)
            assert column.customers[code] == len({row[0] for row in having})
            assert column.first[code] == first
    by_day = Counter((row[1].date() - datetime(1970, 1, 1).date()).days for row in log)
    assert dict(zip(stats.days.day, stats.days.events.sum(axis=1), strict=True)) == by_day
    values = [row[4] for row in log if row[4] is not None]
    value = stats.numbers["value"]
    assert (value.nulls, value.values.total) == (len(log) - len(values), len(values))
    assert (value.low, value.high) == (min(values, default=np.inf), max(values, default=-np.inf))
    assert value.whole == sum(v == int(v) for v in values)
    assert value.hundreds == sum(v % 100 == 0 for v in values)
    assert stats.categories["segment"].events.sum() == len(journeys)


def test_many_texts_are_counted_as_few_are(
    make_shard: MakeShard, plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    log: list[Row] = [
        (
            f"c{random.integers(50)}",
            START + timedelta(hours=i),
            f"ch{random.integers(120)}",
            "v",
            1.0,
        )
        for i in range(2_000)
    ]
    shard, lexicon = make_shard(log)
    stats = JourneyStats.of(shard, lexicon)
    assert stats.days.events.shape[1] == 1
    monkeypatch.setattr(counts, "_DENSE_CELLS", 0)
    monkeypatch.setattr(counts, "_DENSE_DAYS", 0)
    assert plain(JourneyStats.of(shard, lexicon)) == plain(stats)


def test_nulls_are_no_category(make_shard: MakeShard) -> None:
    shard, lexicon = make_shard([("a", START, "web", "view", None)])
    column = np.array([-1], dtype=np.int32)
    nulls = dataclasses.replace(shard, codes={**shard.codes, "event_type": column})
    counted = JourneyStats.of(nulls, lexicon).categories["event_type"]
    assert (counted.nulls, counted.events.tolist(), counted.customers.tolist()) == (1, [0], [0])
    assert counted.first.tolist() == [NEVER]


@pytest.mark.parametrize("name", [ORDER, POSITION])
def test_a_position_is_no_column(make_shard: MakeShard, name: str) -> None:
    shard, lexicon = make_shard([("a", START, "web", "view", None)])
    ordered = dataclasses.replace(shard, numbers={**shard.numbers, name: np.array([1.0])})
    assert set(JourneyStats.of(ordered, lexicon).numbers) == {"value"}


def test_it_can_be_sent_and_names_nobody(make_shard: MakeShard, plain: Plain) -> None:
    shard, lexicon = make_shard([("secret-a", START, "web", "view", 2.0)] * 3)
    stats = JourneyStats.of(shard, lexicon)
    sent = pickle.dumps(stats)
    assert plain(pickle.loads(sent)) == plain(stats)
    assert b"secret" not in sent
