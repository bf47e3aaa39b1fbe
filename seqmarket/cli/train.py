"""`seqmarket train`: lets Hydra compose the configuration, checks it, runs the training."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from seqmarket.cli.compose import CONFIG_NAME, config_dir, normalise, readable_errors, to_plain
from seqmarket.cli.guard import MISTAKE, report, say
from seqmarket.cli.outputs import cannot_write, writing
from seqmarket.cli.start import check_start
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
    except OSError as error:
        # No job's: Hydra reads configuration files, and makes the folders of the runs.
        if error.filename is None or Path(error.filename).suffix == ".yaml":
            raise
        raise cannot_write(error) from error
    finally:
        sys.argv = command_line
    return jobs.conclude()


class _Jobs:
    """The jobs of one command; under `--multirun`, one that fails does not stop the others."""

    def __init__(self) -> None:
        self.sweep = False
        self.started = 0
        self.failures: list[Exception] = []
        self.shown: set[str] = set()

    def run(self, config: DictConfig) -> object:
        """Runs a job; an error is kept for `conclude`, as Hydra would add remarks of its own."""
        self.started += 1
        self.sweep = HydraConfig.get().mode == RunMode.MULTIRUN
        try:
            return _train(config, sweep=self.sweep)
        except Exception as error:
            self.failures.append(error)
            if self.sweep:
                self._show(error)
            return None

    def _show(self, error: Exception) -> None:
        if not isinstance(error, SeqmarketError):
            traceback.print_exception(error)
        elif str(error) not in self.shown:  # a mistake that several jobs share is said once
            self.shown.add(str(error))
            report(error)

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

    run_dir = Path(settings.runtime.output_dir)
    # From the text, as the run itself reads it: both look for the same earlier run.
    check_start(typed, yaml.safe_load(resolved), run_dir)

    from seqmarket.training.instantiate import check_components

    check_components(typed)
    with writing(typed.paths.output_dir, typed.paths.cache_dir, run_dir):
        typed.paths.cache_dir.mkdir(parents=True, exist_ok=True)
        from seqmarket.training.run import run

        return run(typed, run_dir=run_dir, overrides=overrides, resolved_yaml=resolved)


def _refuse_distributed(trainer: TrainerConfig) -> None:
    if trainer.distributed:
        raise SeqmarketError(
            "--multirun cannot run several processes per job: each would start the sweep anew",
            where=f"trainer.strategy={trainer.strategy} trainer.devices={trainer.devices}",
            fix="run the jobs one after the other, or set trainer.devices=1 trainer.strategy=auto",
        )
