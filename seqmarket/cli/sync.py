"""`seqmarket sync`: sends the local record of a run to MLflow, now that it answers."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str]) -> None:
    """Runs `sync RUN_DIR [--uri URI]`.

    Raises:
        SeqmarketError: The directory holds no record of a run, or MLflow does not answer.
    """
    parser = argparse.ArgumentParser(
        prog="seqmarket sync", description="Sends the local record of a run to MLflow."
    )
    parser.add_argument("run_dir", type=Path, help="run directory, as in outputs/runs/DATE/TIME")
    parser.add_argument("--uri", help="MLflow tracking URI; without it, the one of the run")
    options = parser.parse_args(arguments)

    from seqmarket.training.tracking.sync import sync

    print(f"MLflow has run {sync(options.run_dir, options.uri)}")
