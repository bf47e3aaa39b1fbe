"""`seqmarket leaderboard`: all models of an experiment in one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seqmarket.cli.arguments import parse_arguments, refuse_other_groups
from seqmarket.cli.compose import load_config
from seqmarket.cli.outputs import make_folder_of, writing


def main(arguments: Sequence[str]) -> None:
    """Runs `leaderboard [RUN ...] [--experiment NAME] [--columns ...] [--update FILE.md]`.

    Raises:
        SeqmarketError: There is no such experiment or run, or nowhere to put the table.
    """
    options, overrides = parse_arguments(
        "leaderboard",
        "Puts all models of runs into one table, deep ones and baselines, with 95 % intervals over "
        "customers and the spread over seeds; one table for each log, split and label definition.",
        arguments,
        {
            "runs": {"nargs": "*", "metavar": "RUN", "help": "runs; default: an experiment"},
            "--experiment": {"metavar": "NAME", "help": "of MLflow; default: the configured one"},
            "--columns": {
                "metavar": "TASK/METRIC,...",
                "help": "what is shown, as churn/auroc,value/gini; default: the main metrics",
            },
            "--markdown": {"type": Path, "metavar": "FILE", "help": "also write it as Markdown"},
            "--json": {"type": Path, "metavar": "FILE", "help": "also write it as JSON"},
            "--csv": {"type": Path, "metavar": "FILE", "help": "also write it as CSV"},
            "--parquet": {"type": Path, "metavar": "FILE", "help": "also write it as Parquet"},
            "--update": {
                "type": Path,
                "metavar": "FILE",
                "help": "also put it into a Markdown file, between its leaderboard marks",
            },
        },
    )
    refuse_other_groups("leaderboard", overrides, ("paths", "tracking"))
    config = load_config(overrides)
    for file in (options.markdown, options.json, options.csv, options.parquet):
        if file:
            make_folder_of(file)

    import polars as pl

    from seqmarket.comparison.leaderboard import (
        leaderboards,
        to_frame,
        to_json,
        to_markdown,
        update,
    )
    from seqmarket.comparison.overview import print_leaderboards
    from seqmarket.comparison.recorded import WITHOUT_ROWS, find_recorded
    from seqmarket.data.spreadsheet import write_csv
    from seqmarket.training.tracking.lookup import EXPERIMENT
    from seqmarket.training.tracking.record import write_atomic

    experiment = options.experiment or config.tracking.experiment
    named = options.runs or [f"{EXPERIMENT}{experiment}"]
    found = find_recorded(named, config.paths, config.tracking, WITHOUT_ROWS)
    runs = list({run.key: run for group in found for run in group}.values())
    columns = options.columns.split(",") if options.columns else None
    boards = leaderboards(runs, columns)
    print_leaderboards(boards)
    for file, text in ((options.markdown, to_markdown), (options.json, to_json)):
        if file:
            with writing(file):
                write_atomic(file, text(boards).encode())
    for file, write in ((options.csv, write_csv), (options.parquet, pl.DataFrame.write_parquet)):
        if file:
            with writing(file):
                write(to_frame(boards), file)
    if options.update:
        with writing(options.update):
            update(options.update, boards)
