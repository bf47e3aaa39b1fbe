"""`seqmarket simulate`: a simulated log and the truth about it, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seqmarket.cli.arguments import parse_arguments
from seqmarket.cli.compose import load_config
from seqmarket.cli.outputs import make_folder_of, writing
from seqmarket.errors import SeqmarketError


def main(arguments: Sequence[str]) -> None:
    """Runs `simulate --output FOLDER [--touches] [data.preset=... and other overrides]`.

    Raises:
        SeqmarketError: The configuration is wrong or not of the simulator, or the folder exists.
    """
    options, overrides = parse_arguments(
        "simulate",
        "Simulates a log of journeys, and measures what each channel truly brought about.",
        arguments,
        {
            "--output": {"type": Path, "required": True, "help": "folder for the tables, made new"},
            "--touches": {"action": "store_true", "help": "measure each touch too; takes longer"},
        },
    )
    config = load_config(["data=simulator", *overrides])

    from rich.console import Console

    from seqmarket.data.engine.progress import bars, lines
    from seqmarket.data.sources.simulator import JourneySimulator
    from seqmarket.training.instantiate import build

    source = build(config.data.source, prefix="data.")
    if not isinstance(source, JourneySimulator):
        raise SeqmarketError(
            f"{config.data.source.target} has no truth to tell",
            where="data",
            fix="leave it at data=simulator",
        )
    if options.output.exists():
        raise SeqmarketError(
            "there is something already",
            where=f"--output {options.output}",
            fix="name another folder, or remove it",
        )
    make_folder_of(options.output)
    console = Console()
    with writing(options.output):
        progress = bars(console) if console.is_terminal else lines
        truth = source.write(options.output, touches=options.touches, progress=progress)
    print(
        f"{truth.expected:,.0f} purchases expected, {truth.organic:,.0f} of them without any "
        f"touch; {truth.purchases:,} happened: {options.output}"
    )
