"""What runs hold about a customer: predictions, and models that were trained on them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from seqmarket.data.erasure.holdings import Table
from seqmarket.data.erasure.needles import ID_COLUMN, Needles
from seqmarket.data.erasure.stores import Held
from seqmarket.data.erasure.tables import DELIMITED, PARQUET, read_with_ids
from seqmarket.data.sealed import check_sealed
from seqmarket.training.erasure import Places, find_runs, mirrors_of
from seqmarket.training.retraining import MARKER, MARKER_TAG
from seqmarket.training.run_files import Stores, index_rows
from seqmarket.training.tracking.connection import is_sqlite, without_credentials
from seqmarket.training.tracking.local_runs import MlflowRun, recorded_runs


@dataclass(frozen=True)
class Recorded:
    """What MLflow holds of the runs.

    Attributes:
        runs: Those of embedded databases, deleted ones too.
        servers: Addresses of others, which are not asked.
    """

    runs: Sequence[MlflowRun] = ()
    servers: Sequence[str] = ()

    @classmethod
    def of(cls, places: Places) -> Recorded:
        """The configured MLflow, and every other one that a run on disk was sent to."""
        uris = {places.tracking_uri}
        for run in find_runs(places.output_dir):
            if run.record is not None:
                uris |= set(mirrors_of(run.record))
        local = sorted(uri for uri in uris if is_sqlite(uri))
        return cls(
            [run for uri in local for run in recorded_runs(uri)],
            [without_credentials(uri) for uri in sorted(uris - set(local))],
        )

    def out_of_reach(self, stores: Stores) -> list[str]:
        """Places that may hold a customer and cannot be looked at from here, in words.

        Runs whose store is there, and holds nobody who is meant, are left out.
        """
        found = [f"the MLflow server at {uri}" for uri in self.servers]
        for run in self.runs:
            held = _held(run, stores)
            if run.artifacts is None and (held is None or held.number):
                found.append(f"the artifacts of the MLflow run {run.run_id}, at {run.artifact_uri}")
        return found


def predictions(
    roots: Sequence[Path], recorded: Recorded, stores: Stores, needles: Needles
) -> list[Table]:
    """The rows about them in every table below some folders, and in artifacts on this machine.

    Args:
        roots: Files and folders.
        recorded: The runs in MLflow.
        stores: For the tables of runs, which count customers by their place in a store.
        needles: The names under which they may be stored.
    """
    of_runs = [
        (run.folder, stores.of(run.fingerprint, _marker(run.folder).get("remaining", "")))
        for root in roots
        if root.is_dir()
        for run in find_runs(root)
    ]
    copies = [
        (run.artifacts, _held(run, stores)) for run in recorded.runs if run.artifacts is not None
    ]
    found = {}
    for folder, held in (*of_runs, *copies):
        for path in _tables(folder):
            rows = index_rows(path, held, stores) if path.suffix in PARQUET else None
            if rows is not None and len(rows):
                found[path.resolve()] = Table(path, rows)
    for root in (*roots, *(folder for folder, _ in copies)):
        for path in _tables(root):
            rows = _rows_by_id(path, needles)
            if len(rows):
                found[path.resolve()] = Table(path, rows)
    return [found[path] for path in sorted(found)]


def models(output_dir: Path, recorded: Recorded, stores: Stores) -> list[dict[str, Any]]:
    """The runs whose store holds them, as far as that store is still there."""
    found = []
    for run in find_runs(output_dir):
        held = stores.of(run.fingerprint)
        if held is not None and held.number:
            found.append({"run": str(run.folder), "log": run.log_name})
    for copy in recorded.runs:
        held = _held(copy, stores)
        if held is not None and held.number:
            place = str(copy.artifacts or copy.artifact_uri)
            found.append({"run": place, "log": copy.log_name})
    return found


def _held(run: MlflowRun, stores: Stores) -> Held | None:
    marker = json.loads(run.tags.get(MARKER_TAG, "{}"))
    return stores.of(run.fingerprint, marker.get("remaining", ""))


def _marker(folder: Path) -> dict[str, Any]:
    path = folder / MARKER
    found: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    return found


def _tables(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
        if path.is_file() and path.suffix.lower() in (*PARQUET, *DELIMITED):
            if path.suffix.lower() in PARQUET:
                check_sealed(path, "table", "restore it from a copy, or predict or train again")
            yield path


def _rows_by_id(path: Path, needles: Needles) -> pl.DataFrame:
    frame, _ = read_with_ids(path)
    return frame.filter(needles.are(frame[ID_COLUMN])) if len(frame) else frame
