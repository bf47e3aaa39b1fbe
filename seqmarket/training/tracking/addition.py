"""Adds what was found out later to a run that has ended: to its record, and so to MLflow."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from seqmarket.training.tracking.connection import (
    bounded,
    is_remote,
    load_mlflow,
    reason,
    short_patience,
    without_credentials,
)
from seqmarket.training.tracking.database import resolve_uri
from seqmarket.training.tracking.mirror import MlflowMirror
from seqmarket.training.tracking.names import safe_name
from seqmarket.training.tracking.record import RunRecord, now
from seqmarket.training.tracking.settings import TrackingSettings
from seqmarket.training.tracking.tracked_run import RECORD_FOLDER


def add_to_run(
    run_dir: Path,
    settings: TrackingSettings,
    files: Path,
    place: str,
    metrics: Mapping[str, float],
) -> str:
    """Adds files and metrics to a run's local record, and sends them to MLflow.

    Args:
        run_dir: The run's folder.
        settings: `enabled`: whether MLflow is told; `uri`: null for the one of the run.
        files: A folder whose files become artifacts.
        place: Folder of the artifacts.
        metrics: By name; as final values.

    Returns:
        What became of it, for the user; a problem with MLflow is said, not raised.
    """
    folder = run_dir / RECORD_FOLDER
    if not (folder / "run.json").is_file():
        return "not added to a record: the run has none"
    record = RunRecord(folder)
    if record.status == "RUNNING" and record.owner is not None and record.owner.is_other():
        return "not added to the run's record: the run is still going on"
    for path, artifact in _artifacts(files, place):
        record.add_file(path, artifact)
    record.add_metrics(metrics, 0)
    if not settings.enabled:
        return f"added to {folder}"
    given = record.about["uri"] if settings.uri is None else settings.uri

    def push(uri: str) -> str:
        mirror = MlflowMirror(record, uri, settings.connect_timeout)
        mirror.push()
        return f"added to the MLflow run {mirror.run_id}"

    later = (
        f"everything is kept in {folder}; to send it: seqmarket sync {shlex.quote(str(run_dir))}"
    )
    return _sent(push, given, Path(settings.root), later)


def add_to_mlflow(
    run_id: str,
    settings: TrackingSettings,
    files: Path,
    place: str,
    metrics: Mapping[str, float],
) -> str:
    """The same for a run that has no folder here.

    Args:
        run_id: Its id in MLflow.
        settings: Where it is.
        files: A folder whose files become artifacts.
        place: Folder of the artifacts.
        metrics: By name; as final values.
    """
    if not settings.enabled:
        return "not added to MLflow: tracking=off"

    def push(uri: str) -> str:
        load_mlflow(database=not is_remote(uri))
        from mlflow import MlflowClient
        from mlflow.entities import Metric

        client = MlflowClient(uri)
        points = [Metric(safe_name(name), value, now(), 0) for name, value in metrics.items()]
        with short_patience(settings.connect_timeout):
            bounded(
                lambda: client.log_batch(run_id, metrics=points, synchronous=True),
                settings.connect_timeout,
            )
            for path, artifact in _artifacts(files, place):
                client.log_artifact(run_id, str(path), artifact)
        return f"added to the MLflow run {run_id}"

    return _sent(push, settings.uri, Path(settings.root), f"everything is kept in {files}")


def _sent(push: Callable[[str], str], given: str | None, root: Path, later: str) -> str:
    uri = resolve_uri(given, root)
    try:
        return push(uri)
    except Exception as error:  # whatever it is, what was found is not lost
        return f"MLflow at {without_credentials(uri)} failed ({reason(error, uri)}): {later}"


def _artifacts(files: Path, place: str) -> list[tuple[Path, str]]:
    """Each file below a folder, and the folder of its artifact."""
    found = sorted(path for path in files.rglob("*") if path.is_file())
    return [
        (path, (PurePosixPath(place) / path.parent.relative_to(files).as_posix()).as_posix())
        for path in found
    ]
