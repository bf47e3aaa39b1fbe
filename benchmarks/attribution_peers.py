"""Attribution methods beside other packages': how far off they are, and what they cost.

    make bench-attribution-peers ARGS="accuracy --presets confounded"
    make bench-attribution-peers ARGS="cost --rounds 3"

Ours makes the journeys of a simulated log and writes them down once, as a table with one row per
journey, converting or not; the peers read that table (`attribution_credit.py`, in an environment of
their own), ours the store of the log (`attribution_ours.py`). Each method runs in a process of its
own, on one thread; time is the processor's, as a machine has neighbours.

Accuracy is measured as `attribution_truth.py` does it. A peer says what each channel has; that is
scaled to the conversions that have touches, and the others are organic. Costs are medians of
interleaved rounds; what took over a minute has one, and ten minutes (`--limit`) are the end of it.
`--only` is a pattern of the methods to run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.attribution_ours import OURS, method_of, whole
from seqmarket.attribution.journeys import Floats, Journeys

CREDIT = ("-m", "benchmarks.attribution_credit")
ONE_THREAD = dict.fromkeys(("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
SLOW = 60


def journeys_table(journeys: Journeys) -> pl.DataFrame:
    """What `attribution_credit.py` reads."""
    paths = journeys.paths.take(journeys.paths.stop > journeys.paths.first)
    path, touch = paths.rows()
    converted = paths.conversion >= 0
    end = np.where(
        converted,
        journeys.events.time[journeys.conversion[paths.conversion]],
        journeys.time[paths.stop - 1],
    )
    touches = pl.DataFrame(
        {
            "journey": path,
            "path": pl.Series(journeys.channels).gather(journeys.channel[touch]),
            "hours": np.round((end[path] - journeys.time[touch]) / 3.6e9, 4),
        }
    )
    joined = (pl.col(name).cast(pl.String).str.join(">") for name in ("path", "hours"))
    table = touches.group_by("journey", maintain_order=True).agg(*joined)
    return table.with_columns(
        converted=converted,
        total_conversions=converted.astype(np.int64),
        total_null=(~converted).astype(np.int64),
    )


def answer(command: list[str], limit: int) -> dict[str, Any] | str:
    """What a process says in its last line, or why it says nothing."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=limit,
            env=os.environ | ONE_THREAD,
        )
    except subprocess.TimeoutExpired:
        return f"over {limit} s"
    if done.returncode:
        return (done.stderr.strip() or "no message").splitlines()[-1]
    return json.loads(done.stdout.strip().splitlines()[-1])


def peer_methods(python: Path, wanted: str) -> list[str]:
    listed = subprocess.run(
        [python, *CREDIT, "--list"], capture_output=True, text=True, check=True
    ).stdout
    return [name for name in listed.splitlines() if re.search(wanted, name)]


def accuracy(options: argparse.Namespace, folder: Path) -> None:
    from benchmarks.attribution_truth import methods, simulated, without_a_network
    from seqmarket.attribution.attributor import Attribution, Evidence
    from seqmarket.attribution.evaluation import truth_table
    from seqmarket.attribution.sharing import observed

    def of_channels(name: str, journeys: Journeys, credit: dict[str, float]) -> Attribution:
        given = np.array([credit.get(channel, 0.0) for channel in journeys.channels])
        touches = np.bincount(journeys.channel, minlength=len(given))
        paths = journeys.converting
        scale = (paths.stop > paths.first).sum() / given.sum()
        each: Floats = (given * scale / np.maximum(touches, 1))[journeys.channel]
        return observed(name, journeys, each, each)

    for preset in options.presets:
        present, past, truth = simulated(preset, options.customers, 1, folder)
        found = {
            f"seqmarket {name}": method.attribute(Evidence(present, past))
            for name, method in methods(without_a_network()).items()
        }
        found |= {
            f"seqmarket {name}": method_of(name).attribute(Evidence(present, past))
            for name in OURS
            if name.startswith("markov ")
        }
        journeys_table(present).write_parquet(folder / "journeys.parquet")
        silent = []
        for name in peer_methods(options.peers, options.only):
            command = [str(options.peers), *CREDIT, str(folder / "journeys.parquet"), name]
            said = answer(command, options.limit)
            if isinstance(said, str):
                silent.append(f"{name}: {said}")
            else:
                found[name] = of_channels(name, present, said["credit"])
        scores = truth_table(present, found, truth)
        print(f"\n{preset}", scores.drop("rank_correlation", "total_error"), *silent, sep="\n")


def cost(options: argparse.Namespace, folder: Path) -> None:
    from benchmarks.attribution_truth import simulated_store

    store = simulated_store("confounded", options.customers, 1, folder)
    journeys = whole(store, options.lookback)
    table = journeys_table(journeys)
    table.write_parquet(folder / "journeys.parquet")
    touches = len(journeys.paths.touches())
    print(f"{len(table):,} journeys with {touches:,} touches, {store.events.n_events:,} events")
    del journeys, table
    itself = [sys.executable, "-m", "benchmarks.attribution_ours", str(store.path)]
    commands = {
        f"seqmarket {name}": [*itself, name, options.lookback]
        for name in OURS
        if re.search(options.only, f"seqmarket {name}")
    } | {
        name: [str(options.peers), *CREDIT, str(folder / "journeys.parquet"), name]
        for name in peer_methods(options.peers, options.only)
    }
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    for _ in range(options.rounds):
        for name, command in list(commands.items()):
            said = answer(command, options.limit)
            if isinstance(said, str):
                print(f"{name}: {said}", flush=True)
                del commands[name]
                continue
            found[name].append(said)
            print(f"{name}: {said['seconds']:.2f} s, {said['MiB']:,.0f} MiB", flush=True)
            if said["seconds"] > SLOW:
                del commands[name]
    for name, results in found.items():
        keys = ("read", "seconds", "MiB", "imports")
        read, seconds, peak, imports = (
            statistics.median(result[key] for result in results) if results else float("nan")
            for key in keys
        )
        print(f"{name:<48}{read:>8.2f}{seconds:>8.2f}{peak:>8,.0f}{imports:>8,.0f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", type=Path, help="the Python of the peers")
    parser.add_argument("--only", default="", help="a regular expression; what of the methods")
    parser.add_argument("--limit", type=int, default=600, help="seconds that a method may take")
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("accuracy")
    part.add_argument("--presets", nargs="+", default=["unconfounded", "confounded"])
    part.add_argument("--customers", type=int, default=20_000)
    part = parts.add_parser("cost")
    part.add_argument("--customers", type=int, default=74_000)
    part.add_argument("--lookback", default="5d")
    part.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        pl.Config(tbl_rows=-1, tbl_width_chars=140, float_precision=3, fmt_str_lengths=50),
    ):
        {"accuracy": accuracy, "cost": cost}[options.part](options, Path(folder))


if __name__ == "__main__":
    main()
