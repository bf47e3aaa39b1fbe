"""A run as the training story sees it: log, and never mind whether MLflow is there."""

from __future__ import annotations

import io
import logging
import math
import os
import shlex
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING, Any

from seqmarket.errors import SeqmarketError
from seqmarket.training.tracking.connection import is_remote, reason, without_credentials
from seqmarket.training.tracking.database import resolve_uri
from seqmarket.training.tracking.ending import TerminationHandler, status_after
from seqmarket.training.tracking.mirror import MlflowMirror, owner_tags
from seqmarket.training.tracking.names import MAX_PARAM, flatten
from seqmarket.training.tracking.owner import Owner
from seqmarket.training.tracking.record import RunRecord
from seqmarket.training.tracking.settings import TrackingSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_log = logging.getLogger(__name__)

RECORD_FOLDER = "tracking"
"""Name of the record's folder inside a run directory."""

_PATIENCE = 14.0
"""Seconds that a server which does not answer may cost a run in all."""

_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")


def open_run(
    settings: TrackingSettings, run_dir: Path, *, name: str, description: str, resume: bool = False
) -> TrackedRun:
    """A run to be used in a ``with`` statement; only there is anything written or contacted.

    Args:
        settings: Where to record.
        run_dir: Directory of the run; the record is its folder ``tracking/``.
        name: Name of the run, shown in lists.
        description: What the run is about, in Markdown.
        resume: Go on with the record in `run_dir`, and so with its run in MLflow. Without it, or
            if there is no record, a new run begins; an old record is kept as ``tracking.1``, ...

    Raises:
        SeqmarketError: If the tracking address cannot be one.
    """
    uri = resolve_uri(settings.uri, Path(settings.root))
    return TrackedRun(settings, uri, run_dir, name=name, description=description, resume=resume)


class TrackedRun:
    """A run that is being recorded, locally and as far as possible in MLflow. See `open_run`.

    On leaving the ``with`` statement the run is FINISHED, KILLED (Ctrl-C, SIGTERM) or FAILED.
    Problems with MLflow are reported once, as a warning with the command that repairs it, and
    never raised. In a distributed run only the first process records anything.

    Attributes:
        record: The local record; set while and after the run is open.
    """

    record: RunRecord

    def __init__(
        self,
        settings: TrackingSettings,
        uri: str,
        run_dir: Path,
        *,
        name: str,
        description: str,
        resume: bool,
    ) -> None:
        self._settings = settings
        self._uri = uri
        self._run_dir = run_dir
        self._about = {
            "name": name,
            "description": description,
            "experiment": settings.experiment,
            "uri": without_credentials(uri),
        }
        self._resume = resume
        self._is_main = all(os.environ.get(name, "0") in {"", "0"} for name in _RANK_VARIABLES)
        self._mirror: MlflowMirror | None = None
        self._is_mirrored = settings.enabled and self._is_main
        self._is_online = self._is_mirrored
        self._patience = _PATIENCE
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._terminate = TerminationHandler()

    @property
    def run_id(self) -> str | None:
        """Id of the run in MLflow; None if it never got there."""
        return None if self._mirror is None else self._mirror.run_id

    @property
    def address(self) -> str:
        """Where to look at the run: one line for the user."""
        if not self._is_mirrored:
            return f"{self.record.folder} (tracking.enabled=false: not in MLflow)"
        if self._mirror is None or self.run_id is None or not self._is_online:
            return f"{self.record.folder} (not in MLflow yet: {self._sync_command})"
        path = f"#/experiments/{self._mirror.experiment_id}/runs/{self.run_id}"
        if self._uri.startswith("http"):
            return f"{without_credentials(self._uri)}/{path}"
        return f"http://127.0.0.1:5000/{path} (served by: {_serve_command(self._uri)})"

    def __enter__(self) -> TrackedRun:
        self._terminate.install()
        try:
            self.record = self._open_record()
            self.record.add_tags(owner_tags(Owner.current()))
            self._reach(self._start)
        except BaseException as error:
            self._close(error)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close(error)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Logs parameters, flat or nested.

        A parameter keeps its first value. One that changes when a run is resumed is noted as a
        tag ``seqmarket.changed.<name>``; one that is too long for MLflow is there in full in the
        artifact ``params.json``.
        """
        flat = flatten(params)
        changed = self.record.add_params(flat)
        self.record.add_tags(
            {
                f"seqmarket.changed.{name}": f"{self.record.params[name]} -> {text}"
                for name, text in changed.items()
            }
        )
        if any(len(text) > MAX_PARAM for text in flat.values()):
            full = (self.record.folder / "params.json").read_bytes()
            self.record.write_artifact("params.json", full)
        self._send()

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Sets tags; an earlier value is replaced."""
        self.record.add_tags({name: str(value) for name, value in tags.items()})
        self._send()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs one value per metric, all at once; 15 ms with the embedded database.

        Values that are not finite are kept in the record, and named in MLflow by the tag
        ``seqmarket.not_finite``.

        Args:
            metrics: Name to value; anything that `float` takes.
            step: Epoch or other step; None, for a final value, counts as 0.
        """
        values = {name: float(value) for name, value in metrics.items()}
        self.record.add_metrics(values, step or 0)
        if any(not math.isfinite(value) for value in values.values()):
            names = {point.name for point in self.record.points if not math.isfinite(point.value)}
            self.record.add_tags({"seqmarket.not_finite": ", ".join(sorted(names))})
        self._send()

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Logs a copy of a file, or of a folder with all it holds, as it is now."""
        self.record.add_file(path, folder)
        self._send()

    def log_text(self, text: str, path: str) -> None:
        """Logs a text as the artifact of this name."""
        self.record.write_artifact(path, text.encode())
        self._send()

    def log_figure(self, figure: Figure, path: str) -> None:
        """Logs a Matplotlib figure, in the format of the name's ending."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format=PurePosixPath(path).suffix[1:], bbox_inches="tight")
        self.record.write_artifact(path, buffer.getvalue())
        self._send()

    def log_dataset(
        self,
        name: str,
        digest: str,
        source: str,
        profile: Mapping[str, Any],
        context: str,
        schema: Mapping[str, str] | None = None,
    ) -> None:
        """Logs an input of the run.

        Args:
            name: Name of the data.
            digest: Fingerprint of the data; MLflow shows the first 36 characters.
            source: Where the data came from.
            profile: Counts and other facts about it, plain values only.
            context: What it is used for, such as ``training``.
            schema: Column name to type.
        """
        dataset = {
            "name": name,
            "digest": digest,
            "source": source,
            "profile": dict(profile),
            "context": context,
            "schema": dict(schema or {}),
        }
        self.record.add_dataset(dataset)
        self._send()

    @property
    def _sync_command(self) -> str:
        return f"seqmarket sync {shlex.quote(str(self._run_dir))}"

    def _open_record(self) -> RunRecord:
        if not self._is_main:
            self._scratch = tempfile.TemporaryDirectory(prefix="seqmarket-")
            return RunRecord.create(Path(self._scratch.name) / RECORD_FOLDER, **self._about)
        folder = self._run_dir / RECORD_FOLDER
        if (folder / "run.json").is_file():
            record = RunRecord(folder)
            if record.status == "RUNNING" and record.owner is not None and record.owner.is_other():
                raise SeqmarketError(
                    "this run is still going on, in another process",
                    where=str(self._run_dir),
                    fix=f"wait for process {record.owner.pid}, or choose another run directory",
                )
            if self._resume:
                record.set_status("RUNNING")
                return record
            _set_aside(folder)
        return RunRecord.create(folder, **self._about)

    def _send(self) -> None:
        self._reach(MlflowMirror.push)

    def _start(self, mirror: MlflowMirror) -> None:
        mirror.push()
        killed = mirror.reap()
        if killed:
            _log.info("marked as KILLED in MLflow: %d run(s) whose process is gone", len(killed))

    def _reach(self, call: Callable[[MlflowMirror], None]) -> None:
        if not self._is_online:
            return
        started = time.monotonic()
        try:
            if self._mirror is None:
                timeout = self._settings.connect_timeout
                self._mirror = MlflowMirror(self.record, self._uri, timeout)
            call(self._mirror)
        except Exception as error:  # whatever it is, it must not cost the run
            self._patience -= time.monotonic() - started
            self._is_online = False
            _log.warning(
                "MLflow at %s failed (%s). The run goes on, and everything is kept in %s. "
                "To send it to MLflow later: %s (or: python scripts/sync.py %s)",
                without_credentials(self._uri),
                reason(error, self._uri),
                self.record.folder,
                self._sync_command,
                shlex.quote(str(self._run_dir)),
            )

    def _close(self, error: BaseException | None) -> None:
        self._terminate.ignore()
        try:
            if hasattr(self, "record"):
                self._end(error)
            if self._scratch is not None:
                self._scratch.cleanup()
        finally:
            self._terminate.restore()

    def _end(self, error: BaseException | None) -> None:
        status = status_after(error)
        if status == "FAILED" and error is not None:
            first_line = (str(error).strip().splitlines() or [""])[0]
            self.record.add_tags({"seqmarket.error": f"{type(error).__name__}: {first_line}"})
            text = "".join(traceback.format_exception(error))
            self.record.write_artifact("error/traceback.txt", text.encode())
        self.record.set_status(status)
        if self._is_mirrored and not self._is_online:
            self._catch_up()
        else:
            self._send()

    def _catch_up(self) -> None:
        """Tries once more, with what is left of the patience; the user has been told before."""
        if self._patience < 1 or not is_remote(self._uri):
            return
        try:
            if self._mirror is None:
                self._mirror = MlflowMirror(self.record, self._uri, self._patience)
            self._mirror.timeout = min(self._mirror.timeout, self._patience)
            self._mirror.push()
        except Exception as error:
            _log.debug("MLflow still fails: %s", reason(error, self._uri))
        else:
            self._is_online = True
            _log.info("MLflow answers again, and has everything now; no sync is needed")


def _serve_command(uri: str) -> str:
    embedded_here = resolve_uri(None, Path.cwd())
    if uri == embedded_here and Path("Makefile").is_file():
        return "make ui"
    return f"mlflow ui --backend-store-uri {without_credentials(uri)}"


def _set_aside(folder: Path) -> None:
    number = 1
    while (aside := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    folder.rename(aside)
