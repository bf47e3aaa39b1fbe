"""The embedded MLflow database: found, created once, and safe to share between processes."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from seqmarket.errors import SeqmarketError
from seqmarket.training.tracking.connection import is_sqlite, load_mlflow

_log = logging.getLogger(__name__)

_ADDRESS = re.compile(r"^(https?|sqlite|postgresql|mysql|mssql|databricks)(\+\w+)?://|^databricks$")
_SQLITE = re.compile(r"^sqlite(?:\+\w+)?:///(?P<path>[^?]+)")


def resolve_uri(uri: str | None, root: Path) -> str:
    """The address to use: as given, with an absolute path, or the embedded database's.

    Args:
        uri: A tracking address, or None for ``mlflow.db`` under `root`.
        root: Folder that relative paths start from.

    Raises:
        SeqmarketError: If MLflow cannot log to such an address.
    """
    if uri is None:
        return f"sqlite:///{(root / 'mlflow.db').resolve()}"
    if not _ADDRESS.match(uri):
        raise SeqmarketError(
            f"MLflow cannot log to '{uri}': a folder or a bare host name is no tracking address",
            where="tracking.uri",
            fix="use http://host:5000 or sqlite:////folder/mlflow.db, or null for ./mlflow.db",
        )
    if not is_sqlite(uri):
        return uri.rstrip("/")
    if _SQLITE.match(uri) is None:
        raise SeqmarketError(
            f"'{uri}' names no database file",
            where="tracking.uri",
            fix="write three slashes and a path, as in sqlite:////folder/mlflow.db",
        )
    return f"sqlite:///{(root / database_file(uri)).resolve()}"


def database_file(uri: str) -> Path:
    """The file behind a sqlite address."""
    match = _SQLITE.match(uri)
    if match is None:
        raise ValueError(f"no sqlite address with a path: {uri}")
    return Path(match["path"])


def artifact_root(uri: str) -> Path | None:
    """Where artifacts go: beside a sqlite database; a server decides for itself (None)."""
    return database_file(uri).parent / "mlartifacts" if is_sqlite(uri) else None


def prepare_database(uri: str) -> None:
    """Creates the sqlite database if there is none; safe to call from many processes at once.

    It is made under another name and put in place when it is complete, so that neither a second
    process nor one that comes after a kill ever meets a half-made one.

    Args:
        uri: An absolute sqlite address, as from `resolve_uri`.
    """
    from filelock import FileLock

    path = database_file(uri)
    if _exists(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if _exists(path):
            return
        _log.info("creating the MLflow database %s (once, takes a few seconds)", path)
        beside = path.with_name(f".{path.name}.new")
        beside.unlink(missing_ok=True)
        _migrate(beside, path.parent / "mlartifacts")
        beside.replace(path)


def _exists(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _migrate(path: Path, artifacts: Path) -> None:
    load_mlflow(database=True)
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(f"sqlite:///{path}", artifacts.as_uri())  # type: ignore[no-untyped-call]
    store.engine.dispose()
