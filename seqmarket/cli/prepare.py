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
    """Runs `prepare [--page FILE] [--report FILE] [data=files data.path=... and other overrides]`.

    Raises:
        SeqmarketError: The configuration is wrong, or the log breaks a rule.
    """
    options, overrides = parse_arguments(
        "prepare",
        "Reads, checks and encodes a log, and reports what is in it.",
        arguments,
        {
            "--page": {"type": Path, "help": "where the report goes as an HTML page"},
            "--report": {"type": Path, "help": "also write the report to this JSON file"},
        },
    )
    config = load_config(overrides)
    for file in (options.page, options.report):
        if file:
            make_folder_of(file)
    check_log(config.data)

    from rich.console import Console

    from seqmarket.data.engine.progress import bars, lines
    from seqmarket.data.quality import render
    from seqmarket.data.quality.page import render_page
    from seqmarket.training.data import open_data, quality_report
    from seqmarket.training.tracking.record import write_atomic

    console = Console()
    with writing(config.paths.cache_dir):
        store = open_data(config, bars(console) if console.is_terminal else lines)
    report = quality_report(config, store)
    console.print(render(report))
    page = options.page or config.paths.output_dir / "data" / f"{store.path.name}.html"
    make_folder_of(page)
    with writing(page):
        write_atomic(page, render_page(report, store.name).encode())
    if options.report:
        with writing(options.report):
            write_atomic(options.report, json.dumps(report.to_dict(), indent=1).encode())
    console.print(f"report: {page}", soft_wrap=True, highlight=False)
    console.print(f"encoded store: {store.path}", soft_wrap=True, highlight=False)
