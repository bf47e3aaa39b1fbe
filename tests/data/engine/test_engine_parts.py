"""The parts of the engine, each by itself: runs, shards as files, splices, executors, bounds."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmarket.data.engine import progress
from seqmarket.data.engine.executor import LocalExecutor, in_order
from seqmarket.data.engine.hashing import stable_hash
from seqmarket.data.engine.resources import chunk_rows, shard_count
from seqmarket.data.engine.shard_file import ShardColumns, read_shard, write_shard
from seqmarket.data.engine.splice import recode_shard, splice_shards
from seqmarket.data.engine.spool import RunShard, read_run, write_run
from seqmarket.data.settings import ResourceSettings
from seqmarket.data.shard import Shard
from seqmarket.data.texts import to_bytes
from seqmarket.errors import SeqmarketError

COLUMNS = ShardColumns(("channel", "event_type"), ("value",), ("segment",), ("age",))
MIB = 1 << 20


def run_shard(seed: int, customers: int, events: int) -> RunShard:
    made = np.random.default_rng(seed)
    ids = pl.Series([f"{'ä' * i}客{seed}-{i}" for i in range(customers)], dtype=pl.String)
    hashes = stable_hash(ids)
    order = np.argsort(hashes)
    bounds, content = to_bytes(ids.gather(order))
    return RunShard(
        hashes[order],
        np.diff(bounds),
        content,
        made.integers(0, max(customers, 1), events).astype(np.int32),
        made.integers(-(10**15), 10**15, events),
        {"channel": made.integers(-1, 2, events).astype(np.int32)},
        {"value": np.where(made.random(events) < 0.5, np.nan, made.random(events))},
    )


def same_run_shard(one: RunShard, other: RunShard) -> bool:
    return (
        all(
            np.array_equal(getattr(one, name), getattr(other, name))
            for name in ("hashes", "id_length", "id_content", "customer", "time")
        )
        and np.array_equal(one.codes["channel"], other.codes["channel"])
        and np.array_equal(one.numbers["value"], other.numbers["value"], equal_nan=True)
    )


def test_every_shard_of_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    sizes = [(3, 10), (0, 0), (1, 1), (5, 40), (0, 0)]
    shards = [run_shard(seed, *size) for seed, size in enumerate(sizes)]
    run = write_run(tmp_path / "run", shards, {"channel": pl.Series(["a", "b"])}, ("value",))
    read = [read_run(run.shard(i), {"channel": 2}, run.numbers) for i in reversed(range(5))]
    assert all(same_run_shard(*pair) for pair in zip(reversed(shards), read, strict=True))
    assert not same_run_shard(read[0], read[1])


def shard_of(journeys: dict[str, list[int]]) -> Shard:
    """Customers with the times of their events; every other column follows from these."""
    ids = pl.Series(list(journeys), dtype=pl.String)
    ids = ids.gather(np.argsort(stable_hash(ids)))
    times = [np.array(sorted(journeys[name]), dtype=np.int64) for name in ids]
    time_ = np.concatenate([np.empty(0, dtype=np.int64), *times])
    codes = (time_ % 5 - 1).astype(np.int32)
    first = np.array([t[0] for t in times], dtype=np.int64)
    return Shard(
        ids,
        np.concatenate([[0], np.cumsum([len(t) for t in times])]).astype(np.int64),
        time_,
        {"channel": codes, "event_type": codes[::1] // 2},
        {"value": np.where(time_ % 3, time_ / 7, np.nan)},
        {"segment": (first % 2).astype(np.int32)},
        {"age": first.astype(np.float64)},
    )


def same_shard(one: Shard, other: Shard) -> None:
    assert one.customer_id.to_list() == other.customer_id.to_list()
    np.testing.assert_array_equal(one.offsets, other.offsets)
    np.testing.assert_array_equal(one.time, other.time)
    for group in ("codes", "numbers", "static_codes", "static_numbers"):
        columns, others = getattr(one, group), getattr(other, group)
        assert list(columns) == list(others)
        for name, column in columns.items():
            assert column.dtype == others[name].dtype
            np.testing.assert_array_equal(column, others[name])


journeys = st.dictionaries(
    st.text(max_size=5), st.lists(st.integers(0, 40), min_size=1, max_size=6), max_size=12
)


@settings(max_examples=60, derandomize=True, database=None, deadline=None)
@given(journeys)
def test_a_shard_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, events: dict[str, list[int]]
) -> None:
    shard = shard_of(events)
    path = tmp_path_factory.mktemp("shard") / "file"
    size = write_shard(path, shard)
    same_shard(read_shard(path, COLUMNS), shard)
    times = [moment for moments in events.values() for moment in moments] or [0]
    assert (size.customers, size.events) == (len(events), shard.n_events)
    assert (size.first_time, size.last_time) == (min(times), max(times))
    assert size.id_bytes == sum(len(name.encode()) for name in events)


@settings(max_examples=60, derandomize=True, database=None, deadline=None)
@given(journeys, journeys)
def test_a_splice_is_what_both_make_together(
    old: dict[str, list[int]], new: dict[str, list[int]]
) -> None:
    gone = stable_hash(pl.Series(list(new), dtype=pl.String))
    spliced = splice_shards(shard_of(old), shard_of(new), np.sort(gone))
    same_shard(spliced, shard_of(old | new))


def test_who_is_gone_without_anything_new_is_gone() -> None:
    old = {"a": [1], "b": [2, 3], "c": [4]}
    gone = stable_hash(pl.Series(["a", "c"]))
    same_shard(
        splice_shards(shard_of(old), shard_of({"c": [9]}), gone), shard_of({"b": [2, 3], "c": [9]})
    )


def test_nulls_stay_nulls_in_other_codes() -> None:
    shard = shard_of({"a": [0, 1, 2, 3, 4]})
    to = np.array([7, 5, 6, 9, -1], dtype=np.int32)
    recoded = recode_shard(shard, {"channel": to, "event_type": to, "segment": to})
    assert shard.codes["channel"].tolist() == [-1, 0, 1, 2, 3]
    assert recoded.codes["channel"].tolist() == [-1, 7, 5, 6, 9]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_order_and_few_at_once(threads: int) -> None:
    lock, at_once, most = threading.Lock(), 0, 0
    taken = 0

    def tasks() -> Any:
        nonlocal taken
        for task in range(20):
            taken += 1
            yield task

    def work(task: int) -> int:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.002 * (task % 3))
        with lock:
            at_once -= 1
        return task * task

    given_out = 0
    for result in in_order(work, tasks(), threads):
        assert result == given_out**2
        given_out += 1
        assert taken - given_out < threads  # no task is taken long before it is needed
    assert given_out == 20
    assert most <= threads


def test_a_failure_reaches_the_caller_and_ends_the_rest() -> None:
    done: list[int] = []

    def work(task: int) -> int:
        if task == 3:
            raise SeqmarketError("this one")
        done.append(task)
        return task

    with pytest.raises(SeqmarketError, match="this one"):
        list(in_order(work, range(1_000), 2))
    assert len(done) < 10
    with pytest.raises(SeqmarketError, match="this one"):
        list(LocalExecutor(2).shards(work, range(1_000), "stage", [1] * 1_000))


def test_every_event_is_told() -> None:
    told: list[tuple[str, int | None] | int] = []

    class Telling:
        def __init__(self, stage: str, total: int | None) -> None:
            told.append((stage, total))

        def __enter__(self) -> Any:
            return told.append

        def __exit__(self, *_: object) -> None:
            pass

    executor = LocalExecutor(2, Telling)
    assert list(executor.shards(str, [1, 2, 3], "order", [5, 6, 7])) == ["1", "2", "3"]
    assert told == [("order", 18), 5, 6, 7]
    told.clear()
    read = executor.parts(lambda task, threads, advance: (advance(task), threads)[1], [4, 5], None)
    assert (read, told) == ([2, 2], [("read", None), 4, 5])


def test_more_memory_means_larger_chunks_and_fewer_shards() -> None:
    sizes = [ResourceSettings(memory=n * MIB, threads=2) for n in (64, 128, 512, 4_096)]
    rows = [chunk_rows(size, 5, 5) for size in sizes]
    shards = [shard_count(size, 100_000_000, 10) for size in sizes]
    assert rows == sorted(rows)
    assert rows[0] < rows[-1]
    assert shards == sorted(shards, reverse=True)
    assert shards[0] > shards[-1]


def test_more_rows_mean_more_shards_and_threads_divide_them() -> None:
    settings_ = ResourceSettings(memory=192 * MIB, threads=4)
    shards = [shard_count(settings_, rows, 8) for rows in (0, 100, 10**6, 10**8, 10**10, 10**13)]
    assert shards == sorted(shards)
    assert shards[:2] == [1, 1]
    assert shards[-1] == 65_536
    assert all(n % 4 == 0 for n in shards[2:])
    assert shard_count(settings_.model_copy(update={"shards": 7}), 10**10, 8) == 7


def test_chunks_and_shards_stay_within_the_memory() -> None:
    """As many bytes as the constants say, for all threads at once, are at most half of it."""
    for memory in (64 * MIB, 192 * MIB, 1_024 * MIB):
        for threads in (1, 2, 8):
            bound = ResourceSettings(memory=memory, threads=threads)
            shards = shard_count(bound, 10**8, 8)
            assert threads * (10**8 / shards) * (72 + 8 * 20) <= memory / 2 * 1.001


def test_lines_say_how_far_it_has_come(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 5.0, 10.0, 12.0, 20.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO), progress.lines("read", 4_000) as advance:
        for _ in range(4):
            advance(1_000)
    assert caplog.messages == [
        "read: 2,000 events of 4,000, 0:00:10 left, 200 events/s",
        "read: 4,000 events of 4,000, 0:00:00 left, 200 events/s",
    ]


def test_lines_do_without_a_total(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 10.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO), progress.lines("read", None) as advance:
        advance(5_000)
    assert caplog.messages == ["read: 5,000 events, 500 events/s"]


def test_a_bar_shows_rate_and_events() -> None:
    from io import StringIO

    from rich.console import Console

    screen = StringIO()
    with progress.bars(Console(file=screen, force_terminal=True, width=100))("order", 10) as tell:
        tell(10)
    assert "order" in screen.getvalue()
    assert "10 events" in screen.getvalue()
    assert "events/s" in screen.getvalue()


def test_keeping_all_events_changes_nothing() -> None:
    shard = shard_of({"a": [1, 2], "b": [3]})
    same_shard(shard.keep(np.ones(3, dtype=np.bool_)), shard)
    none = shard.keep(np.zeros(3, dtype=np.bool_))
    assert (none.n_customers, none.n_events, none.offsets.tolist()) == (0, 0, [0])
    assert replace(shard).n_events == 3
