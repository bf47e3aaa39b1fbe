"""`seqmarket attribute`: what each touch and channel of a run's log contributed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from seqmarket.cli.arguments import RUN_HELP, parse_arguments
from seqmarket.cli.compose import config_dir, load_plain
from seqmarket.cli.outputs import check_folder, writing
from seqmarket.errors import SeqmarketError

if TYPE_CHECKING:
    from pathlib import Path

    from seqmarket.attribution.config import AttributeConfig
    from seqmarket.training.checkpoint import TrainedModel
    from seqmarket.training.locate import FoundRun
    from seqmarket.training.tracking.settings import TrackingSettings

ROOT = "attribute"
"""The configuration of this command."""


def main(arguments: Sequence[str]) -> None:
    """Runs `attribute RUN [attribution=all] [fold=test] [journeys.lookback=30d] [output=FOLDER]`.

    Raises:
        SeqmarketError: There is no such run, its log has changed, a setting is wrong, or no method
            can be used.
    """
    options, overrides = parse_arguments(
        "attribute",
        "Attributes the purchases in the log of a trained run to its touches. Methods are named as "
        "attribution=markov, 'attribution=[markov,regression]', or attribution=all, the default.",
        arguments,
        {"run": {"nargs": "?", "help": f"{RUN_HELP}; or as run_id=..."}},
    )
    config = _parse(options.run, overrides)

    from seqmarket.training.checkpoint import load_trained
    from seqmarket.training.locate import find_run

    run = find_run(str(config.run_id), config.paths, config.tracking)
    trained = load_trained(run.model_file)

    from rich.console import Console

    from seqmarket.attribution.config import build_methods
    from seqmarket.attribution.report import MARKS, Report
    from seqmarket.attribution.run import attribute_run
    from seqmarket.data.whole_folder import refuse_other_folder

    own = _own_journeys(trained)
    if own is not None and not any(item.startswith("journeys=") for item in overrides):
        config = _parse(options.run, [own, *overrides])
    methods = build_methods(config.attribution)
    output = config.output or _own_folder(run, config)
    refuse_other_folder(output, MARKS)
    check_folder(output)
    console = Console(highlight=False, soft_wrap=True)

    def tell(line: str) -> None:
        console.print(line, markup=False)

    with console.status("attributing") if console.is_terminal else nullcontext():
        attributed = attribute_run(trained, config, methods, tell)
        report = Report(attributed, config.attribution)
        with writing(output.parent):
            report.write(output)

    from seqmarket.attribution.overview import print_overview

    print_overview(report)
    tell(f"tables and plots: {output}")
    place = f"attribution/{config.fold}"
    # A run that was kept out of MLflow stays out of it.
    enabled = config.tracking.enabled and trained.config.tracking.enabled
    tracking = config.tracking.model_copy(update={"enabled": enabled})
    tell(_add(run, tracking, output, place, report.metrics()))


def _parse(run: str | None, overrides: Sequence[str]) -> AttributeConfig:
    from seqmarket.attribution.config import parse_attribute_config

    plain = load_plain(overrides, ROOT)
    named = plain["run_id"] if run is None else run
    if named is None or (run is not None and plain["run_id"] is not None):
        raise SeqmarketError(
            "no run is named" if named is None else "the run is named twice",
            where="seqmarket attribute",
            fix="name it once: seqmarket attribute last, or run_id=last",
        )
    return parse_attribute_config({**plain, "run_id": named})


def _own_journeys(trained: TrainedModel) -> str | None:
    """The override that chooses the journeys which suit the run's log, where there are such."""
    name = trained.config.data.options.get("name")
    there = (config_dir() / "journeys" / f"{name}.yaml").is_file()
    return f"journeys={name}" if there else None


def _own_folder(run: FoundRun, config: AttributeConfig) -> Path:
    if run.folder is not None:
        return run.folder / "attribution" / config.fold
    return config.paths.output_dir / "attribution" / str(run.mlflow_id) / config.fold


def _add(
    run: FoundRun, tracking: TrackingSettings, output: Path, place: str, metrics: dict[str, float]
) -> str:
    """Adds what was found to the run, in its record and in MLflow."""
    from seqmarket.training.tracking.addition import add_to_mlflow, add_to_run

    if run.mlflow_id is not None:
        return add_to_mlflow(run.mlflow_id, tracking, output, place, metrics)
    assert run.folder is not None  # a run has a folder or an id
    with writing(run.folder):
        return add_to_run(run.folder, tracking, output, place, metrics)
