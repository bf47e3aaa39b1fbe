"""The model registry of MLflow: numbered versions of a model, and aliases that point at them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seqmarket.errors import SeqmarketError
from seqmarket.training.tracking.connection import reason, short_patience, without_credentials
from seqmarket.training.tracking.lookup import Lookup
from seqmarket.training.tracking.names import MAX_TAG, shorten

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as Entity


@dataclass(frozen=True)
class ModelVersion:
    """A version of a registered model.

    Attributes:
        name: Of the registered model.
        number: Of the version, as MLflow counts.
        run_id: The MLflow run that made it.
        tags: By name.
    """

    name: str
    number: str
    run_id: str
    tags: Mapping[str, str]

    def __str__(self) -> str:
        return f"version {self.number} of {self.name}"


class Registry:
    """The registry of an MLflow database or server. A version refers to its run's own files.

    Every method raises a `SeqmarketError` where MLflow does not answer or refuses.

    Args:
        lookup: Where runs are looked up: the registry is at the same place.
    """

    def __init__(self, lookup: Lookup) -> None:
        self._client = lookup.client
        self._uri = lookup.uri
        self._timeout = lookup.timeout

    def under(self, name: str, alias: str) -> ModelVersion | None:
        """The version that an alias points at; None: there is none, or no such model."""
        with self._asking():
            number = self._aliases(name).get(alias)
            if number is None:
                return None
            return _version(self._client.get_model_version(name, str(number)))

    def of_run(self, name: str, run_id: str) -> ModelVersion | None:
        """The newest version that a run has made."""
        with self._asking():
            found = self._client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
            newest = max(found, key=lambda version: int(version.version), default=None)
            return None if newest is None else _version(newest)

    def add(self, name: str, run_id: str, artifact: str) -> ModelVersion:
        """Registers an artifact of a run as a new version; the model is made if it is new.

        Args:
            name: Of the registered model.
            run_id: The run.
            artifact: Path of the file or folder among its artifacts.
        """
        from mlflow.exceptions import MlflowException

        with self._asking():
            try:
                self._client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            # By its run and not by its place: artifacts may be moved with their database.
            source = f"runs:/{run_id}/{artifact}"
            return _version(self._client.create_model_version(name, source, run_id))

    def describe(
        self, version: ModelVersion, tags: Mapping[str, str | None], description: str
    ) -> None:
        """Sets the description and tags of a version; a tag of None is taken away."""
        with self._asking():
            for key, text in tags.items():
                if text is not None:
                    self._client.set_model_version_tag(
                        version.name, version.number, key, shorten(text, MAX_TAG)
                    )
                elif key in version.tags:
                    self._client.delete_model_version_tag(version.name, version.number, key)
            self._client.update_model_version(
                version.name, version.number, shorten(description, MAX_TAG)
            )

    def point(self, version: ModelVersion, alias: str) -> None:
        """Lets an alias point at a version, and no longer at the one before."""
        with self._asking():
            self._client.set_registered_model_alias(version.name, alias, version.number)

    def release(self, version: ModelVersion, alias: str) -> None:
        """Takes an alias away from a version, if it points there."""
        with self._asking():
            if str(self._aliases(version.name).get(alias)) == version.number:
                self._client.delete_registered_model_alias(version.name, alias)

    def _aliases(self, name: str) -> Mapping[str, object]:
        from mlflow.exceptions import MlflowException

        try:
            found: Mapping[str, object] = self._client.get_registered_model(name).aliases
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}
        return found

    @contextmanager
    def _asking(self) -> Iterator[None]:
        from mlflow.exceptions import MlflowException

        try:
            with short_patience(self._timeout):
                yield
        except (MlflowException, OSError) as error:
            raise SeqmarketError(
                f"the model registry failed ({reason(error, self._uri)})",
                where=without_credentials(self._uri),
            ) from error


def _version(found: Entity) -> ModelVersion:
    return ModelVersion(found.name, str(found.version), str(found.run_id), dict(found.tags))
