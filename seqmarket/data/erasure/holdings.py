"""What the data room holds about a customer: in the source, logs, stores, and put aside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from seqmarket.data.erasure.caches import logs
from seqmarket.data.erasure.customers import Customers
from seqmarket.data.erasure.needles import Needles
from seqmarket.data.erasure.stores import Held
from seqmarket.data.event_log import open_log
from seqmarket.data.gate.gate import Gate
from seqmarket.data.gate.reasons import REASONS
from seqmarket.data.prepare import QUARANTINE
from seqmarket.data.reading import collect
from seqmarket.data.sealed import check_sealed
from seqmarket.data.sources.protocol import EventSource
from seqmarket.data.splits import FOLDS, to_datetime
from seqmarket.errors import SeqmarketError


@dataclass(frozen=True)
class Table:
    """Rows about a customer.

    Attributes:
        place: The file or folder that they are in.
        rows: The rows.
    """

    place: Path
    rows: pl.DataFrame

    def to_dict(self) -> dict[str, Any]:
        """Plain containers and ISO times, ready for JSON."""
        return {"place": str(self.place), "rows": plain_rows(self.rows)}


def plain_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """A table as plain containers and ISO times."""
    return [
        {
            name: value.isoformat() if hasattr(value, "isoformat") else value
            for name, value in row.items()
        }
        for row in frame.iter_rows(named=True)
    ]


def admissions(customers: Customers, gate: Gate) -> dict[str, int]:
    """Why the gate admits or refuses their identifiers -> how many of these."""
    admission = gate.admit(customers.identifiers)
    reasons = pl.Series([REASONS[code] for code in admission.reason.tolist()], dtype=pl.String)
    return dict(reasons.value_counts(sort=True).iter_rows())


def rows_in_source(source: EventSource, customers: Customers) -> dict[str, int]:
    """Piece of the user's log -> number of rows under any of their identifiers.

    Raises:
        SeqmarketError: The log is not there, or cannot be read.
    """
    found = {}
    for part in source.open().parts:
        identifier = pl.col("customer_id").cast(pl.String)
        theirs = part.frame.filter(identifier.is_in(customers.identifiers.implode()))
        number = collect(part, theirs.select(pl.len())).item()
        if number:
            found[part.label] = number
    return found


def events_in_logs(cache_dir: Path, needles: Needles) -> list[Table]:
    """Their events in each validated log, and the features of the customers beside each."""
    found = []
    theirs = pl.col("customer_id").is_in(needles.ids.implode())
    for path in logs(cache_dir):
        try:
            log = open_log(path)
        except SeqmarketError:
            continue  # damaged: nothing reads it any more
        events = log.frame.filter(theirs).collect()
        if log.static is not None and len(events):
            features = log.static.filter(theirs).collect()
            events = events.join(features, on="customer_id", how="left", maintain_order="left")
        if len(events):
            found.append(Table(path, events))
    return found


def journeys_in_stores(held: list[Held]) -> list[Table]:
    """A row for each of them in each encoded store."""
    found = []
    for item in held:
        if not item.number:
            continue
        store = item.store
        places = [int(place) for place in item.theirs.nonzero()[0]]
        bounds = store.events.offsets
        taking_part = {fold: store.split.customers(fold, len(item.theirs)) for fold in FOLDS}
        rows = [
            {
                "customer_id": store.customer_ids()[place],
                "events": int(bounds[place + 1] - bounds[place]),
                "first_event": to_datetime(int(store.events.time[bounds[place]])),
                "last_event": to_datetime(int(store.events.time[bounds[place + 1] - 1])),
                "takes_part_in": ", ".join(fold for fold in FOLDS if taking_part[fold][place]),
            }
            for place in places
        ]
        found.append(Table(store.path, pl.DataFrame(rows)))
    return found


def rows_put_aside(cache_dir: Path, needles: Needles) -> list[Table]:
    """Rows that broke a rule and hold one of their identifiers in any column.

    Raises:
        SeqmarketError: A file of them is not the one that was written.
    """
    found = []
    for path in sorted((cache_dir / QUARANTINE).glob("*.parquet")):
        check_sealed(
            path,
            "file of rows put aside",
            f"delete it; to have it made again, delete {cache_dir} and prepare the log",
        )
        frame = pl.read_parquet(path)
        theirs = pl.repeat(False, len(frame), eager=True)
        for column in frame:
            if column.name not in ("reason", "file", "row"):
                theirs = theirs | needles.occur_in(column, holds_ids=True)
        if theirs.any():
            found.append(Table(path, frame.filter(theirs)))
    return found
