"""The gate: which customer an identifier is, whether their events may be used, under what name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.data.gate.consent import Consent, read_consent
from seqmarket.data.gate.identity import Identity, read_identity
from seqmarket.data.gate.ledger import Erased, Ledger
from seqmarket.data.gate.pseudonyms import Pseudonyms
from seqmarket.data.gate.reasons import ADMITTED, AMBIGUOUS, ERASED, REASONS
from seqmarket.data.gate.settings import (
    IdentitySettings,
    PrivacySettings,
    Purpose,
    RetentionSettings,
)
from seqmarket.data.gate.tables import digest_text
from seqmarket.data.reading import CsvSettings
from seqmarket.errors import SeqmarketError

_REVISION = 1
_DIGITS = 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RAW, _OTHER = "__raw", "__other"

MERGED = "another row is the customer's"
"""Why a row of the customers' table is left out that is not refused."""


@dataclass(frozen=True)
class Admission:
    """What becomes of n identifiers.

    Attributes:
        customer_id: (n,) String: the customer, or the customer's pseudonym; null where refused.
        reason: (n,) uint8 codes of `REASONS`.
        refused: Reason -> number of refused customers among these identifiers.
    """

    customer_id: pl.Series = field(repr=False)
    reason: NDArray[np.uint8]
    refused: dict[str, int]


@dataclass(frozen=True)
class Gate:
    """What the settings come to, at one moment; picklable, without the key of the pseudonyms.

    Attributes:
        identity: Which identifiers are the same customer; None: each is one of its own.
        consent: Who has consented; None: nobody is asked.
        pseudonyms: What customers are called; None: as they are.
        oldest: Events before this time, in microseconds since 1970 UTC, are refused; None: none.
        erased: Whose data were erased; None: nobody's.
    """

    identity: Identity | None = None
    consent: Consent | None = None
    pseudonyms: Pseudonyms | None = None
    oldest: int | None = None
    erased: Erased | None = None

    def admit(self, ids: pl.Series) -> Admission:
        """Resolves identifiers to customers, asks for their consent, and gives them their names.

        Args:
            ids: (n,) String, distinct, without nulls.
        """
        return self._admit(ids, self._resolve(ids))

    def keeps(self, time: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """(n,) microseconds since 1970 UTC -> (n,) whether within the retention; None: all are.

        The reason of those that are not is `TOO_OLD`.
        """
        return None if self.oldest is None else time >= self.oldest

    def admit_table(self, customers: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
        """Passes the table of customers through the gate.

        Of several rows that become one customer, the one under the customer's own id counts, else
        the first in the order of the identifiers.

        Args:
            customers: customer_id (String, distinct, without nulls) and their features.

        Returns:
            The table by customer, or pseudonym, in their order; and reason, or `MERGED` -> number
            of rows that are left out.
        """
        if not (self.identity or self.consent or self.pseudonyms or self.erased):
            return customers, {}
        ids = customers["customer_id"]
        resolved = self._resolve(ids)
        admission = self._admit(ids, resolved)
        admitted = customers.with_columns(
            admission.customer_id.alias("customer_id"),
            ids.alias(_RAW),
            (resolved != ids).alias(_OTHER),
        ).filter(pl.Series(admission.reason == ADMITTED))
        ordered = admitted.sort("customer_id", _OTHER, _RAW)
        table = ordered.unique("customer_id", keep="first", maintain_order=True)
        number = np.bincount(admission.reason, minlength=len(REASONS))
        left_out = {REASONS[code]: int(number[code]) for code in range(1, len(REASONS))}
        left_out[MERGED] = len(admitted) - len(table)
        return table.drop(_RAW, _OTHER), {why: count for why, count in left_out.items() if count}

    @property
    def is_strict(self) -> bool:
        """Whether rows that are put aside, and have not passed the gate, must not be shown."""
        return bool(self.consent or self.pseudonyms or self.oldest is not None)

    def conceals(self, rows: pl.DataFrame) -> pl.Series:
        """(n,) Boolean: the rows that must not even be put aside, though they break a rule.

        Those with an identifier of an erased customer in any column: it may have slipped there.
        """
        theirs = np.zeros(len(rows), dtype=np.bool_)
        if self.erased is not None:
            for column in rows:
                theirs |= self.erased.among(column.cast(pl.String))
        return pl.Series(theirs)

    def check_features(self, identifier: str, features: Iterable[str]) -> None:
        """Refuses the identifier as a feature: pseudonyms would hide it in vain.

        Args:
            identifier: The column of the user's files that holds it.
            features: The declared columns, by their names there.

        Raises:
            SeqmarketError: It is among them, and customers get pseudonyms.
        """
        if self.pseudonyms is not None and identifier in features:
            raise SeqmarketError(
                f"the column '{identifier}' holds the identifiers, which are to be replaced by "
                "pseudonyms, and is declared as a feature as well",
                where="data.categorical, data.numeric, data.static_*",
                fix="remove it from the features",
            )

    def fingerprint(self) -> str:
        """SHA-256 of all that decides what passes, and how.

        Not of the settings and files as such: rows in another order, or withdrawals of a purpose
        that is not asked for, change nothing. The key is in it by its id only. Behind a full stop
        there may be the digest of the erasures: see `with_erasures`.
        """
        rules = {"revision": _REVISION, "oldest": self.oldest, **self._rules()}
        digest = hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()
        return with_erasures(digest, self.erased)

    def parts(self) -> dict[str, str]:
        """Part of the gate that is on -> what tells it from another one, in few characters.

        Digests of `identity`, `consent` and `ledger`, which are equal where `fingerprint` makes no
        difference; the id of the key of `pseudonyms`; the moment that `retention` begins at.
        """
        found = {
            part: rule
            if isinstance(rule, str)
            else hashlib.sha256(json.dumps(rule).encode()).hexdigest()[:_DIGITS]
            for part, rule in self._rules().items()
        }
        if self.oldest is not None:
            moment = _EPOCH + timedelta(microseconds=self.oldest)
            found["retention"] = moment.isoformat(timespec="seconds")
        if self.erased is not None:
            found["ledger"] = self.erased.digest()[:_DIGITS]
        return found

    def _rules(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.identity is not None:
            found["identity"] = [
                digest_text(self.identity.identifier),
                digest_text(self.identity.customer),
            ]
        if self.consent is not None:
            found["consent"] = [
                self.consent.unrecorded,
                digest_text(self.consent.customer_id),
                hashlib.sha256(self.consent.reason.tobytes()).hexdigest(),
            ]
        if self.pseudonyms is not None:
            found["pseudonyms"] = self.pseudonyms.key_id
        return found

    def _resolve(self, ids: pl.Series) -> pl.Series:
        return ids if self.identity is None else self.identity.resolve(ids)

    def _admit(self, ids: pl.Series, customers: pl.Series) -> Admission:
        reason = np.full(len(ids), ADMITTED, dtype=np.uint8)
        if self.consent is not None:
            reason = self.consent.reasons(customers)
        if self.identity is not None:
            reason[customers.is_null().to_numpy()] = AMBIGUOUS
        if self.erased is not None:
            # The identifier too: it stays refused when a mapping table gives it to someone else.
            theirs = self.erased.among(ids)
            reason[theirs if customers is ids else theirs | self.erased.among(customers)] = ERASED
        refused = {}
        for code in np.unique(reason[reason != ADMITTED]).tolist():
            known = customers.zip_with(customers.is_not_null(), ids)
            refused[REASONS[code]] = known.filter(pl.Series(reason == code)).n_unique()
        if refused:
            customers = customers.set(pl.Series(reason != ADMITTED), None)
        if self.pseudonyms is not None:
            customers = self.pseudonyms.of(customers)
        return Admission(customers, reason, refused)


def make_gate(
    identity: IdentitySettings | None,
    privacy: PrivacySettings | None,
    purpose: Purpose,
    *,
    csv: CsvSettings | None = None,
    now: datetime | None = None,
) -> Gate:
    """Reads the tables and the key, and settles the moments, once for all that follows.

    Args:
        identity: Which identifiers are the same customer; None: as by default, each is its own.
        privacy: What customers' data must fulfil; None: as by default, nothing.
        purpose: What the log is read for.
        csv: How the tables are written where they are CSV; as the log is.
        now: The present moment, UTC; None: by the clock.

    Raises:
        SeqmarketError: A table or the key is missing or cannot be used.
    """
    identity, privacy = identity or IdentitySettings(), privacy or PrivacySettings()
    csv, now = csv or CsvSettings(), now or datetime.now(UTC)
    who = read_identity(identity, csv=csv)
    return Gate(
        identity=who,
        consent=read_consent(privacy.consent, purpose, identity=who, csv=csv, now=now),
        pseudonyms=Pseudonyms(privacy.pseudonyms) if privacy.pseudonyms.enabled else None,
        oldest=_oldest(privacy.retention, now),
        erased=Ledger(Path(privacy.ledger)).erased(),
    )


def with_erasures(fingerprint: str, erased: Erased | None) -> str:
    """The fingerprint of a gate that is the same but for the erasures."""
    rules = fingerprint.partition(".")[0]
    return rules if erased is None else f"{rules}.{erased.digest()}"


def _oldest(settings: RetentionSettings, now: datetime) -> int | None:
    if settings.keep is None:
        return None
    # The start of the day, so that a store that was made today is found again today.
    start = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return ((settings.as_of or start) - settings.keep - _EPOCH) // timedelta(microseconds=1)
