"""`seqmarket evaluate`: the metrics of a trained run on any fold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from seqmarket.cli.arguments import RUN_HELP, parse_arguments, refuse_other_groups
from seqmarket.cli.compose import load_config
from seqmarket.cli.outputs import make_folder_of, writing


def main(arguments: Sequence[str]) -> None:
    """Runs `evaluate RUN [--fold test] [--output FILE] [--no-baselines]`.

    Raises:
        SeqmarketError: There is no such run, or its log has changed.
    """
    options, overrides = parse_arguments(
        "evaluate",
        "Evaluates a trained run on a fold of the log that it was trained on.",
        arguments,
        {
            "run": {"help": RUN_HELP},
            "--fold": {"choices": ("train", "validation", "test"), "default": "test"},
            "--output": {"type": Path, "help": "also write the metrics to this JSON file"},
            "--no-baselines": {"action": "store_true", "help": "evaluate the run's own model only"},
        },
    )
    refuse_other_groups("evaluate", overrides, ("paths", "tracking"))
    config = load_config(overrides)

    from seqmarket.training.locate import find_model

    model_file = find_model(options.run, config.paths, config.tracking)
    if options.output:
        make_folder_of(options.output)

    from seqmarket.training.scoring import evaluate_run
    from seqmarket.training.summary import print_summary, to_rows
    from seqmarket.training.tracking.record import write_atomic

    results = evaluate_run(model_file, options.fold, with_baselines=not options.no_baselines)
    print_summary(results)
    if options.output:
        with writing(options.output):
            write_atomic(options.output, json.dumps(to_rows(results), indent=1).encode())
