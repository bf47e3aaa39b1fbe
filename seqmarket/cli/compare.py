"""`seqmarket compare`: runs side by side, on the same rows, from what they predicted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from seqmarket.cli.arguments import parse_arguments, refuse_other_groups
from seqmarket.cli.compose import load_config
from seqmarket.cli.outputs import check_folder, writing
from seqmarket.errors import SeqmarketError, did_you_mean

if TYPE_CHECKING:
    from seqmarket.comparison.contenders import Contender
    from seqmarket.comparison.contest import Contest
    from seqmarket.training.config import RunConfig

RUNS_HELP = (
    "runs: a folder, 'last', an id or a name in MLflow, experiment:NAME, or models:/NAME@ALIAS; "
    "RUN:MODEL means a baseline of a run. One run alone is compared with its baselines"
)


def main(arguments: Sequence[str]) -> None:
    """Runs `compare RUN [RUN ...] [--baseline NAME] [--output FOLDER] [--restrict-to-common]`.

    Raises:
        SeqmarketError: There is no such run, or the runs cannot be compared.
    """
    options, overrides = parse_arguments(
        "compare",
        "Compares runs on the same rows of their tests, from the predictions that were logged with "
        "them: metrics, paired differences, where they hold, what changed, one HTML report.",
        arguments,
        {
            "runs": {"nargs": "+", "metavar": "RUN", "help": RUNS_HELP},
            "--baseline": {
                "metavar": "NAME",
                "help": "what the others are compared with, by its name in the comparison or as it "
                "was given; default: the first",
            },
            "--output": {"type": Path, "metavar": "FOLDER", "help": "where the report goes"},
            "--restrict-to-common": {
                "action": "store_true",
                "help": "compare runs that differ in data, split, labels or rows on the rows that "
                "they share; the report says so",
            },
            "--resamples": {"type": int, "default": 2_000, "help": "of the customers"},
            "--level": {"type": float, "default": 0.95, "help": "of intervals and tests"},
            "--seed": {"type": int, "default": 0, "help": "of the resamples"},
        },
    )
    refuse_other_groups("compare", overrides, ("paths", "tracking"))
    _check_numbers(options.resamples, options.level)
    config = load_config(overrides)

    from rich.console import Console

    from seqmarket.comparison.contenders import contenders
    from seqmarket.comparison.contest import run_contest
    from seqmarket.comparison.matched import match
    from seqmarket.comparison.report import MARKS, PAGE, Report
    from seqmarket.data.whole_folder import refuse_other_folder

    found = contenders(options.runs, config.paths, config.tracking)
    reference = _reference(options.baseline, options.runs, found)
    moment = datetime.now(UTC).strftime("%Y-%m-%d/%H-%M-%S-%f")
    output = options.output or config.paths.output_dir / "comparisons" / moment
    refuse_other_folder(output, MARKS)
    check_folder(output)
    console = Console(highlight=False, soft_wrap=True)

    def tell(line: str) -> None:
        console.print(line, markup=False)

    with console.status("comparing") if console.is_terminal else nullcontext():
        contest = run_contest(
            found,
            match(found, restrict=options.restrict_to_common),
            reference=reference,
            n_resamples=options.resamples,
            level=options.level,
            seed=options.seed,
            tell=tell,
        )
        report = Report(contest)
        with writing(output.parent):
            report.write(output)

    from seqmarket.comparison.overview import print_overview

    print_overview(contest)
    tell(f"report: {output / PAGE}")
    for line in _attach(contest, config, output):
        tell(line)


def _check_numbers(resamples: int, level: float) -> None:
    if resamples < 100:
        raise SeqmarketError(
            f"{resamples} resamples are too few for an interval",
            where="--resamples",
            fix="take 1000 or more",
        )
    if not 0.5 <= level < 1:
        raise SeqmarketError(
            f"a confidence level of {level:g} makes no sense", where="--level", fix="such as 0.95"
        )


def _reference(wanted: str | None, given: Sequence[str], found: Sequence[Contender]) -> str | None:
    if wanted is None:
        return None
    names = [contender.name for contender in found]
    if wanted in names:
        return wanted
    if wanted in given and len(found) == len(given):
        return names[list(given).index(wanted)]
    raise SeqmarketError(
        f"'{wanted}' does not take part", where="--baseline", fix=did_you_mean(wanted, names)
    )


def _attach(contest: Contest, config: RunConfig, output: Path) -> list[str]:
    """Adds the report to what each challenger's runs have in their records and in MLflow."""
    from seqmarket.training.tracking.addition import add_to_mlflow, add_to_run

    references = dict.fromkeys(str(task.reference) for task in contest.tasks.values())
    name = re.sub(r"[^\w.-]+", "_", "-".join(references))[:80]
    place = f"comparisons/{name}"
    said = []
    challengers = [c for c in contest.contenders if c.name in contest.challengers and c.is_own]
    for run in {run.key: run for contender in challengers for run in contender.runs}.values():
        if run.run_dir is not None:
            with writing(run.run_dir):
                said.append(add_to_run(run.run_dir, config.tracking, output, place, {}))
        elif run.mlflow_id is not None:
            said.append(add_to_mlflow(run.mlflow_id, config.tracking, output, place, {}))
    return said
