"""Finds a trained model by its file, its run's folder, `last`, its id in MLflow, or an alias."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from seqmarket.errors import SeqmarketError
from seqmarket.training.config import PathsConfig
from seqmarket.training.resume import CHECKPOINTS
from seqmarket.training.tracking.download import download_artifact
from seqmarket.training.tracking.lookup import REGISTERED, Lookup
from seqmarket.training.tracking.settings import TrackingSettings

MODEL_FILE = "model.ckpt"


class FoundRun(NamedTuple):
    """Where a run is.

    Attributes:
        model_file: Its checkpoint.
        folder: Its folder, or that of a checkpoint alone; None: it was fetched from MLflow.
        mlflow_id: Its id where it was fetched from MLflow.
    """

    model_file: Path
    folder: Path | None
    mlflow_id: str | None


def find_run(run: str, paths: PathsConfig, tracking: TrackingSettings) -> FoundRun:
    """The same as `find_model`, with where the run is.

    Raises:
        SeqmarketError: If there is no such run, or it has no model (yet).
    """
    run = _run_behind(run, tracking)
    model_file = find_model(run, paths, tracking)
    if run != "last" and not Path(run).exists():
        return FoundRun(model_file, None, run)
    folder = model_file.parent
    if folder.name == CHECKPOINTS:
        folder = folder.parent
    if (folder.parent / "run.json").is_file():  # a copy among the artifacts of the run's record
        folder = folder.parent.parent
    return FoundRun(model_file, folder, None)


def find_model(run: str, paths: PathsConfig, tracking: TrackingSettings) -> Path:
    """The checkpoint of a run.

    Args:
        run: A checkpoint file, a run's folder, `last` (the newest finished run under
            `paths.output_dir`), the id of an MLflow run, or ``models:/NAME@ALIAS`` in the model
            registry. What else looks like a path is one.
        paths: Where runs are written.
        tracking: Where MLflow runs are recorded.

    Raises:
        SeqmarketError: If there is no such run, or it has no model (yet).
    """
    run = _run_behind(run, tracking)
    path = Path(run)
    if path.is_file():
        return path
    if path.is_dir():
        return _in_folder(path)
    if run == "last":
        found = sorted(
            paths.output_dir.rglob(f"{CHECKPOINTS}/{MODEL_FILE}"),
            key=lambda file: file.stat().st_mtime_ns,
        )
        if not found:
            raise SeqmarketError(
                "no run has finished yet",
                where=str(paths.output_dir),
                fix="train one first: python train.py",
            )
        return found[-1]
    if "/" in run or "\\" in run or run.endswith(".ckpt"):
        raise SeqmarketError(
            "there is no such file or run folder",
            where=run,
            fix=f"the runs are below {paths.output_dir}; 'last' is the newest that has finished",
        )
    folder = Path(tempfile.mkdtemp(prefix="seqmarket-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return download_artifact(tracking, run, f"{CHECKPOINTS}/{MODEL_FILE}", folder)


def _run_behind(run: str, tracking: TrackingSettings) -> str:
    """The id of the run that made a registered model; anything else as it is."""
    return Lookup(tracking).runs(run)[0].run_id if run.startswith(REGISTERED) else run


def _in_folder(folder: Path) -> Path:
    for name in (MODEL_FILE, "best.ckpt", "last.ckpt"):
        for candidate in (folder / CHECKPOINTS / name, folder / name):
            if candidate.is_file():
                return candidate
    raise SeqmarketError(
        "this run has no model yet", where=str(folder), fix="resume it with ckpt_path=last"
    )
