"""`seqmarket erase`: removes customers from everything of ours, and proves that nothing is left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqmarket.cli.arguments import parse_arguments
from seqmarket.cli.compose import load_config
from seqmarket.cli.outputs import writing
from seqmarket.errors import SeqmarketError

if TYPE_CHECKING:
    from rich.console import Console

    from seqmarket.data.erasure.needles import Needles
    from seqmarket.training.erasure import Outcome

SOMETHING_LEFT = 1
"""Exit code where something is left, or is left to be done."""

_SHOWN = 20


def main(arguments: Sequence[str]) -> int:
    """Runs `erase --customer ID... | --customers FILE [--also PATH] [data=... paths...]`.

    Returns:
        0 where nothing is left, else 1.

    Raises:
        SeqmarketError: Nobody is named, or the mapping table, the key or the ledger cannot be used.
    """
    from seqmarket.cli.customers import ALSO

    options, overrides = parse_arguments(
        "erase",
        "Removes customers from logs, stores, predictions, models' vocabularies and MLflow, has "
        "the gate refuse them from now on, and looks for what is left.",
        arguments,
        {
            "--customer": {
                "nargs": "+",
                "action": "extend",
                "default": [],
                "metavar": "ID",
                "help": "identifiers, as in your files; one with an '=' as --customer=a=b",
            },
            "--customers": {
                "type": Path,
                "metavar": "FILE",
                "help": "a text file with an identifier per line",
            },
            "--also": ALSO,
        },
    )
    config = load_config(overrides)

    from rich.console import Console

    from seqmarket.cli.customers import (
        log_name,
        needles_for,
        places_of,
        under_other_keys,
        who_gate,
    )
    from seqmarket.data.erasure.customers import read_ids, who_is_meant
    from seqmarket.data.gate.ledger import Ledger
    from seqmarket.training.erasure import erase_everywhere

    ids = [*options.customer, *(read_ids(options.customers) if options.customers else [])]
    if not any(text.strip() for text in ids):
        raise SeqmarketError(
            "no customer is named",
            where="seqmarket erase",
            fix="--customer ID, or --customers FILE with an identifier per line",
        )
    places = places_of(config, options.also)
    customers = who_is_meant(ids, who_gate(config))
    needles = needles_for(config, customers.stored.to_list())
    ledger = Ledger(Path(config.data.privacy.ledger))
    with writing(ledger.path, places.cache_dir, places.output_dir, *places.also):
        outcome = erase_everywhere(customers, needles, ledger, places, log_name(config))
    outcome.to_do += under_other_keys(places.cache_dir, config)
    console = Console(highlight=False, soft_wrap=True)
    _print(console, needles, outcome, customers.number, len(customers.identifiers), ledger.path)
    if needles.n_short:
        console.print(
            f"{needles.n_short:,} identifiers are too short to be looked for in any text: they "
            "were looked for as whole values of columns that hold identifiers"
        )
    console.print("your own files were not touched, and still hold these customers' events")
    return SOMETHING_LEFT if outcome.left or outcome.to_do else 0


def _print(
    console: Console, needles: Needles, outcome: Outcome, customers: int, ids: int, ledger: Path
) -> None:
    from rich.table import Table

    known = "" if outcome.is_new else ", all of whom it named before"
    console.print(f"{customers:,} customers, {ids:,} identifiers; entered in {ledger}{known}")
    table = Table(title="removed", title_justify="left")
    table.add_column("where")
    table.add_column("what")
    table.add_column("number", justify="right")
    for place, counts in outcome.removed.items():
        for what, number in counts.items():
            table.add_row(place, what, f"{number:,}")
    console.print(table if outcome.removed else "nothing had to be removed")
    if outcome.to_be_retrained:
        console.print(f"models to be retrained: {outcome.to_be_retrained:,}")
    for task in outcome.to_do:
        console.print(f"left to you: {task}", style="bold red")
    if not outcome.left:
        console.print("scan of every file: nothing found")
        return
    console.print(f"scan of every file: found in {len(outcome.left):,} places", style="bold red")
    for found in outcome.left[:_SHOWN]:
        inside = f" > {found.inside}" if found.inside else ""
        console.print(f"  {needles.hidden(str(found.file))}{inside}: {found.what}", markup=False)
    if len(outcome.left) > _SHOWN:
        console.print(f"  and {len(outcome.left) - _SHOWN:,} more")
