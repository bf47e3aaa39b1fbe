"""From rows to a store: ours, with validation and fitting, beside plain sorts that do neither."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from seqmarket.data.event_log import EventLog
from seqmarket.data.log_settings import LogSettings
from seqmarket.data.prepare import Workshop, prepare_store
from seqmarket.data.settings import EncodingSettings, SplitSettings
from seqmarket.data.sources.files import FileSource


@pytest.fixture(scope="module")
def file(log: EventLog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "log.parquet"
    log.frame.collect().sample(fraction=1.0, shuffle=True, seed=1).write_parquet(path)
    return path


def rate(benchmark: BenchmarkFixture, events: int) -> None:
    benchmark.extra_info["events_per_second"] = round(events / benchmark.stats["median"])


def test_read_validate_and_encode(
    benchmark: BenchmarkFixture, file: Path, tmp_path: Path, log: EventLog
) -> None:
    source = FileSource(path=str(file), categorical=log.categorical, numeric=log.numeric)
    places = iter(range(1_000))

    def encode() -> None:
        place = Workshop(tmp_path / str(next(places)))
        prepare_store(source, LogSettings(), SplitSettings(), EncodingSettings(), place)

    benchmark.pedantic(encode, rounds=5)
    rate(benchmark, log.frame.collect().height)


def test_polars_sort_with_offsets(benchmark: BenchmarkFixture, file: Path) -> None:
    def encode() -> int:
        frame = pl.read_parquet(file).sort("customer_id", "time")
        return len(np.flatnonzero(frame["customer_id"].rle_id().diff().to_numpy()))

    benchmark.pedantic(encode, rounds=5)
    rate(benchmark, pl.read_parquet(file).height)


def test_pandas_groupby(benchmark: BenchmarkFixture, file: Path) -> None:
    def encode() -> int:
        frame = pl.read_parquet(file).to_pandas().sort_values(["customer_id", "time"])
        return len(
            {name: part["channel"].to_numpy() for name, part in frame.groupby("customer_id")}
        )

    benchmark.pedantic(encode, rounds=5)
    rate(benchmark, pl.read_parquet(file).height)
