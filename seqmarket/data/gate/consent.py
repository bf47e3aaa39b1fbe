"""Who has consented to what, as of a moment: a table of statements, of which the newest counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.data.gate.identity import Identity
from seqmarket.data.gate.reasons import ADMITTED, OTHER_PURPOSE, UNRECORDED, WITHDRAWN
from seqmarket.data.gate.settings import ConsentSettings, Purpose
from seqmarket.data.gate.tables import Column, locate, read_table
from seqmarket.data.parsing import UTC_TIME
from seqmarket.data.reading import CsvSettings
from seqmarket.errors import SeqmarketError

_KEY = "data.privacy.consent"
_EVER = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Consent:
    """What the consent table says of its m customers, as of a moment, for one purpose.

    Attributes:
        customer_id: (m,) String, sorted.
        reason: (m,) uint8: `ADMITTED`, `OTHER_PURPOSE` or `WITHDRAWN`.
        unrecorded: The reason for all other customers: `ADMITTED` or `UNRECORDED`.
        purpose: What must have been consented to.
        as_of: The moment.
    """

    customer_id: pl.Series = field(repr=False)
    reason: NDArray[np.uint8] = field(repr=False)
    unrecorded: int
    purpose: str
    as_of: datetime

    def reasons(self, customers: pl.Series) -> NDArray[np.uint8]:
        """(n,) customers -> (n,) uint8 codes of `REASONS`."""
        at = locate(self.customer_id, customers)
        # One more place, at the end, where -1 points to.
        return np.append(self.reason, np.uint8(self.unrecorded))[at]


def read_consent(
    settings: ConsentSettings,
    purpose: Purpose,
    *,
    identity: Identity | None,
    csv: CsvSettings,
    now: datetime,
) -> Consent | None:
    """Reads the consent table; None without one.

    A row states that its customer consents to its purpose, from `granted_at` (without one: since
    ever), and if it has a `withdrawn_at`, that this ends then. A row whose status is none of
    `settings.granted` only withdraws: at `withdrawn_at`, else at `granted_at`, and without either
    for good. A customer has consented as of a moment if there is a grant at or before it, and every
    withdrawal at or before it is earlier than the newest such grant. The rows of all identifiers of
    a customer are that customer's statements.

    Args:
        settings: Where the table is, and what is asked of it.
        purpose: What the log is read for.
        identity: Which identifiers are the same customer.
        csv: How CSV files are written.
        now: The moment that counts if the settings name none.

    Raises:
        SeqmarketError: As `read_table`; nothing tells of withdrawals; or nobody has consented.
    """
    if settings.path is None:
        return None
    names = settings.columns
    if names.withdrawn_at is None and names.status is None:
        raise SeqmarketError(
            "a consent table says which consent was withdrawn, and when or by what status",
            where=f"{_KEY}.columns",
            fix=f"name the column in {_KEY}.columns.withdrawn_at or {_KEY}.columns.status",
        )
    columns = {
        "customer_id": Column(names.customer_id, "required"),
        "purpose": Column(names.purpose, "required"),
    }
    if names.granted_at is not None:
        columns["granted_at"] = Column(names.granted_at, "time")
    if names.withdrawn_at is not None:
        columns["withdrawn_at"] = Column(names.withdrawn_at, "time")
    if names.status is not None:
        columns["status"] = Column(names.status, "text")
    frame = read_table(settings.path, columns, key=_KEY, csv=csv).frame
    if identity is not None:
        frame = frame.with_columns(identity.resolve(frame["customer_id"]).alias("customer_id"))
    wanted, as_of = settings.purpose(purpose), settings.as_of or now
    verdicts = judge(frame, wanted, as_of=as_of, granted=settings.granted)
    consent = Consent(
        customer_id=verdicts["customer_id"],
        reason=verdicts["reason"].to_numpy(),
        unrecorded=ADMITTED if settings.missing == "admit" else UNRECORDED,
        purpose=wanted,
        as_of=as_of,
    )
    if consent.unrecorded != ADMITTED and not (consent.reason == ADMITTED).any():
        words = " and their status" if names.status is not None else ""
        raise SeqmarketError(
            f"no customer has consented to the purpose '{wanted}' as of {as_of:%Y-%m-%d %H:%M} UTC",
            where=settings.path,
            fix=f"check how the table writes purposes{words}: {_KEY}.{purpose}_purpose"
            + (f", {_KEY}.granted" if names.status is not None else ""),
        )
    return consent


def judge(
    statements: pl.DataFrame, purpose: str, *, as_of: datetime, granted: tuple[str, ...]
) -> pl.DataFrame:
    """Decides about each customer of a consent table; the rule is that of `read_consent`.

    Args:
        statements: customer_id, null where it is not known who is meant, and purpose; granted_at,
            withdrawn_at and status, where there are such columns.
        purpose: What must have been consented to.
        as_of: Later statements do not count.
        granted: The words of status that grant.

    Returns:
        customer_id (String, distinct, sorted) and reason (UInt8).
    """
    there = statements.columns
    moments = {
        name: pl.col(name) if name in there else pl.lit(None, UTC_TIME)
        for name in ("granted_at", "withdrawn_at")
    }
    grants = pl.col("status").is_in(granted).fill_null(value=False)
    rows = statements.filter(pl.col("customer_id").is_not_null()).select(
        "customer_id",
        mine=pl.col("purpose") == purpose,
        grants=grants if "status" in there else pl.lit(True),
        **moments,
    )
    mine, grants = pl.col("mine"), pl.col("grants")
    # Without a time, a grant is older than all that have one, and a withdrawal newer.
    withdrawn = pl.coalesce("withdrawn_at", "granted_at").fill_null(as_of)
    times = rows.select(
        "customer_id",
        grant=pl.when(mine & grants).then(pl.col("granted_at").fill_null(_EVER)),
        withdrawal=pl.when(mine).then(pl.when(grants).then("withdrawn_at").otherwise(withdrawn)),
    )
    newest = times.group_by("customer_id").agg(
        pl.col(name).filter(pl.col(name) <= as_of).max() for name in ("grant", "withdrawal")
    )
    verdict = (
        pl.when(pl.col("withdrawal") >= pl.col("grant").fill_null(_EVER))
        .then(WITHDRAWN)
        .when(pl.col("grant").is_not_null())
        .then(ADMITTED)
        .otherwise(OTHER_PURPOSE)
    )
    return newest.sort("customer_id").select("customer_id", reason=verdict.cast(pl.UInt8))
