"""What can be set about tracking: the typed form of `conf/tracking/`. Imports no MLflow."""

from __future__ import annotations

from pydantic import Field

from seqmarket.data.settings import Settings


class TrackingSettings(Settings):
    """Where runs are recorded, besides the local record that every run directory holds.

    Attributes:
        enabled: Whether the local record is mirrored in MLflow at all.
        uri: An MLflow tracking address (`http://host:5000`, `sqlite:////folder/mlflow.db`, or
            another database that MLflow knows); null: an embedded sqlite database under `root`.
        root: Folder of the embedded database `mlflow.db` and of its artifacts, `mlartifacts/`.
        experiment: Name of the MLflow experiment; it is created when it does not exist.
        connect_timeout: Longest wait in seconds for any single answer of a remote server.
    """

    enabled: bool = True
    uri: str | None = None
    root: str = "."
    experiment: str = Field("seqmarket", min_length=1, max_length=500)
    connect_timeout: float = Field(10, gt=0, le=12)
