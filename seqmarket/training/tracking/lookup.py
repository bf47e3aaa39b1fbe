"""Finds runs that were recorded in MLflow, by what people call them, and fetches their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from seqmarket.errors import SeqmarketError
from seqmarket.training.tracking.connection import (
    is_remote,
    load_mlflow,
    reason,
    short_patience,
    without_credentials,
)
from seqmarket.training.tracking.database import database_file, resolve_uri
from seqmarket.training.tracking.settings import TrackingSettings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

EXPERIMENT, REGISTERED = "experiment:", "models:/"
"""How a name begins that means all finished runs of an experiment, or a registered model."""

_PAGE = 1_000
_FIX = (
    "name a run's folder, 'last', an id or a name in MLflow, experiment:NAME or models:/NAME@ALIAS"
)


@dataclass(frozen=True)
class LoggedRun:
    """A run as MLflow has it.

    Attributes:
        run_id: Its id.
        name: Its name.
        status: Such as `FINISHED`; `DELETED` where it is in the bin.
        start_time: Milliseconds since 1970-01-01 UTC.
        tags: By name.
        metrics: Last values, by name.
    """

    run_id: str
    name: str
    status: str
    start_time: int
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


class Lookup:
    """An MLflow database or server, to read from.

    Args:
        settings: Where it is.

    Attributes:
        uri: The resolved address.
        client: What speaks to it.
        timeout: Longest wait in seconds for one answer of a server.

    Raises:
        SeqmarketError: There is no such database.
    """

    def __init__(self, settings: TrackingSettings) -> None:
        self.uri = resolve_uri(settings.uri, Path(settings.root))
        self.timeout = settings.connect_timeout
        if not is_remote(self.uri) and not database_file(self.uri).is_file():
            # MLflow would make a new database, only to find nothing in it.
            raise SeqmarketError(
                "there is no MLflow database to look for runs in", where=self.uri, fix=_FIX
            )
        load_mlflow(database=not is_remote(self.uri))
        from mlflow import MlflowClient

        self.client: MlflowClient = MlflowClient(self.uri)

    def runs(self, wanted: str) -> list[LoggedRun]:
        """The runs that a name means, oldest first.

        Args:
            wanted: An id, the name of one or several finished runs, ``experiment:NAME`` (all
                finished runs of it), or ``models:/NAME@ALIAS`` in the model registry.

        Raises:
            SeqmarketError: It means none, or MLflow does not answer.
        """
        from mlflow.exceptions import MlflowException

        try:
            with short_patience(self.timeout):
                found = self._runs(wanted)
        except (MlflowException, OSError) as error:
            raise SeqmarketError(
                f"'{wanted}' was not found ({reason(error, self.uri)})",
                where=without_credentials(self.uri),
                fix=_FIX,
            ) from error
        if not found:
            raise SeqmarketError(
                f"'{wanted}' means no finished run", where=without_credentials(self.uri), fix=_FIX
            )
        return sorted(map(_logged, found), key=lambda run: run.start_time)

    def artifacts(self, run_id: str, folder: str) -> list[str]:
        """Paths of what lies directly in a folder of a run's artifacts.

        Raises:
            SeqmarketError: MLflow does not answer.
        """
        from mlflow.exceptions import MlflowException

        try:
            return [item.path for item in self.client.list_artifacts(run_id, folder)]
        except (MlflowException, OSError) as error:
            raise SeqmarketError(
                f"the artifacts of the run {run_id} cannot be listed ({reason(error, self.uri)})",
                where=without_credentials(self.uri),
            ) from error

    def fetch(self, run_id: str, artifacts: Sequence[str], folder: Path) -> None:
        """Copies files, or folders, of a run; those that it does not have are left out.

        Raises:
            SeqmarketError: MLflow does not answer.
        """
        from mlflow.exceptions import MlflowException

        for artifact in artifacts:
            try:
                parent = PurePosixPath(artifact).parent.as_posix()
                listed = self.client.list_artifacts(run_id, None if parent == "." else parent)
                if any(item.path == artifact for item in listed):
                    place = folder / parent  # a file would lose the folder that it is in
                    place.mkdir(parents=True, exist_ok=True)
                    self.client.download_artifacts(run_id, artifact, str(place))
            except (MlflowException, OSError) as error:
                raise SeqmarketError(
                    f"{artifact} of the run {run_id} cannot be fetched ({reason(error, self.uri)})",
                    where=without_credentials(self.uri),
                ) from error

    def _runs(self, wanted: str) -> list[Run]:
        if wanted.startswith(REGISTERED):
            name, _, alias = wanted.removeprefix(REGISTERED).partition("@")
            version = (
                self.client.get_model_version_by_alias(name, alias)
                if alias
                else self.client.get_model_version(*name.split("/", maxsplit=1))
            )
            return [self.client.get_run(str(version.run_id))]
        experiments = self.client.search_experiments()
        if wanted.startswith(EXPERIMENT):
            name = wanted.removeprefix(EXPERIMENT)
            ids = [item.experiment_id for item in experiments if item.name == name]
            return self._search(ids, "attributes.status = 'FINISHED'") if ids else []
        from mlflow.exceptions import MlflowException

        with suppress(MlflowException):
            return [self.client.get_run(wanted)]
        quoted = wanted.replace("'", "")
        by_name = f"attributes.run_name = '{quoted}' and attributes.status = 'FINISHED'"
        return self._search([item.experiment_id for item in experiments], by_name)

    def _search(self, experiments: list[str], condition: str) -> list[Run]:
        found: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs(experiments, condition, 1, _PAGE, page_token=token)
            found += page
            token = page.token
            if not token:
                return found


def _logged(run: Run) -> LoggedRun:
    return LoggedRun(
        run_id=run.info.run_id,
        name=run.info.run_name,
        status=run.info.status if run.info.lifecycle_stage == "active" else "DELETED",
        start_time=run.info.start_time,
        tags=dict(run.data.tags),
        metrics=dict(run.data.metrics),
    )
