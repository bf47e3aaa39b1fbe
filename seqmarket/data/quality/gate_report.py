"""What the gate was set to, and what its tables come to, without small numbers and identifiers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter

from seqmarket.data.gate.gate import Gate
from seqmarket.data.gate.reasons import ADMITTED, REASONS
from seqmarket.data.quality.column_profile import SMALL_CELL

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Count = int | str
"""A number of customers or identifiers; a small one is the text ``<10``, none is 0."""


@dataclass(frozen=True)
class IdentityCounts:
    """What the mapping table does: see `IdentityReport`, whose attributes these are."""

    rows: Count
    identifiers: Count
    customers: Count
    merged: Count
    most_identifiers: int
    longest_chain: int
    conflicts: Count


@dataclass(frozen=True)
class ConsentCounts:
    """What the consent table says.

    Attributes:
        purpose: What must have been consented to.
        as_of: Later statements did not count.
        customers: `admitted`, or the reason of a refusal -> customers of the table.
        unrecorded: What becomes of customers whom the table does not name.
    """

    purpose: str
    as_of: datetime
    customers: dict[str, Count]
    unrecorded: Literal["admitted", "refused"]


@dataclass(frozen=True)
class GateReport:
    """The parts of a gate; None: that part is off.

    Attributes:
        identity: Identities that were merged.
        consent: Who has consented.
        key_id: 8 hexadecimal digits that tell the keys of pseudonyms apart.
        oldest: Earlier events were refused.
        erased: Identifiers in the ledger of erasures.
    """

    identity: IdentityCounts | None = None
    consent: ConsentCounts | None = None
    key_id: str | None = None
    oldest: datetime | None = None
    erased: Count | None = None

    @classmethod
    def of(cls, gate: Gate) -> GateReport:
        """Describes a gate: numbers and moments, no identifier, no key."""
        return cls(
            identity=_identity(gate),
            consent=_consent(gate),
            key_id=None if gate.pseudonyms is None else gate.pseudonyms.key_id,
            oldest=None if gate.oldest is None else _EPOCH + timedelta(microseconds=gate.oldest),
            erased=None if gate.erased is None else counted(len(gate.erased.hashes)),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, strings and numbers only, ready for JSON."""
        plain: dict[str, Any] = _adapter().dump_python(self, mode="json")
        return plain


def counted(number: int) -> Count:
    """The number, unless it is small and not 0."""
    return f"<{SMALL_CELL}" if 0 < number < SMALL_CELL else number


def _identity(gate: Gate) -> IdentityCounts | None:
    if gate.identity is None:
        return None
    found = gate.identity.report
    return IdentityCounts(
        rows=counted(found.rows),
        identifiers=counted(found.identifiers),
        customers=counted(found.customers),
        merged=counted(found.merged),
        most_identifiers=found.most_identifiers,
        longest_chain=found.longest_chain,
        conflicts=counted(found.conflicts),
    )


def _consent(gate: Gate) -> ConsentCounts | None:
    if gate.consent is None:
        return None
    found = gate.consent
    numbers = np.bincount(found.reason, minlength=len(REASONS)).tolist()
    return ConsentCounts(
        purpose=found.purpose,
        as_of=found.as_of,
        customers={
            reason: counted(number)
            for reason, number in zip(REASONS, numbers, strict=True)
            if number
        },
        unrecorded="admitted" if found.unrecorded == ADMITTED else "refused",
    )


@cache
def _adapter() -> TypeAdapter[GateReport]:
    return TypeAdapter(GateReport)
