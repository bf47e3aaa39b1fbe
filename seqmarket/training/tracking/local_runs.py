"""The runs of an embedded MLflow database, for what has to be changed in them afterwards."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from seqmarket.errors import SeqmarketError
from seqmarket.training.tracking.connection import load_mlflow
from seqmarket.training.tracking.database import database_file
from seqmarket.training.tracking.names import MAX_DIGEST

_PAGE = 1_000
_WAIT = 60.0


@dataclass(frozen=True)
class MlflowRun:
    """A run in an MLflow database.

    Attributes:
        run_id: Its id.
        artifact_uri: Where its artifacts are.
        fingerprint: Of the data that it was trained on; empty: not known.
        log_name: Name of the log; empty: not known.
        tags: Its tags.
        active: Whether it has not been deleted; a deleted one keeps its artifacts.
    """

    run_id: str
    artifact_uri: str
    fingerprint: str
    log_name: str
    tags: Mapping[str, str]
    active: bool

    @property
    def artifacts(self) -> Path | None:
        """The folder of its artifacts; None: they are not on this machine's file system."""
        parts = urlsplit(self.artifact_uri)
        if parts.scheme == "file":
            return Path(url2pathname(parts.path))
        return Path(self.artifact_uri) if not parts.scheme else None


def recorded_runs(uri: str) -> Iterator[MlflowRun]:
    """Every run of a database, deleted ones too.

    Args:
        uri: A resolved sqlite address; a database that is not there has no runs.
    """
    if not database_file(uri).is_file():
        return
    load_mlflow(database=True)
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    client = MlflowClient(uri)
    experiments = [item.experiment_id for item in client.search_experiments(ViewType.ALL)]
    token = None
    while experiments:
        runs = client.search_runs(experiments, "", ViewType.ALL, _PAGE, page_token=token)
        for run in runs:
            inputs = run.inputs.dataset_inputs if run.inputs else []
            datasets = [item.dataset.name for item in inputs]
            yield MlflowRun(
                run_id=run.info.run_id,
                artifact_uri=run.info.artifact_uri,
                fingerprint=run.data.tags.get("seqmarket.data_fingerprint", ""),
                log_name=datasets[0] if datasets else "",
                tags=dict(run.data.tags),
                active=run.info.lifecycle_stage == "active",
            )
        token = runs.token
        if not token:
            return


def tag_run(uri: str, run_id: str, tags: Mapping[str, str]) -> None:
    """Sets tags of a run that has not been deleted."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    for name, text in tags.items():
        client.set_tag(run_id, name, text)


def redact_profile(uri: str, fingerprint: str, texts: Iterable[str], instead: str) -> None:
    """Replaces texts in what a database has noted of a data set.

    MLflow has no call for it: an input of a run cannot be changed.

    Args:
        uri: A resolved sqlite address.
        fingerprint: Of the data.
        texts: Whole JSON strings.
        instead: What they become.
    """
    with _database(uri) as database:
        for text in texts:
            for column in ("dataset_profile", "dataset_schema"):
                database.execute(
                    f"UPDATE datasets SET {column} = replace({column}, ?, ?) WHERE digest = ?",
                    (json.dumps(text), json.dumps(instead), fingerprint[:MAX_DIGEST]),
                )


def compact(uri: str) -> None:
    """Writes a database anew, without the pages of what was deleted.

    Raises:
        SeqmarketError: Another process is using it.
    """
    with _database(uri) as database:
        try:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.execute("VACUUM")
        except sqlite3.OperationalError as error:
            raise SeqmarketError(
                f"the MLflow database cannot be written anew: {error}",
                where=str(database_file(uri)),
                fix="stop what is using it, such as `mlflow ui`, and run the command again",
            ) from error


def _database(uri: str) -> closing[sqlite3.Connection]:
    path = database_file(uri)
    return closing(sqlite3.connect(path, timeout=_WAIT, isolation_level=None))
