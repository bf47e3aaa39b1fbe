"""The mark of a model that has seen customers whose data were erased since."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from seqmarket.data.erasure.stores import Held
from seqmarket.data.gate.ledger import Erasure

MARKER = "to_be_retrained.json"
"""In the folder of a run."""
TAG, MARKER_TAG = "seqmarket.to_be_retrained", "seqmarket.erasure"
"""Of a run in MLflow: for people, and the marker itself."""

Marker = Mapping[str, Any]
"""`erasure` (its id in the ledger), `at` (ISO time, UTC), `customers` (how many of the model's own
it erased; None: the store is gone, so nobody knows), `earlier` (the same of earlier ones), and
`remaining`: digest of the customers that are left, by which the next erasure finds the store that
was encoded anew. No customer."""


def mark(before: Marker, held: Held | None, erasure: Erasure, *, orphan: bool) -> Marker | None:
    """What is noted of a model after an erasure; None: nothing new.

    Args:
        before: What was noted before; may be empty.
        held: The store that it was trained on, as it was before the erasure; None: it is gone.
        erasure: The entry in the ledger; the same one, met again, is not counted twice.
        orphan: Whether the store is gone, and may have held the customers.
    """
    if not (held.number if held is not None else orphan and not before):
        return None
    earlier = before.get("earlier", 0)
    if before and before["erasure"] != erasure.id:
        earlier += before["customers"] or 0
    return {
        "erasure": erasure.id,
        "at": erasure.at.isoformat(timespec="seconds"),
        "customers": None if held is None else held.number,
        "earlier": earlier,
        "remaining": "" if held is None else held.remaining_digest,
    }


def as_tags(marker: Marker) -> dict[str, str]:
    """The mark as tags of a run."""
    what = (
        "customers erased who may have been among its own; the store is gone"
        if marker["customers"] is None
        else f"{marker['customers'] + marker['earlier']:,} of its customers erased"
    )
    return {TAG: f"{marker['at'][:10]}: {what}", MARKER_TAG: json.dumps(marker)}
