"""What can be set about identity and privacy: `data.identity` and `data.privacy`.

Everything is off until a path is given, pseudonyms are enabled, or a retention is set.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from seqmarket.data.settings import Moment, PositiveDuration, Settings

Purpose = Literal["training", "scoring"]
"""What the log is read for."""

_Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
"""Name of an environment variable; too short to be a key that was set in the wrong place."""


class IdentityColumns(Settings):
    """The name in the user's files of each column of a mapping table.

    Attributes:
        identifier: What may stand in the log: a device, a cookie, the hash of a mail address.
        customer_id: Whose it is; may itself be an identifier of a further row.
    """

    identifier: str = "identifier"
    customer_id: str = "customer_id"


class IdentitySettings(Settings):
    """Which identifiers are the same customer.

    Attributes:
        path: The mapping table: a file, a glob or a folder; null: every identifier is a customer.
        columns: The names of its columns.
        conflicts: What happens to an identifier that is mapped to several customers: `error`
            stops, `drop` leaves its events out, `keep` takes it to be a customer of its own.
    """

    path: str | None = None
    columns: IdentityColumns = IdentityColumns()
    conflicts: Literal["error", "drop", "keep"] = "error"


class ConsentColumns(Settings):
    """The name in the user's files of each column of a consent table; null: there is none.

    Attributes:
        customer_id: Who; an identifier of the mapping table stands for its customer.
        purpose: What for.
        granted_at: From when on; without a time: since ever.
        withdrawn_at: When it was withdrawn; without a time: it was not.
        status: Whether the row grants consent or withdraws it.
    """

    customer_id: str = "customer_id"
    purpose: str = "purpose"
    granted_at: str | None = "granted_at"
    withdrawn_at: str | None = "withdrawn_at"
    status: str | None = None


class ConsentSettings(Settings):
    """Whose events may be used, and for what.

    Attributes:
        path: The consent table: a file, a glob or a folder; null: no consent is asked for.
        columns: The names of its columns.
        granted: The words in the status column that grant; every other one withdraws.
        training_purpose: The purpose that a customer must have consented to for training.
        scoring_purpose: The same for scoring.
        missing: What happens to customers that the table does not name.
        as_of: Statements after this moment are not yet known; null: now. With a moment in the
            past, consent that was withdrawn since still counts: that is for audits.
    """

    path: str | None = None
    columns: ConsentColumns = ConsentColumns()
    granted: tuple[str, ...] = ("granted",)
    training_purpose: str = "analytics"
    scoring_purpose: str = "analytics"
    missing: Literal["refuse", "admit"] = "refuse"
    as_of: Moment | None = None

    def purpose(self, purpose: Purpose) -> str:
        """What a customer must have consented to."""
        return self.training_purpose if purpose == "training" else self.scoring_purpose


class PseudonymSettings(Settings):
    """Whether identifiers are replaced by pseudonyms, which only the holder of a key can make.

    Attributes:
        enabled: Whether they are.
        key_env: Environment variable with the key, at least 64 hexadecimal digits (32 bytes).
        key_file: File with the key, in the same form; null: `key_env` counts.
    """

    enabled: bool = False
    key_env: _Variable = "SEQMARKET_PSEUDONYM_KEY"
    key_file: str | None = None


class RetentionSettings(Settings):
    """How long events may be used.

    Attributes:
        keep: Events older than that are not admitted; null: all are.
        as_of: The moment from which it is counted back; null: the start of the present UTC day.
    """

    keep: PositiveDuration | None = None
    as_of: Moment | None = None


class PrivacySettings(Settings):
    """What customers' data must fulfil before anything is stored.

    Attributes:
        consent: Whose events may be used, and for what.
        pseudonyms: Whether identifiers are replaced.
        retention: How long events may be used.
        ledger: The file of the erasures, whose customers are not admitted; relative to the folder
            that commands are run in, and made by the first `erase`.
    """

    consent: ConsentSettings = ConsentSettings()
    pseudonyms: PseudonymSettings = PseudonymSettings()
    retention: RetentionSettings = RetentionSettings()
    ledger: str = Field("erasures.jsonl", min_length=1)
