"""The model registry of MLflow: which run's model is the champion, and which wants to be."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from seqmarket.errors import SeqmarketError
from seqmarket.training.tracking.connection import reason, short_patience, without_credentials
from seqmarket.training.tracking.lookup import LoggedRun, Lookup
from seqmarket.training.tracking.names import MAX_TAG, shorten
from seqmarket.training.tracking.settings import TrackingSettings

MODEL_FOLDER = "checkpoints"
"""What a version stands for: this folder of its run's artifacts."""


class Version(NamedTuple):
    """A registered version of a model.

    Attributes:
        name: Of the model.
        number: Of the version.
        run_id: The run that it came from.
    """

    name: str
    number: str
    run_id: str


class Registry:
    """Registered models, their versions and aliases.

    Args:
        settings: Where MLflow is.

    Raises:
        SeqmarketError: There is no such database.
    """

    def __init__(self, settings: TrackingSettings) -> None:
        self._lookup = Lookup(settings)
        self._client = self._lookup.client
        self._timeout = settings.connect_timeout

    def holder(self, name: str, alias: str) -> Version | None:
        """The version with an alias; None where nobody has it, or there is no such model."""
        from mlflow.exceptions import MlflowException

        with suppress(MlflowException), short_patience(self._timeout):
            found = self._client.get_model_version_by_alias(name, alias)
            return Version(name, str(found.version), str(found.run_id))
        return None

    def register(
        self, name: str, run_id: str, tags: Mapping[str, str], description: str
    ) -> Version:
        """Registers a run's model; one that is registered already keeps its version.

        Raises:
            SeqmarketError: MLflow refuses.
        """
        from mlflow.exceptions import MlflowException

        try:
            with short_patience(self._timeout):
                with suppress(MlflowException):  # it is there
                    self._client.create_registered_model(name)
                known = self._client.search_model_versions(f"name = '{name}'")
                same = [item for item in known if item.run_id == run_id]
                version = (
                    same[0]
                    if same
                    else self._client.create_model_version(
                        name, f"runs:/{run_id}/{MODEL_FOLDER}", run_id
                    )
                )
                number = str(version.version)
                for tag, text in tags.items():
                    self._client.set_model_version_tag(name, number, tag, shorten(text, MAX_TAG))
                self._client.update_model_version(name, number, shorten(description, MAX_TAG))
        except MlflowException as error:
            raise SeqmarketError(
                f"MLflow does not register the model ({reason(error, self._lookup.uri)})",
                where=without_credentials(self._lookup.uri),
                fix="check that its registry can be written to",
            ) from error
        return Version(name, number, run_id)

    def run(self, version: Version) -> LoggedRun:
        """The run of a version.

        Raises:
            SeqmarketError: It is no longer there.
        """
        return self._lookup.runs(version.run_id)[0]

    def set_alias(self, version: Version, alias: str) -> None:
        """Gives a version an alias, which whoever had it loses."""
        with short_patience(self._timeout):
            self._client.set_registered_model_alias(version.name, alias, version.number)

    def drop_alias(self, version: Version, alias: str) -> None:
        """Takes an alias from a version that has it."""
        holder = self.holder(version.name, alias)
        if holder is not None and holder.number == version.number:
            with short_patience(self._timeout):
                self._client.delete_registered_model_alias(version.name, alias)
