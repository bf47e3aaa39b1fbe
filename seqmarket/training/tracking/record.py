"""The local truth of a run: a folder that needs no server, and that a sync can replay."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from seqmarket.data.sealed import SUFFIX, digest_file, put_sealed
from seqmarket.errors import SeqmarketError
from seqmarket.training.tracking.owner import Owner

RunStatus = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


class MetricPoint(NamedTuple):
    """One value of one metric; `timestamp` is in milliseconds since 1970-01-01 UTC."""

    name: str
    value: float
    step: int
    timestamp: int


def now() -> int:
    """Milliseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000


@contextmanager
def _staged(
    target: Path, folder: Path, put: Callable[[Path, Path], object] = Path.replace
) -> Iterator[Path]:
    beside = folder / f".{target.name}.{os.getpid()}.tmp"
    try:
        yield beside
        put(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_atomic(path: Path, content: bytes) -> None:
    """Writes a file so that, whatever happens, either the old or the new content is there."""
    with _staged(path, path.parent) as beside:
        _write_through(beside, content)


class RunRecord:
    """A run as a folder: readable while it is written, and after any kind of end.

    ``run.json`` says what the run is, ``status.json`` how it stands, ``params.json`` and
    ``tags.json`` hold what was set, ``metrics.jsonl`` one point per line, ``datasets.json`` the
    inputs, ``artifacts/`` the files, ``mirrors.json`` what MLflow has of it already.

    Args:
        folder: An existing record; see `create`.

    Attributes:
        about: ``identity`` (a random id), ``name``, ``description``, ``experiment``, ``uri``,
            ``start_time`` in milliseconds.
        params: Parameters as first set; they never change.
        tags: Tags as last set.
        points: All metric points in the order in which they came.
        datasets: Inputs of the run.

    Raises:
        SeqmarketError: If the folder holds no record.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / "run.json").is_file():
            raise SeqmarketError(
                "this is not the record of a run", where=str(folder), fix="name a run directory"
            )
        self.about: dict[str, Any] = self._read("run.json", {})
        self.params: dict[str, str] = self._read("params.json", {})
        self.tags: dict[str, str] = self._read("tags.json", {})
        self.datasets: list[dict[str, Any]] = self._read("datasets.json", [])
        self.points: list[MetricPoint] = self._read_points()
        self._latest = {(point.name, point.step): point.value for point in self.points}

    @classmethod
    def create(
        cls, folder: Path, *, name: str, description: str, experiment: str, uri: str | None
    ) -> RunRecord:
        """Starts a record in a folder that does not exist yet.

        Raises:
            FileExistsError: If the folder exists.
        """
        folder.mkdir(parents=True)
        about = {
            "identity": uuid.uuid4().hex,
            "name": name,
            "description": description,
            "experiment": experiment,
            "uri": uri,
            "start_time": now(),
        }
        write_atomic(folder / "run.json", _to_json(about))
        record = cls(folder)
        record.set_status("RUNNING")
        return record

    @property
    def status(self) -> RunStatus:
        """How the run stands; a run whose process is gone without a word was killed."""
        content = self._read("status.json", {"status": "RUNNING", "owner": None})
        owner = content["owner"]
        if content["status"] == "RUNNING" and owner is not None and Owner(**owner).is_gone():
            return "KILLED"
        status: RunStatus = content["status"]
        return status

    @property
    def end_time(self) -> int | None:
        """When the run ended, in milliseconds; None while it runs or if nobody saw it end."""
        end: int | None = self._read("status.json", {}).get("end_time")
        return end

    @property
    def owner(self) -> Owner | None:
        """The process that runs it, or ran it last."""
        owner = self._read("status.json", {}).get("owner")
        return None if owner is None else Owner(**owner)

    def set_status(self, status: RunStatus) -> None:
        """Notes how the run stands, and that this process says so."""
        content = {
            "status": status,
            "end_time": None if status == "RUNNING" else now(),
            "owner": Owner.current().to_dict(),
        }
        write_atomic(self.folder / "status.json", _to_json(content))

    def add_params(self, params: Mapping[str, str]) -> dict[str, str]:
        """Adds the parameters that are new.

        Returns:
            The parameters that were set to another value before. They keep the old one.
        """
        new = {name: value for name, value in params.items() if name not in self.params}
        if new:
            self.params.update(new)
            write_atomic(self.folder / "params.json", _to_json(self.params))
        return {name: value for name, value in params.items() if self.params[name] != value}

    def add_tags(self, tags: Mapping[str, str]) -> None:
        """Sets tags; an earlier value is replaced."""
        self.tags.update(tags)
        write_atomic(self.folder / "tags.json", _to_json(self.tags))

    def add_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Appends one point per metric, except where it repeats the last value at this step."""
        moment = now()
        new = [
            MetricPoint(name, value, step, moment)
            for name, value in metrics.items()
            if not _same(self._latest.get((name, step)), value)
        ]
        if not new:
            return
        lines = "".join(json.dumps(_line(point)) + "\n" for point in new)
        with (self.folder / "metrics.jsonl").open("a+b") as file:
            if file.tell() and file.seek(-1, os.SEEK_END) and file.read(1) != b"\n":
                file.write(b"\n")  # the writer before us was killed in the middle of a line
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())
        self.points.extend(new)
        self._latest.update({(point.name, point.step): point.value for point in new})

    def history(self) -> dict[str, dict[int, float]]:
        """Metric name -> step -> last value that was logged there, steps ascending."""
        history: dict[str, dict[int, float]] = {}
        for name, step in sorted(self._latest):
            history.setdefault(name, {})[step] = self._latest[name, step]
        return history

    def add_dataset(self, dataset: Mapping[str, Any]) -> None:
        """Notes an input of the run, once."""
        if dict(dataset) not in self.datasets:
            self.datasets.append(dict(dataset))
            write_atomic(self.folder / "datasets.json", _to_json(self.datasets))

    def add_file(self, source: Path, folder: str = "") -> list[str]:
        """Copies a file, with its digest, or a folder with all it holds, into the artifacts.

        Returns:
            The names of the artifacts, relative and with forward slashes.
        """
        if not source.is_dir():
            name = _artifact_name(PurePosixPath(folder) / source.name)
            target = self._artifact(name)
            is_sealed = digest_file(source).is_file()
            with _staged(target, self.folder, put_sealed if is_sealed else Path.replace) as beside:
                shutil.copyfile(source, beside)
            return [name, f"{name}{SUFFIX}"] if is_sealed else [name]
        names: list[str] = []
        for path in sorted(source.rglob("*")):
            if path.is_file():
                inner = path.parent.relative_to(source.parent).as_posix()
                names += self.add_file(path, str(PurePosixPath(folder) / inner))
        return names

    def write_artifact(self, name: str, content: bytes) -> None:
        """Writes an artifact from memory."""
        target = self._artifact(_artifact_name(PurePosixPath(name)))
        with _staged(target, self.folder) as beside:
            _write_through(beside, content)

    def artifacts(self) -> dict[str, Path]:
        """Artifact name -> file, by name."""
        root = self.folder / "artifacts"
        files = (path for path in sorted(root.rglob("*")) if path.is_file())
        return {path.relative_to(root).as_posix(): path for path in files}

    def mirror(self, uri: str) -> dict[str, Any]:
        """What the mirror at this address is known to have; empty if it has nothing."""
        state: dict[str, Any] = self._read("mirrors.json", {}).get(uri, {})
        return state

    def set_mirror(self, uri: str, state: Mapping[str, Any]) -> None:
        """Notes what the mirror at this address has."""
        mirrors = {**self._read("mirrors.json", {}), uri: dict(state)}
        write_atomic(self.folder / "mirrors.json", _to_json(mirrors))

    def _read(self, name: str, default: Any) -> Any:
        path = self.folder / name
        return json.loads(path.read_bytes()) if path.is_file() else default

    def _read_points(self) -> list[MetricPoint]:
        path = self.folder / "metrics.jsonl"
        points = []
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
            try:
                item = json.loads(line)
            except json.JSONDecodeError:  # cut short by a kill: no prefix of a line is valid
                continue
            value = float(item["value"])  # also reads the strings "nan", "inf" and "-inf"
            points.append(MetricPoint(item["name"], value, item["step"], item["timestamp"]))
        return points

    def _artifact(self, name: str) -> Path:
        target = self.folder / "artifacts" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target


def _artifact_name(name: PurePosixPath) -> str:
    if name.is_absolute() or ".." in name.parts or not name.name:
        raise ValueError(f"an artifact has a relative name without '..', got '{name}'")
    return name.as_posix()


def _same(before: float | None, value: float) -> bool:
    if before is None:
        return False
    return before == value or (math.isnan(before) and math.isnan(value))


def _line(point: MetricPoint) -> dict[str, Any]:
    line: dict[str, Any] = point._asdict()
    if not math.isfinite(point.value):
        line["value"] = str(point.value)
    return line


def _to_json(content: Any) -> bytes:
    return json.dumps(content, indent=1, ensure_ascii=False).encode()
