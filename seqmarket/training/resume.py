"""Finds the run that `ckpt_path=last` or `best` goes on from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqmarket.errors import SeqmarketError
from seqmarket.training.config import RunConfig, config_digest
from seqmarket.training.tracking.record import write_atomic

SETTINGS_FILE = "settings.json"
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class StartingPoint:
    """Where a run starts.

    Attributes:
        run_dir: Its folder: a new one, or that of the run that is continued.
        checkpoint: What the fit goes on from; None: from nothing.
        continued: Whether the folder, and the MLflow run, are those of an earlier start.
    """

    run_dir: Path
    checkpoint: Path | None
    continued: bool


def starting_point(config: RunConfig, plain: Mapping[str, Any], run_dir: Path) -> StartingPoint:
    """Resolves `ckpt_path`.

    Args:
        config: The run.
        plain: The same as plain containers, by whose digest an earlier start is recognised.
        run_dir: The folder of a new run.

    Raises:
        SeqmarketError: If there is nothing to go on from.
    """
    wanted = config.ckpt_path
    if wanted is None:
        return StartingPoint(run_dir, None, continued=False)
    if wanted in ("last", "best"):
        digest = config_digest(plain)
        found = _newest_run(config.paths.output_dir, digest, f"{wanted}.ckpt")
        if found is None:
            raise SeqmarketError(
                f"no earlier run with these settings has a {wanted} checkpoint",
                where=f"ckpt_path={wanted}, under {config.paths.output_dir}",
                fix="leave ckpt_path out to start afresh, or name a checkpoint file",
            )
        return StartingPoint(found, found / CHECKPOINTS / f"{wanted}.ckpt", continued=True)
    path = Path(wanted)
    if not path.is_file():
        raise SeqmarketError(
            "there is no such checkpoint", where=f"ckpt_path={wanted}", fix="check the path"
        )
    return StartingPoint(run_dir, path, continued=False)


def remember(start: StartingPoint, plain: Mapping[str, Any]) -> None:
    """Leaves in the run's folder what a later `ckpt_path=last` recognises it by."""
    start.run_dir.mkdir(parents=True, exist_ok=True)
    text = _digest_text(config_digest(plain))
    write_atomic(start.run_dir / SETTINGS_FILE, text.encode())


def _newest_run(output_dir: Path, digest: str, checkpoint: str) -> Path | None:
    found = sorted(
        output_dir.rglob(SETTINGS_FILE), key=lambda file: file.stat().st_mtime_ns, reverse=True
    )
    for file in found:
        same = file.read_text() == _digest_text(digest)
        if same and (file.parent / CHECKPOINTS / checkpoint).is_file():
            return file.parent
    return None


def _digest_text(digest: str) -> str:
    return json.dumps({"config_digest": digest})
