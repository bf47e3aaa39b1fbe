"""What has changed since a run was trained, where it is not answered from the same data."""

from __future__ import annotations

from collections.abc import Mapping

from seqmarket.data.gate.record import GateRecord
from seqmarket.data.store import SequenceStore
from seqmarket.errors import SeqmarketError

_PARTS: Mapping[str, tuple[str, str]] = {
    "identity": (
        "the mapping table of data.identity",
        "restore the mapping table, or train again with the new one",
    ),
    "consent": (
        "what the consent table of data.privacy.consent says",
        "train again, without those who do not consent any more",
    ),
    "pseudonyms": (
        "the key of the pseudonyms",
        "give the key that the run was trained with (data.privacy.pseudonyms), or train again",
    ),
    "retention": (
        "the moment that data.privacy.retention begins at",
        "train again; data.privacy.retention.as_of keeps that moment for the new run",
    ),
    "ledger": (
        "the ledger of erasures",
        "train again, without those whose data were erased",
    ),
}
"""Part of a gate -> what it is, and how to go on where it has changed."""

_SHOWN = ("pseudonyms", "retention")


def refuse_changed(
    fingerprint: str,
    gate: GateRecord | None,
    store: SequenceStore,
    *,
    where: str,
    since: str,
    fix: str,
) -> None:
    """Makes sure that a store is the one that something was made on.

    Args:
        fingerprint: Of the store then.
        gate: What its log was admitted by then; None: not recorded.
        store: What the same settings give now.
        where: What was made on it, for the message.
        since: Such as `since this run was trained`.
        fix: What to do where the log itself has changed.

    Raises:
        SeqmarketError: It is another one; says whether the log has changed, or the gate alone, and
            which part of it.
    """
    if store.fingerprint == fingerprint:
        return
    found = f"{where} on {fingerprint[:12]}, found {store.fingerprint[:12]}"
    now = store.gate
    if gate is None or now is None:
        what = f"the log, or what the gate admits of it, has changed {since}"
        raise SeqmarketError(what, where=found, fix=fix)
    changes = gate.changes(now)
    parts = ", ".join(_named(part, *moments) for part, moments in changes.items())
    if gate.source != now.source:
        also = f", and so has the gate: {parts}" if parts else ""
        raise SeqmarketError(f"the log has changed {since}{also}", where=found, fix=fix)
    if changes:
        raise SeqmarketError(
            f"the gate has changed {since}, the log itself has not: {parts}",
            where=found,
            fix="; ".join(_PARTS[part][1] for part in changes),
        )
    raise SeqmarketError(
        f"the log is the same, and how it is read, split and encoded has changed {since}",
        where=found,
        fix="go back to the settings and the version of seqmarket of then, or train again",
    )


def _named(part: str, then: str | None, now: str | None) -> str:
    name = _PARTS[part][0]
    if then is None or now is None:
        return f"{name} ({'not there then' if then is None else 'gone now'})"
    return f"{name} ({then} then, {now} now)" if part in _SHOWN else name
