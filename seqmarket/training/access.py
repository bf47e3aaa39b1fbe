"""What runs hold about a customer: predictions, and models that were trained on them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from seqmarket.data.erasure.holdings import Table
from seqmarket.data.erasure.needles import ID_COLUMN, Needles
from seqmarket.data.erasure.tables import DELIMITED, PARQUET, read_with_ids
from seqmarket.training.erasure import find_runs
from seqmarket.training.retraining import MARKER
from seqmarket.training.run_files import Stores, index_rows


def predictions(roots: Sequence[Path], stores: Stores, needles: Needles) -> list[Table]:
    """The rows about them in every table below some folders.

    Args:
        roots: Files and folders.
        stores: For the tables of runs, which count customers by their place in a store.
        needles: The names under which they may be stored.
    """
    found = {}
    for root in roots:
        for run in find_runs(root) if root.is_dir() else ():
            held = stores.of(run.fingerprint, _marker(run.folder).get("remaining", ""))
            for path in _tables(run.folder):
                rows = index_rows(path, held, stores) if path.suffix in PARQUET else None
                if rows is not None and len(rows):
                    found[path.resolve()] = Table(path, rows)
        for path in _tables(root):
            rows = _rows_by_id(path, needles)
            if len(rows):
                found[path.resolve()] = Table(path, rows)
    return [found[path] for path in sorted(found)]


def models(output_dir: Path, stores: Stores) -> list[dict[str, Any]]:
    """The runs whose store holds them, as far as that store is still there."""
    found = []
    for run in find_runs(output_dir):
        held = stores.of(run.fingerprint)
        if held is not None and held.number:
            found.append({"run": str(run.folder), "log": run.log_name})
    return found


def _marker(folder: Path) -> dict[str, Any]:
    path = folder / MARKER
    found: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    return found


def _tables(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
        if path.is_file() and path.suffix.lower() in (*PARQUET, *DELIMITED):
            yield path


def _rows_by_id(path: Path, needles: Needles) -> pl.DataFrame:
    frame, _ = read_with_ids(path)
    return frame.filter(needles.are(frame[ID_COLUMN])) if len(frame) else frame
