"""What can be known to go wrong before torch, Lightning and MLflow are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqmarket.training.config import DataConfig, RunConfig
from seqmarket.training.resume import starting_point
from seqmarket.training.tracking.database import resolve_uri


def check_start(config: RunConfig, plain: Mapping[str, Any], run_dir: Path) -> None:
    """Checks where a run is recorded, what it goes on from, and that its log is there.

    Args:
        config: The run.
        plain: The same as plain containers.
        run_dir: Its folder.

    Raises:
        SeqmarketError: The tracking address is none, there is nothing to go on from, or no log.
    """
    if config.tracking.enabled:
        resolve_uri(config.tracking.uri, Path(config.tracking.root))
    starting_point(config, plain, run_dir)
    check_log(config.data)


def check_log(data: DataConfig) -> None:
    """Checks that the log is there, without reading it.

    Raises:
        SeqmarketError: It is not, or an option of its source is wrong.
    """
    from seqmarket.training.instantiate import build

    build(data.source, prefix="data.").check()
