"""Encoding beside its peers: events per second and peak memory, each in a process of its own.

    python benchmarks/encode_scale.py [--rounds 5] [--events 2000000] [--lifestream PYTHON]

The log has the shape of a busy retailer's: journey lengths with a median of 20 and a 99th
percentile of 300, eight channels, four event types, a value for every tenth event, a cost for all;
rows in no order, in one Parquet file. Ours reads it, checks every row, drops repetitions, profiles,
fits, encodes, hashes and flushes to disk. The peers read it and put it in order, no more:

- pandas, sorted and grouped by customer, a list of arrays per customer;
- Polars, sorted by customer and time, with offsets;
- DuckDB, ORDER BY customer and time, to Arrow;
- with --lifestream, pytorch-lifestream's preprocessor: see `lifestream_encode.py`.

Rounds are interleaved, and medians shown. Memory is the peak of the whole process; beside it, what
it holds after its imports. Then a log of 5 and one of 10 million events: the memory must not grow.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl


def make_log(path: Path, n_customers: int, n_events: int) -> None:
    """Writes a log of about this many events."""
    random = np.random.default_rng(1)
    weight = random.lognormal(0.0, 1.16, n_customers)
    length = np.maximum(1, weight / weight.sum() * n_events).astype(int)
    customer = random.permutation(np.repeat(np.arange(n_customers), length))
    n = len(customer)
    microseconds = random.integers(0, 2 * 365 * 86_400 * 10**6, n).astype("timedelta64[us]")
    event = random.choice(4, n, p=[0.5, 0.25, 0.15, 0.1])
    channels = ["mail", "search", "social", "app", "store", "support", "display", "direct"]
    value = pl.Series(np.round(random.lognormal(3, 1, n), 2)).set(pl.Series(event != 3), None)
    ids = pl.Series([f"c{i}" for i in range(n_customers)])
    pl.DataFrame(
        {
            "customer_id": ids.gather(customer),
            "timestamp": np.datetime64("2023-01-01", "us") + microseconds,
            "channel": pl.Series(channels).gather(random.integers(0, 8, n)),
            "event_type": pl.Series(["touch", "view", "click", "purchase"]).gather(event),
            "value": value,
            "cost": np.round(random.random(n), 3),
        }
    ).write_parquet(path)


def seqmarket(path: Path, scratch: Path, memory: int | None = None) -> int:
    from seqmarket.data.log_settings import LogSettings
    from seqmarket.data.prepare import Workshop, prepare_store
    from seqmarket.data.settings import EncodingSettings, ResourceSettings, SplitSettings
    from seqmarket.data.sources.files import FileSource

    def run() -> int:
        source = FileSource(path=str(path))
        resources = ResourceSettings() if memory is None else ResourceSettings(memory=memory)
        workshop = Workshop(scratch, resources=resources)
        store = prepare_store(source, LogSettings(), SplitSettings(), EncodingSettings(), workshop)
        return store.events.n_events

    return measured(run)


def polars_sort(path: Path, _: Path) -> int:
    def run() -> int:
        log = pl.read_parquet(path).sort("customer_id", "timestamp")
        log["customer_id"].rle_id().unique_counts().cum_sum().to_numpy()
        return log.height

    return measured(run)


def pandas_groupby(path: Path, _: Path) -> int:
    import pandas as pd

    def run() -> int:
        log = pd.read_parquet(path).sort_values(["customer_id", "timestamp"])
        journeys = [
            [journey[name].to_numpy() for name in log.columns[1:]]
            for _, journey in log.groupby("customer_id", sort=False)
        ]
        return sum(len(journey[0]) for journey in journeys)

    return measured(run)


def duckdb_order(path: Path, _: Path) -> int:
    import duckdb

    def run() -> int:
        query = f"select * from read_parquet('{path}') order by customer_id, timestamp"
        return duckdb.sql(query).to_arrow_table().num_rows

    return measured(run)


LIFESTREAM = "lifestream_encode.py"
PEERS = {
    "seqmarket": seqmarket,
    "seqmarket, 384 MiB": partial(seqmarket, memory=384 << 20),
    "polars sort": polars_sort,
    "duckdb order by": duckdb_order,
    "pandas groupby": pandas_groupby,
}


def peak_memory() -> float:
    """Peak resident memory in MiB; a child's getrusage would begin with the peak of its parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measured(run: Callable[[], int]) -> int:
    before = peak_memory()
    began = time.perf_counter()
    events = run()
    seconds = time.perf_counter() - began
    found = {"events": events, "seconds": seconds, "MiB": peak_memory(), "imports": before}
    print(json.dumps(found))
    return events


def once(name: str, path: Path, lifestream: Path | None = None) -> dict[str, float]:
    """One measurement in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, __file__, "--peer", name, "--log", str(path), "--at", scratch]
        if lifestream is not None:
            command = [str(lifestream), str(Path(__file__).with_name(LIFESTREAM)), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    measured = [line for line in done.stdout.splitlines() if line.startswith('{"events"')]
    if not measured:
        sys.exit(done.stderr)
    return json.loads(measured[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--lifestream", type=Path, help="its Python, to measure it as well")
    parser.add_argument("--peer")
    parser.add_argument("--log", type=Path)
    parser.add_argument("--at", type=Path)
    options = parser.parse_args()
    if options.peer:
        PEERS[options.peer](options.log, options.at)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.parquet"
        make_log(path, options.events // 40, options.events)
        peers: dict[str, Path | None] = dict.fromkeys(PEERS)
        if options.lifestream:
            peers["lifestream"] = options.lifestream
        found: dict[str, list[dict[str, float]]] = {name: [] for name in peers}
        for _ in range(options.rounds):
            for name, python in peers.items():
                found[name].append(once(name, path, python))
        print(f"{'':<20}{'events/s':>12}{'peak MiB':>10}{'imports':>9}")
        for name, results in found.items():
            rate = statistics.median(r["events"] / r["seconds"] for r in results)
            peak = statistics.median(r["MiB"] for r in results)
            print(f"{name:<20}{rate:>12,.0f}{peak:>10,.0f}{results[0]['imports']:>9,.0f}")
        peaks = []
        for millions in (5, 10):
            make_log(path, millions * 40_000, millions * 1_000_000)
            results = [once("seqmarket", path) for _ in range(3)]
            peaks.append(statistics.median(r["MiB"] for r in results))
            rate = statistics.median(r["events"] / r["seconds"] for r in results)
            print(f"{millions} million events{'':<6}{rate:>10,.0f}{peaks[-1]:>10,.0f}")
        print(f"twice the data: {peaks[1] / peaks[0]:.2f} times the memory")


if __name__ == "__main__":
    main()
