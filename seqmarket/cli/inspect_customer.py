"""`seqmarket inspect`: shows all that is held and predicted about one customer."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqmarket.cli.arguments import parse_arguments
from seqmarket.cli.compose import load_config
from seqmarket.cli.outputs import make_folder_of, writing

if TYPE_CHECKING:
    from rich.console import Console

    from seqmarket.training.config import RunConfig

_SHOWN = 40

_TABLES = {
    "validated_logs": "events of the validated log",
    "encoded_stores": "in the encoded store",
    "rows_put_aside": "rows that broke a rule and were put aside",
    "predictions": "predictions",
}


def main(arguments: Sequence[str]) -> None:
    """Runs `inspect --customer ID [--output FILE.json] [--also PATH] [data=... paths...]`.

    Ends well too where nothing is held: that is the answer then.

    Raises:
        SeqmarketError: The log, the mapping table or the key cannot be read.
    """
    from seqmarket.cli.customers import ALSO

    options, overrides = parse_arguments(
        "inspect",
        "Shows all that is held and predicted about one customer. Nothing of it is logged.",
        arguments,
        {
            "--customer": {
                "required": True,
                "metavar": "ID",
                "help": "an identifier, as in your files; one with an '=' as --customer=a=b",
            },
            "--output": {"type": Path, "metavar": "FILE", "help": "also write it to a JSON file"},
            "--also": ALSO,
        },
    )
    config = load_config(overrides)
    if options.output:
        make_folder_of(options.output)
    held = _gather(config, options.customer, options.also)

    from rich.console import Console

    _print(Console(highlight=False), held)
    if options.output:
        from seqmarket.training.tracking.record import write_atomic

        with writing(options.output):
            write_atomic(options.output, json.dumps(held, indent=1, ensure_ascii=False).encode())


def _gather(config: RunConfig, customer: str, also: list[Path]) -> dict[str, Any]:
    from seqmarket.cli.customers import needles_for, places_of, who_gate
    from seqmarket.data.erasure.customers import who_is_meant
    from seqmarket.data.erasure.holdings import (
        admissions,
        events_in_logs,
        journeys_in_stores,
        rows_in_source,
        rows_put_aside,
    )
    from seqmarket.data.erasure.stores import hold
    from seqmarket.data.gate.gate import make_gate
    from seqmarket.data.gate.ledger import Ledger
    from seqmarket.training.access import Recorded, models, predictions
    from seqmarket.training.instantiate import build
    from seqmarket.training.run_files import Stores

    places = places_of(config, also)
    gate = who_gate(config)
    who = who_is_meant([customer], gate)
    needles = needles_for(config, who.stored.to_list())
    source = build(config.data.source, prefix="data.")
    stores = Stores(hold(places.cache_dir, needles))
    recorded = Recorded.of(places)
    erasures = Ledger(Path(config.data.privacy.ledger)).entries_of(who.identifiers)
    csv = getattr(source, "csv", None)
    found: dict[str, Any] = {
        "rows_in_the_source": rows_in_source(source, who),
        "validated_logs": events_in_logs(places.cache_dir, needles),
        "encoded_stores": journeys_in_stores(list(stores.held)),
        "rows_put_aside": rows_put_aside(places.cache_dir, needles),
        "predictions": predictions([places.output_dir, *places.also], recorded, stores, needles),
        "models_trained_on_them": models(places.output_dir, recorded, stores),
    }
    held: dict[str, Any] = {
        "asked_for": customer,
        "customer_id": who.customer_id.to_list(),
        "identifiers": who.identifiers.to_list(),
        "pseudonyms": []
        if gate.pseudonyms is None
        else gate.pseudonyms.of(who.customer_id).to_list(),
        "admitted": {
            purpose: admissions(
                who, make_gate(config.data.identity, config.data.privacy, purpose, csv=csv)
            )
            for purpose in ("training", "scoring")
        },
        "erasures": [entry.at.isoformat(timespec="seconds") for entry in erasures],
        "anything_is_held": any(found.values()) or bool(erasures),
        "not_looked_at": recorded.out_of_reach(stores),
    }
    for name, tables in found.items():
        held[name] = [table.to_dict() for table in tables] if name in _TABLES else tables
    return held


def _print(console: Console, held: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    for place in held["not_looked_at"]:
        console.print(f"not looked at, as it is not on this machine: {place}", markup=False)
    if not held["anything_is_held"]:
        console.print("nothing is held about this customer, neither in the log nor in what is ours")
        return
    facts = Table(show_header=False)
    others = [text for text in held["identifiers"] if text not in held["customer_id"]]
    rows = {
        "customer": ", ".join(held["customer_id"]),
        "further identifiers": ", ".join(others),
        "pseudonym": ", ".join(held["pseudonyms"]),
        **{f"for {name}": _reasons(found) for name, found in held["admitted"].items()},
        "erased": ", ".join(held["erasures"]) or "no",
        "rows in your files": "\n".join(
            f"{number:,} in {place}" for place, number in held["rows_in_the_source"].items()
        ),
        "models trained on them": "\n".join(item["run"] for item in held["models_trained_on_them"]),
    }
    for name, text in rows.items():
        if text:
            facts.add_row(name, escape(text))
    console.print(facts)
    for name, title in _TABLES.items():
        shown: list[list[dict[str, Any]]] = []
        for found in held[name]:
            if found["rows"] in shown:
                console.print(f"{title}: the same in {found['place']}\n", markup=False)
            else:
                shown.append(found["rows"])
                _print_rows(console, f"{title}: {found['place']}", found["rows"])


def _print_rows(console: Console, title: str, rows: list[dict[str, Any]]) -> None:
    from rich.table import Column, Table

    console.print(title, markup=False, soft_wrap=True)
    if len(rows) == 1:
        table = Table(show_header=False)
        for name, value in rows[0].items():
            table.add_row(_cell(name), _cell(value))
    else:
        # What is the same in all rows, or nowhere, takes no column.
        names = [name for name in rows[0] if any(row[name] != rows[0][name] for row in rows)]
        constant = {name: rows[0][name] for name in rows[0] if name not in names}
        texts = [f"{name} {_cell(value)}" for name, value in constant.items() if value is not None]
        if texts:
            console.print(f"all rows: {', '.join(texts)}", soft_wrap=True)
        table = Table(*(Column(_cell(name), overflow="fold") for name in names))
        for row in rows[:_SHOWN]:
            table.add_row(*(_cell(row[name]) for name in names))
    console.print(table)
    if len(rows) > _SHOWN:
        console.print(f"and {len(rows) - _SHOWN:,} more rows: --output FILE writes all of them")


def _cell(value: Any) -> str:
    from rich.markup import escape

    if isinstance(value, float):
        return f"{value:.4g}"
    text = "" if value is None else str(value)
    # A time: to the second, in UTC.
    return escape(re.sub(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?\+00:00$", r"\1 \2", text))


def _reasons(counts: dict[str, int]) -> str:
    return ", ".join(counts)
