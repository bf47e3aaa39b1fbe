"""`seqmarket prepare`: reads, checks and encodes a log, and reports what is in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from seqmarket.cli.arguments import parse_arguments
from seqmarket.cli.compose import load_config
from seqmarket.cli.outputs import make_folder_of, writing
from seqmarket.cli.start import check_log


def main(arguments: Sequence[str]) -> None:
    """Runs `prepare [--report FILE] [data=files data.path=... and other overrides]`.

    Raises:
        SeqmarketError: The configuration is wrong, or the log breaks a rule.
    """
    options, overrides = parse_arguments(
        "prepare",
        "Reads, checks and encodes a log, and reports what is in it.",
        arguments,
        {"--report": {"type": Path, "help": "also write the report to this JSON file"}},
    )
    config = load_config(overrides)
    if options.report:
        make_folder_of(options.report)
    check_log(config.data)

    from rich.console import Console

    from seqmarket.data.quality import QualityReport, render
    from seqmarket.training.run import make_datamodule, open_data
    from seqmarket.training.tasks import make_tasks
    from seqmarket.training.tracking.record import write_atomic

    with writing(config.paths.cache_dir):
        store = open_data(config)
    console = Console()
    console.print(render(QualityReport.from_dict(store.report)))
    data = make_datamodule(config, store, make_tasks(config.task))
    for fold in store.split.periods:
        for name, table in data.tables(fold).items():
            binary = table.kind == "binary" and len(table) > 0
            rate = f", {table.label.mean():.1%} positive" if binary else ""
            console.print(f"{fold:<11}{name:<14}{len(table):>9,} rows{rate}", highlight=False)
    console.print(f"encoded store: {store.path}", soft_wrap=True, highlight=False)
    if options.report:
        with writing(options.report):
            write_atomic(options.report, json.dumps(store.report, indent=1).encode())
