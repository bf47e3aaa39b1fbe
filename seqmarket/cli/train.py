"""`seqmarket train`: lets Hydra compose the configuration, checks it, runs the training."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from seqmarket.cli.compose import CONFIG_NAME, config_dir, normalise, readable_errors, to_plain
from seqmarket.cli.guard import MISTAKE, report, say
from seqmarket.errors import SeqmarketError
from seqmarket.training.config import TrainerConfig, parse_config


def main(overrides: Sequence[str]) -> int:
    """Runs `train` with Hydra's command line: overrides, `--multirun`, `--help`, `--cfg job`.

    Returns:
        The exit code: 0, 2 when every failed job of a `--multirun` failed by a user's mistake, 1
        when one failed otherwise.

    Raises:
        SeqmarketError: The configuration is wrong, or the run met a mistake of the user.
    """
    # Hydra then passes every exception on, and this module decides what is shown of it.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    jobs = _Jobs()
    command_line = sys.argv

    def task(config: DictConfig) -> object:
        # Lightning starts the other processes of a distributed run with this command line.
        sys.argv = command_line
        return jobs.run(config)

    sys.argv = [command_line[0], *normalise(overrides)]
    try:
        with readable_errors(overrides):
            hydra.main(str(config_dir()), CONFIG_NAME, version_base="1.3")(task)()
    except Exception as error:
        if error not in jobs.failures:
            raise
    finally:
        sys.argv = command_line
    return jobs.conclude()


class _Jobs:
    """The jobs of one command; under `--multirun`, one that fails does not stop the others."""

    def __init__(self) -> None:
        self.sweep = False
        self.started = 0
        self.failures: list[Exception] = []

    def run(self, config: DictConfig) -> object:
        self.started += 1
        self.sweep = HydraConfig.get().mode == RunMode.MULTIRUN
        try:
            return _train(config, sweep=self.sweep)
        except Exception as error:
            self.failures.append(error)
            if self.sweep:
                _show(error)
                raise
            return None  # raised again by `conclude`, without Hydra's remarks

    def conclude(self) -> int:
        if not self.failures:
            return 0
        if not self.sweep:
            raise self.failures[0]
        say(f"{len(self.failures)} of {self.started} jobs failed", label="error:")
        expected = all(isinstance(error, SeqmarketError) for error in self.failures)
        return MISTAKE if expected else 1


def _train(config: DictConfig, *, sweep: bool) -> object:
    settings = HydraConfig.get()
    overrides = cast(list[str], OmegaConf.to_container(settings.overrides.task))
    with readable_errors(overrides):
        plain = to_plain(config)
        resolved = OmegaConf.to_yaml(config, resolve=True)
    typed = parse_config(plain)
    if sweep:
        _refuse_distributed(typed.trainer)

    from seqmarket.training.instantiate import check_components

    check_components(typed)

    from seqmarket.training.run import run

    return run(
        typed,
        run_dir=Path(settings.runtime.output_dir),
        overrides=overrides,
        resolved_yaml=resolved,
    )


def _refuse_distributed(trainer: TrainerConfig) -> None:
    if trainer.distributed:
        raise SeqmarketError(
            "--multirun cannot run several processes per job: each would start the sweep anew",
            where=f"trainer.strategy={trainer.strategy} trainer.devices={trainer.devices}",
            fix="run the jobs one after the other, or set trainer.devices=1 trainer.strategy=auto",
        )


def _show(error: Exception) -> None:
    if isinstance(error, SeqmarketError):
        report(error)
    else:
        traceback.print_exception(error)
