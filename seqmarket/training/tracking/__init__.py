"""Runs: a local record first, MLflow as its mirror. The only package that knows MLflow.

MLflow itself is imported when a run opens, not when this package is.
"""

from seqmarket.training.tracking.ending import RunKilled
from seqmarket.training.tracking.environment import environment_tags
from seqmarket.training.tracking.record import RunRecord
from seqmarket.training.tracking.settings import TrackingSettings
from seqmarket.training.tracking.sync import sync
from seqmarket.training.tracking.tracked_run import TrackedRun, open_run

__all__ = [
    "RunKilled",
    "RunRecord",
    "TrackedRun",
    "TrackingSettings",
    "environment_tags",
    "open_run",
    "sync",
]
