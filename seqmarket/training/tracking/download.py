"""Fetches an artifact of a run that was recorded in MLflow."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from seqmarket.data.sealed import digest_file
from seqmarket.errors import SeqmarketError
from seqmarket.training.tracking.connection import (
    is_remote,
    load_mlflow,
    reason,
    without_credentials,
)
from seqmarket.training.tracking.database import database_file, resolve_uri
from seqmarket.training.tracking.settings import TrackingSettings

_FIX = "name a run's folder, a checkpoint file, 'last', or set tracking.uri=..."


def download_artifact(settings: TrackingSettings, run_id: str, artifact: str, folder: Path) -> Path:
    """Downloads one file, and its digest if it was logged with one.

    Args:
        settings: Where the run was recorded.
        run_id: Its id in MLflow.
        artifact: Path of the artifact in the run.
        folder: Where to put it.

    Raises:
        SeqmarketError: If there is no such run or artifact, or MLflow does not answer.
    """
    uri = resolve_uri(settings.uri, Path(settings.root))
    if not is_remote(uri) and not database_file(uri).is_file():
        # MLflow would make a new database, only to find nothing in it.
        raise SeqmarketError(
            f"no run '{run_id}', and no MLflow database to look in", where=uri, fix=_FIX
        )
    load_mlflow(database=not is_remote(uri))
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        client = MlflowClient(uri)
        file = Path(client.download_artifacts(run_id, artifact, str(folder)))
        digest = digest_file(PurePosixPath(artifact)).as_posix()
        logged = client.list_artifacts(run_id, PurePosixPath(artifact).parent.as_posix())
        if any(item.path == digest for item in logged):
            client.download_artifacts(run_id, digest, str(folder))
        return file
    except (MlflowException, OSError) as error:
        raise SeqmarketError(
            f"no run '{run_id}' with the artifact {artifact} ({reason(error, uri)})",
            where=without_credentials(uri),
            fix=_FIX,
        ) from error
