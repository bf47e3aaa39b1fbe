"""MLflow as a mirror of a run's record. The only file that speaks to an MLflow client."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from seqmarket.training.tracking.connection import (
    bounded,
    is_remote,
    load_mlflow,
    short_patience,
    without_credentials,
)
from seqmarket.training.tracking.database import artifact_root, prepare_database
from seqmarket.training.tracking.names import (
    MAX_DATASET_NAME,
    MAX_DIGEST,
    MAX_PARAM,
    MAX_TAG,
    chunks,
    safe_name,
    shorten,
)
from seqmarket.training.tracking.owner import Owner
from seqmarket.training.tracking.record import RunRecord

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Run

T = TypeVar("T")

RECORD_TAG = "seqmarket.record"
HOST_TAG = "seqmarket.host"
PID_TAG = "seqmarket.pid"
STARTED_TAG = "seqmarket.process_started"

_METRICS_PER_BATCH = 1000
_PARAMS_PER_BATCH = 100
_REAPED_PER_CALL = 100


class MlflowMirror:
    """Brings one run in MLflow up to date with its local record, again and again.

    What was sent is noted in the record, so that nothing is sent twice. The note is not needed to
    be right: MLflow ignores a repeated point, parameter, tag or input, and a run is found again by
    the identity of its record. So a push may be broken off anywhere, and repeated.

    Args:
        record: The run.
        uri: A resolved tracking address.
        timeout: Longest wait in seconds for one answer of a server. Files may take longer, as long
            as they keep moving.
    """

    def __init__(self, record: RunRecord, uri: str, timeout: float) -> None:
        load_mlflow(database=not uri.startswith("http"))
        from mlflow import MlflowClient

        self.timeout = timeout
        self._record = record
        self._uri = uri
        self._key = without_credentials(uri)
        self._state = record.mirror(self._key)
        self._is_open = False
        if not is_remote(uri):
            prepare_database(uri)
        self._client = self._call(lambda: MlflowClient(uri))

    @property
    def run_id(self) -> str | None:
        """Id of the run in MLflow, once it has one."""
        run_id: str | None = self._state.get("run_id")
        return run_id

    @property
    def experiment_id(self) -> str | None:
        """Id of its experiment."""
        experiment_id: str | None = self._state.get("experiment_id")
        return experiment_id

    def push(self) -> None:
        """Sends what the record has and MLflow does not have yet.

        Raises:
            Exception: Of any kind, if MLflow cannot be reached or refuses. What had been sent
                until then is noted.
        """
        if not self._is_open:
            self._open()
        before = json.dumps(self._state)
        try:
            with short_patience(self.timeout):
                self._push_tags()
                self._push_params()
                self._push_metrics()
                self._push_datasets()
                self._push_artifacts()
                self._push_status()
        finally:
            if json.dumps(self._state) != before:
                self._save()

    def reap(self) -> list[str]:
        """Ends the experiment's runs whose process, on this machine, is gone without a word.

        Returns:
            The ids of the runs that were set to KILLED.
        """
        with short_patience(self.timeout):
            return self._call(self._reap)

    def _open(self) -> None:
        with short_patience(self.timeout):
            run, is_new = self._call(self._find_or_create)
        if run.info.run_id != self.run_id:
            self._state = {
                "run_id": run.info.run_id,
                "experiment_id": run.info.experiment_id,
                "status": "RUNNING" if is_new else None,
                "tags": dict(self._record.tags) if is_new else {},
                "params": [],
                "metrics": 0,
                "datasets": 0,
                "artifacts": {},
            }
            self._save()
        self._is_open = True

    def _find_or_create(self) -> tuple[Run, bool]:
        experiment_id = self._experiment()
        run = self._find(experiment_id)
        if run is not None:
            return run, False
        tags = {
            RECORD_TAG: self._record.about["identity"],
            "mlflow.note.content": self._record.about["description"],
            "mlflow.source.type": "LOCAL",
            "mlflow.source.name": "seqmarket",
            **self._record.tags,
        }
        run = self._client.create_run(
            experiment_id,
            start_time=self._record.about["start_time"],
            run_name=self._record.about["name"],
            tags={safe_name(name): shorten(text, MAX_TAG) for name, text in tags.items()},
        )
        return run, True

    def _find(self, experiment_id: str) -> Run | None:
        from mlflow.exceptions import MlflowException

        if self.run_id is not None:
            try:
                run = self._client.get_run(self.run_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
            else:
                return run if run.info.lifecycle_stage == "active" else None
        # A call that was given up may have created the run all the same.
        identity = self._record.about["identity"]
        runs = self._client.search_runs(
            [experiment_id], f"tags.`{RECORD_TAG}` = '{identity}'", max_results=1
        )
        return runs[0] if runs else None

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        name = self._record.about["experiment"]
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            root = artifact_root(self._uri)
            folder = None if root is None else (root / safe_name(name)).as_uri()
            with suppress(MlflowException):  # another process may be first: then it is there
                self._client.create_experiment(name, artifact_location=folder)
            experiment = self._client.get_experiment_by_name(name)
        if experiment is None or experiment.lifecycle_stage != "active":
            raise ValueError(f"the experiment '{name}' was deleted: restore it or name another")
        return str(experiment.experiment_id)

    def _push_tags(self) -> None:
        from mlflow.entities import RunTag

        sent = self._state["tags"]
        new = {name: text for name, text in self._record.tags.items() if sent.get(name) != text}
        for names in chunks(new, _PARAMS_PER_BATCH):
            batch = [RunTag(safe_name(name), shorten(new[name], MAX_TAG)) for name in names]
            self._log_batch(tags=batch)
            sent.update({name: new[name] for name in names})

    def _push_params(self) -> None:
        from mlflow.entities import Param

        sent = set(self._state["params"])
        new = [name for name in self._record.params if name not in sent]
        for names in chunks(new, _PARAMS_PER_BATCH):
            params = {safe_name(name): self._record.params[name] for name in names}
            batch = [Param(name, shorten(text, MAX_PARAM)) for name, text in params.items()]
            self._log_batch(params=batch)
            self._state["params"] += names

    def _push_metrics(self) -> None:
        from mlflow.entities import Metric

        new = self._record.points[self._state["metrics"] :]
        for points in chunks(new, _METRICS_PER_BATCH):
            batch = [
                Metric(safe_name(point.name), point.value, point.timestamp, point.step)
                for point in points
                if math.isfinite(point.value)
            ]
            if batch:
                self._log_batch(metrics=batch)
            self._state["metrics"] += len(points)

    def _log_batch(self, **entities: Any) -> None:
        self._call(
            lambda: self._client.log_batch(self._state["run_id"], synchronous=True, **entities)
        )

    def _push_datasets(self) -> None:
        new = self._record.datasets[self._state["datasets"] :]
        if new:
            inputs = [_dataset_input(dataset) for dataset in new]
            self._call(lambda: self._client.log_inputs(self._state["run_id"], inputs))
            self._state["datasets"] += len(new)

    def _push_artifacts(self) -> None:
        sent = self._state["artifacts"]
        for name, path in self._record.artifacts().items():
            stat = path.stat()
            version = [stat.st_size, stat.st_mtime_ns]
            if sent.get(name) == version:
                continue
            folder = PurePosixPath(name).parent.as_posix()
            # Not bounded: a large file takes its time, and a stuck one meets the socket's limit.
            self._client.log_artifact(
                self._state["run_id"], str(path), None if folder == "." else folder
            )
            sent[name] = version

    def _push_status(self) -> None:
        status = self._record.status
        if self._state.get("status") == status:
            return
        if status == "RUNNING":
            self._call(lambda: self._client.update_run(self._state["run_id"], status=status))
        else:
            end = self._record.end_time
            self._call(lambda: self._client.set_terminated(self._state["run_id"], status, end))
        self._state["status"] = status

    def _reap(self) -> list[str]:
        from mlflow.entities import RunTag

        this = Owner.current()
        running = self._client.search_runs(
            [self._state["experiment_id"]],
            f"attributes.status = 'RUNNING' and tags.`{HOST_TAG}` = '{this.host}'",
            max_results=_REAPED_PER_CALL,
        )
        reaped = []
        for run in running:
            owner = _owner(run.data.tags)
            if run.info.run_id == self._state["run_id"] or owner is None or not owner.is_gone():
                continue
            note = RunTag("seqmarket.reaped", f"process {owner.pid} was gone")
            self._client.log_batch(run.info.run_id, tags=[note], synchronous=True)
            self._client.set_terminated(run.info.run_id, "KILLED")
            reaped.append(run.info.run_id)
        return reaped

    def _save(self) -> None:
        self._record.set_mirror(self._key, self._state)

    def _call(self, call: Callable[[], T]) -> T:
        return bounded(call, self.timeout) if is_remote(self._uri) else call()


def owner_tags(owner: Owner) -> dict[str, str]:
    """What lets a later process find out whether this one is gone."""
    return {HOST_TAG: owner.host, PID_TAG: str(owner.pid), STARTED_TAG: repr(owner.started)}


def _owner(tags: Mapping[str, str]) -> Owner | None:
    try:
        return Owner(tags[HOST_TAG], int(tags[PID_TAG]), float(tags[STARTED_TAG]))
    except (KeyError, ValueError):
        return None


def _dataset_input(dataset: Mapping[str, Any]) -> DatasetInput:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    columns = [
        {"name": name, "type": kind, "required": True} for name, kind in dataset["schema"].items()
    ]
    entity = Dataset(
        name=shorten(dataset["name"], MAX_DATASET_NAME),
        digest=dataset["digest"][:MAX_DIGEST],
        source_type="local",
        source=json.dumps({"uri": dataset["source"]}),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps(dataset["profile"]),
    )
    return DatasetInput(entity, [InputTag("mlflow.data.context", dataset["context"])])
