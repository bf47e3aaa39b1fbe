"""Runs as they were recorded: what they predicted, of whom, and how they came about."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from seqmarket.data.sealed import check_sealed
from seqmarket.errors import SeqmarketError
from seqmarket.training.asked import ROWS, TERMS
from seqmarket.training.config import PathsConfig
from seqmarket.training.locate import find_run
from seqmarket.training.tracking.connection import without_credentials
from seqmarket.training.tracking.lookup import EXPERIMENT, REGISTERED, Lookup
from seqmarket.training.tracking.record import RunRecord
from seqmarket.training.tracking.settings import TrackingSettings
from seqmarket.training.tracking.tracked_run import RECORD_FOLDER

PREDICTIONS = "predictions.parquet"
EVERYTHING = ("results", "config.yaml")
"""What a comparison needs of a run."""

WITHOUT_ROWS = ("results/metrics.json", f"results/{TERMS}", "config.yaml")
"""The same without the tables of rows, which are large."""


@dataclass(frozen=True)
class RecordedRun:
    """A finished run.

    Attributes:
        name: Its name.
        key: What tells it from every other one: the id in MLflow, or of its record.
        folder: Of the artifacts, or of a copy of some of them.
        tags: By name: commit, versions, machine, seed.
        metrics: Last values, by name.
        mlflow_id: Its id where it was fetched from MLflow.
        run_dir: Its own folder where it is here.
    """

    name: str
    key: str
    folder: Path
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    mlflow_id: str | None = None
    run_dir: Path | None = None

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        plain: dict[str, Any] = yaml.safe_load(self._file("config.yaml").read_text("utf-8"))
        return plain

    @cached_property
    def terms(self) -> dict[str, Any]:
        """See `seqmarket.training.asked.terms`."""
        plain: dict[str, Any] = json.loads(self._file(f"results/{TERMS}").read_text("utf-8"))
        return plain

    @cached_property
    def predictions(self) -> pl.DataFrame:
        """See `seqmarket.training.evaluation.prediction_table`."""
        return self._table(PREDICTIONS)

    @cached_property
    def rows(self) -> pl.DataFrame:
        """See `seqmarket.training.asked.row_table`."""
        return self._table(ROWS)

    @cached_property
    def results(self) -> list[dict[str, Any]]:
        """See `seqmarket.training.summary.to_rows`."""
        path = self._file("results/metrics.json")
        rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
        return rows

    @cached_property
    def models(self) -> tuple[str, ...]:
        """The run's own model, and its baselines."""
        answered = dict.fromkeys(row["model"] for row in self.results)
        own = self.tags.get("seqmarket.model", next(iter(answered), ""))
        return own, *(model for model in answered if model != own)

    @property
    def seed(self) -> int:
        """Of its random choices."""
        return int(self.config.get("seed", 0))

    @property
    def called(self) -> str:
        """Its name and enough of its key to find it."""
        return f"{self.name} ({self.key[:6]})"

    @property
    def code(self) -> tuple[str, ...]:
        """The commit, or the version, that it ran; whether that was changed; the lock."""
        tags = self.tags
        commit = tags.get("seqmarket.git_commit", tags.get("seqmarket.version", ""))
        return commit, tags.get("seqmarket.git_dirty", ""), tags.get("seqmarket.lock", "")

    def _table(self, name: str) -> pl.DataFrame:
        path = self._file(f"results/{name}")
        check_sealed(path, "table of a run", "take the run's own folder, or train it again")
        return pl.read_parquet(path)

    def _file(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise SeqmarketError(
                f"the run {self.name} has no {name}, which a comparison needs",
                where=str(self.run_dir or self.key),
                fix="compare runs that have finished; one of an earlier version has to be trained "
                "again",
            )
        return path


def find_recorded(
    wanted: Sequence[str],
    paths: PathsConfig,
    tracking: TrackingSettings,
    files: Sequence[str] = EVERYTHING,
) -> list[list[RecordedRun]]:
    """The runs that each name means.

    Args:
        wanted: A run's folder, a checkpoint, `last`, or what `Lookup.runs` understands.
        paths: Where runs are written.
        tracking: Where MLflow runs are recorded.
        files: What is fetched of a run that is in MLflow alone.

    Raises:
        SeqmarketError: A name means no finished run.
    """
    lookup: Lookup | None = None
    found = []
    for name in wanted:
        logged = name.startswith((EXPERIMENT, REGISTERED))
        if not logged and (name == "last" or Path(name).exists() or "/" in name):
            found.append([_recorded_here(name, paths, tracking)])
            continue
        if lookup is None:
            lookup = Lookup(tracking)
        found.append(_recorded_there(name, lookup, files))
    return found


def _recorded_here(name: str, paths: PathsConfig, tracking: TrackingSettings) -> RecordedRun:
    folder = find_run(name, paths, tracking).folder
    assert folder is not None  # it is on this disk
    record = RunRecord(folder / RECORD_FOLDER)
    last = {name: max(values.items())[1] for name, values in record.history().items()}
    return RecordedRun(
        name=str(record.about["name"]),
        key=str(record.about["identity"]),
        folder=record.folder / "artifacts",
        tags=record.tags,
        metrics=last,
        run_dir=folder,
    )


def _recorded_there(name: str, lookup: Lookup, files: Sequence[str]) -> list[RecordedRun]:
    runs = []
    for run in lookup.runs(name):
        folder = Path(tempfile.mkdtemp(prefix="seqmarket-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        lookup.fetch(run.run_id, files, folder)
        if name.startswith(EXPERIMENT) and not (folder / "results" / TERMS).is_file():
            continue  # the parent of a sweep, an earlier comparison
        runs.append(
            RecordedRun(
                name=run.name,
                key=run.tags.get("seqmarket.record", run.run_id),
                folder=folder,
                tags=run.tags,
                metrics=run.metrics,
                mlflow_id=run.run_id,
            )
        )
    if not runs:
        raise SeqmarketError(
            f"'{name}' has no run that can be compared",
            where=without_credentials(lookup.uri),
            fix="train one; runs of an earlier version have to be trained again",
        )
    return runs
