"""`seqmarket register`: puts a run's model into the registry, as a challenger or the champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from seqmarket.cli.arguments import RUN_HELP, parse_arguments, refuse_other_groups
from seqmarket.cli.compose import load_config
from seqmarket.errors import SeqmarketError

if TYPE_CHECKING:
    from seqmarket.comparison.recorded import RecordedRun
    from seqmarket.training.tracking.registry import Registry, Version
    from seqmarket.training.tracking.settings import TrackingSettings

CHAMPION, CHALLENGER, FORMER = "champion", "challenger", "former_champion"


def main(arguments: Sequence[str]) -> None:
    """Runs `register RUN [--alias challenger|champion] [--name NAME] [--without-comparison WHY]`.

    Raises:
        SeqmarketError: There is no such run in MLflow, or nothing speaks for its promotion.
    """
    options, overrides = parse_arguments(
        "register",
        "Registers a run's model in MLflow. To become the champion, its run must have been "
        "compared with the present one: seqmarket compare models:/NAME@champion RUN.",
        arguments,
        {
            "run": {"help": f"{RUN_HELP}, or its name"},
            "--alias": {"choices": (CHALLENGER, CHAMPION), "default": CHALLENGER},
            "--name": {"help": "of the model in the registry; default: seqmarket-LOG"},
            "--without-comparison": {
                "metavar": "REASON",
                "help": "promote it without a comparison that speaks for it; the reason is kept",
            },
        },
    )
    refuse_other_groups("register", overrides, ("paths", "tracking"))
    config = load_config(overrides)

    from rich.console import Console

    from seqmarket.comparison.promotion import COMPARISONS
    from seqmarket.comparison.recorded import WITHOUT_ROWS, find_recorded
    from seqmarket.training.tracking.registry import Registry

    files = (*WITHOUT_ROWS, COMPARISONS)
    found = find_recorded([options.run], config.paths, config.tracking, files)[0]
    if len(found) > 1:
        raise SeqmarketError(
            f"'{options.run}' means {len(found)} runs",
            where="register",
            fix=f"name one by its id: {', '.join(str(run.mlflow_id) for run in found)}",
        )
    run = found[0]
    registry = Registry(config.tracking)
    name = options.name or f"seqmarket-{run.terms['log']['name']}"
    run_id = _mlflow_id(run, config.tracking)
    champion = registry.holder(name, CHAMPION)
    tags = {
        "seqmarket.model": run.models[0],
        "seqmarket.data_fingerprint": run.tags.get("seqmarket.data_fingerprint", ""),
        "seqmarket.git_commit": run.tags.get("seqmarket.git_commit", ""),
    }
    promotion = {}
    if options.alias == CHAMPION:
        promotion = _promotion(run, champion, name, options.without_comparison, registry)
    lines = [f"{tag.removeprefix('seqmarket.')}: {text}" for tag, text in promotion.items()]
    version = registry.register(name, run_id, tags | promotion, _description(run, promotion))
    if options.alias == CHAMPION and champion is not None and champion.number != version.number:
        registry.set_alias(champion, FORMER)
        lines.append(f"version {champion.number} was the champion, and is {FORMER} now")
    registry.set_alias(version, options.alias)
    if options.alias == CHAMPION:
        registry.drop_alias(version, CHALLENGER)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{name} version {version.number} is {options.alias}: {run.called}", markup=False)
    for line in lines:
        console.print(line, markup=False)


def _mlflow_id(run: RecordedRun, tracking: TrackingSettings) -> str:
    if run.mlflow_id is not None:
        return run.mlflow_id
    from seqmarket.training.tracking.addition import mlflow_id_of

    assert run.run_dir is not None  # a run has a folder or an id
    found = mlflow_id_of(run.run_dir, tracking)
    if found is None:
        raise SeqmarketError(
            "this run is not in this MLflow, whose registry only knows runs of its own",
            where=str(run.run_dir),
            fix=f"send it there: seqmarket sync {run.run_dir}, or name the MLflow that has it "
            "with tracking.uri=...",
        )
    return found


def _promotion(
    run: RecordedRun, champion: Version | None, name: str, why: str | None, registry: Registry
) -> dict[str, str]:
    """What lets it become the champion, as tags; raises where nothing does."""
    if why is not None:
        if not why.strip():
            raise SeqmarketError("a reason is needed", where="--without-comparison")
        return {"seqmarket.promoted": f"without a comparison: {why}"}
    if champion is None:
        return {"seqmarket.promoted": "as the first champion, there was none to compare with"}

    from seqmarket.comparison.promotion import check_promotion

    there = registry.run(champion)
    key = there.tags.get("seqmarket.record", there.run_id)
    if key == run.key:
        return {"seqmarket.promoted": "it is the champion already"}
    command = f"seqmarket compare models:/{name}@{CHAMPION} {run.mlflow_id or run.run_dir}"
    found = check_promotion(run, key, command)
    said = ", ".join(f"{task} {verdict}" for task, verdict in found.verdicts.items())
    return {
        "seqmarket.promoted": f"compared with version {champion.number}: {said}",
        "seqmarket.comparison": found.place,
        "seqmarket.verdict": found.sentence,
    }


def _description(run: RecordedRun, promotion: Mapping[str, str]) -> str:
    parts = [f"{run.models[0]} of the run {run.called}", *promotion.values()]
    return "; ".join(parts)
