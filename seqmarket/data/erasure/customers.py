"""Who is meant: all identifiers of some customers, and the names under which they may be stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from seqmarket.data.gate.gate import Gate
from seqmarket.errors import SeqmarketError


@dataclass(frozen=True)
class Customers:
    """Some customers.

    Attributes:
        number: How many they are.
        customer_id: (m,) String, sorted: the customers that the given identifiers stand for.
        identifiers: (n,) String, sorted: every identifier of each of them, in the user's files.
        stored: (k,) String, sorted: the same, and their pseudonyms under the present key.
        key_id: Which key that is; None: there are no pseudonyms.
    """

    number: int
    customer_id: pl.Series = field(repr=False)
    identifiers: pl.Series = field(repr=False)
    stored: pl.Series = field(repr=False)
    key_id: str | None = None


def who_is_meant(ids: Sequence[str], gate: Gate) -> Customers:
    """Follows identifiers to their customers, and back to all identifiers of these.

    An identifier in conflict, or one that the mapping table does not name, is a customer of its
    own. Pseudonyms are those of every identifier, as the mapping table may have been another one
    when a log was read.

    Args:
        ids: Identifiers as they are in the user's files.
        gate: How identifiers become customers.
    """
    asked = pl.Series("customer_id", sorted(set(ids)), pl.String)
    customers, mapped = asked, asked.clear()
    if gate.identity is not None:
        resolved = gate.identity.resolve(asked)
        customers = resolved.zip_with(resolved.is_not_null(), asked).unique().sort()
        theirs = gate.identity.customer.is_in(customers.implode()).fill_null(value=False)
        mapped = gate.identity.identifier.filter(theirs)
    identifiers = _union(asked, customers, mapped)
    if gate.pseudonyms is None:
        return Customers(len(customers), customers, identifiers, identifiers)
    stored = _union(identifiers, gate.pseudonyms.of(identifiers))
    return Customers(len(customers), customers, identifiers, stored, gate.pseudonyms.key_id)


def read_ids(path: Path) -> list[str]:
    """Identifiers of a text file, one per line, exactly as written; blank lines are left out.

    Raises:
        SeqmarketError: The file cannot be read, is not UTF-8, or names nobody.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise SeqmarketError(
            f"the file of the customers cannot be read: {error.strerror}", where=str(path)
        ) from error
    except UnicodeDecodeError as error:
        raise SeqmarketError(
            "the file of the customers is not UTF-8 text",
            where=str(path),
            fix="write one identifier per line, in UTF-8",
        ) from error
    ids = [line for line in lines if line.strip()]
    if not ids:
        raise SeqmarketError(
            "the file names no customer", where=str(path), fix="write one identifier per line"
        )
    return ids


def _union(*parts: pl.Series) -> pl.Series:
    return pl.concat([part.alias("customer_id") for part in parts]).unique().sort()
