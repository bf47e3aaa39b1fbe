"""Which identifiers are the same customer: a mapping table, followed to its ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.data.gate.settings import IdentitySettings
from seqmarket.data.gate.tables import Column, locate, read_table
from seqmarket.data.reading import CsvSettings
from seqmarket.errors import SeqmarketError

_NAMED = 3
_KEY = "data.identity"


@dataclass(frozen=True)
class IdentityReport:
    """What a mapping table does.

    Attributes:
        rows: Rows of the table.
        identifiers: Identifiers that stand for another customer.
        customers: Customers that they stand for.
        merged: Customers that more than one identifier stands for.
        most_identifiers: Most identifiers of one customer.
        longest_chain: Most rows that were followed from an identifier to its customer.
        conflicts: Identifiers that are mapped to several customers.
    """

    rows: int
    identifiers: int
    customers: int
    merged: int
    most_identifiers: int
    longest_chain: int
    conflicts: int


@dataclass(frozen=True)
class Identity:
    """The customers of m identifiers; any other identifier is a customer of its own.

    Attributes:
        identifier: (m,) String, sorted.
        customer: (m,) String; null where it is not known which customer is meant.
        report: What the table does.
    """

    identifier: pl.Series = field(repr=False)
    customer: pl.Series = field(repr=False)
    report: IdentityReport

    def resolve(self, ids: pl.Series) -> pl.Series:
        """(n,) identifiers as in the log -> (n,) customers, null for a conflict."""
        at = locate(self.identifier, ids)
        if not (at >= 0).any():
            return ids
        return self.customer.gather(np.maximum(at, 0)).zip_with(pl.Series(at >= 0), ids)


def read_identity(settings: IdentitySettings, *, csv: CsvSettings) -> Identity | None:
    """Reads the mapping table; None without one.

    Raises:
        SeqmarketError: As `read_table` and `make_identity`.
    """
    if settings.path is None:
        return None
    columns = {
        "identifier": Column(settings.columns.identifier, "required"),
        "customer_id": Column(settings.columns.customer_id, "required"),
    }
    table = read_table(settings.path, columns, key=_KEY, csv=csv)
    return make_identity(
        table.frame["identifier"],
        table.frame["customer_id"],
        conflicts=settings.conflicts,
        place=table.place,
    )


def make_identity(
    identifier: pl.Series,
    customer: pl.Series,
    *,
    conflicts: Literal["error", "drop", "keep"],
    place: Callable[[int], str] = "row {}".format,
) -> Identity:
    """Follows every identifier to its customer, whatever the order of the rows.

    An identifier may be mapped more than once, directly and by way of others; it is in conflict if
    the ends differ. Then its rows do not count, and it is an end itself.

    Args:
        identifier: (R,) String.
        customer: (R,) String; may be an identifier of other rows.
        conflicts: See `IdentitySettings`; with `drop`, an identifier that leads to one in conflict
            is left out too.
        place: How messages name a row.

    Raises:
        SeqmarketError: Rows lead in a circle; or, under the policy `error`, there is a conflict.
    """
    both = pl.concat([identifier.rename("id"), customer.rename("id")])
    node = both.rank("dense").to_numpy().astype(np.int64) - 1
    source, target = node[: len(identifier)], node[len(identifier) :]
    n_nodes = int(node.max(initial=-1)) + 1
    place_of = np.empty(n_nodes, dtype=np.int64)
    place_of[node] = np.arange(len(node))
    _refuse_circles(source, target, n_nodes, place)

    pairs = np.unique(source * n_nodes + target)
    start, stop = np.divmod(pairs, max(n_nodes, 1))
    start, stop = start[start != stop], stop[start != stop]
    torn = np.zeros(n_nodes, dtype=np.bool_)
    while True:
        end, length = _follow(start, stop, torn)
        differs = ~torn[start] & (end[start] != end[stop])
        if not differs.any():
            break
        # Ends downstream of a conflict change with it, so those upstream are looked at again.
        torn[start[differs]] = True
    if torn.any() and conflicts == "error":
        rows = np.flatnonzero(torn[source] & (source != target))
        raise SeqmarketError(
            f"{_count(int(torn.sum()), 'identifier')} of the mapping table "
            f"{'is' if torn.sum() == 1 else 'are'} mapped to several customers, in {_rows(rows)}",
            where=_places(rows, place),
            fix=f"mend the table, or set {_KEY}.conflicts=drop, which leaves their events out, or "
            "keep, which takes each to be a customer of its own",
        )

    moved = end != np.arange(n_nodes)
    unknown = torn[end] & (conflicts == "drop")
    listed = np.flatnonzero(moved | unknown)
    ends = both.gather(place_of[end[listed]]).set(pl.Series(unknown[listed]), None)
    per_customer = np.bincount(end[moved & ~unknown], minlength=1)
    return Identity(
        identifier=both.gather(place_of[listed]),
        customer=ends,
        report=IdentityReport(
            rows=len(identifier),
            identifiers=int((moved & ~unknown).sum()),
            customers=int((per_customer > 0).sum()),
            merged=int((per_customer > 1).sum()),
            most_identifiers=int(per_customer.max()),
            longest_chain=int(length.max(initial=0)),
            conflicts=int(torn.sum()),
        ),
    )


def _follow(
    start: NDArray[np.int64], stop: NDArray[np.int64], torn: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The end of each node, and its distance, by pointer jumping: log2 of the longest chain steps.

    Of several pairs with the same start the first counts; a torn node is an end.
    """
    kept = ~torn[start]
    first = np.unique(start[kept], return_index=True)[1]
    onward = np.arange(len(torn))
    onward[start[kept][first]] = stop[kept][first]
    length = (onward != np.arange(len(torn))).astype(np.int64)
    while True:
        further = onward[onward]
        if np.array_equal(further, onward):
            return onward, length
        length = length + length[onward]
        onward = further


def _refuse_circles(
    source: NDArray[np.int64],
    target: NDArray[np.int64],
    n_nodes: int,
    place: Callable[[int], str],
) -> None:
    """A circle is a strongly connected component of more than one node (Pearce, 2005)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(source), dtype=np.int8), (source, target)), (n_nodes, n_nodes))
    component = connected_components(graph.tocsr(), connection="strong")[1] if n_nodes else source
    rows = np.flatnonzero((component[source] == component[target]) & (source != target))
    if len(rows):
        raise SeqmarketError(
            f"{_rows(rows)} of the mapping table lead in a circle",
            where=_places(rows, place),
            fix="remove one of the rows of each circle",
        )


def _rows(rows: NDArray[np.int64]) -> str:
    return _count(len(rows), "row")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _places(rows: NDArray[np.int64], place: Callable[[int], str]) -> str:
    named = "; ".join(place(int(row)) for row in rows[:_NAMED])
    return named + (f"; and {len(rows) - _NAMED} more" if len(rows) > _NAMED else "")
