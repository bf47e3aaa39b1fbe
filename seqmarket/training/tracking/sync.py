"""Sends a run's local record to MLflow after the fact."""

from __future__ import annotations

from pathlib import Path

from seqmarket.errors import SeqmarketError
from seqmarket.training.tracking.connection import reason, without_credentials
from seqmarket.training.tracking.database import resolve_uri
from seqmarket.training.tracking.mirror import MlflowMirror
from seqmarket.training.tracking.record import RunRecord
from seqmarket.training.tracking.tracked_run import RECORD_FOLDER


def sync(run_dir: Path, uri: str | None = None, *, timeout: float = 10) -> str:
    """Brings MLflow up to date with a run, whether it has none, a part or all of it.

    A second call finds nothing to do. A run that is still going on may be synced too.

    Args:
        run_dir: Directory of the run, or the folder of its record.
        uri: Tracking address; None: the one that the run was given.
        timeout: Longest wait in seconds for one answer of a server.

    Returns:
        The id of the run in MLflow.

    Raises:
        SeqmarketError: If there is no record, or MLflow cannot be reached or refuses.
    """
    is_record = (run_dir / "run.json").is_file()
    record = RunRecord(run_dir if is_record else run_dir / RECORD_FOLDER)
    address = resolve_uri(record.about["uri"] if uri is None else uri, Path.cwd())
    try:
        mirror = MlflowMirror(record, address, timeout)
        mirror.push()
    except Exception as error:
        raise SeqmarketError(
            f"MLflow failed: {reason(error, address)}",
            where=without_credentials(address),
            fix="start the server or name another with --uri, and sync again; nothing is lost",
        ) from error
    run_id = mirror.run_id
    assert run_id is not None  # a push that succeeds has one
    return run_id
