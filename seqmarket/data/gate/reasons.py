"""Why an event does not pass the gate."""

from __future__ import annotations

ADMITTED, AMBIGUOUS, UNRECORDED, OTHER_PURPOSE, WITHDRAWN, TOO_OLD, ERASED = range(7)
"""Codes of reasons, indices into `REASONS`."""

REASONS = (
    "admitted",
    "the identifier is mapped to several customers",
    "no consent is recorded",
    "there is no consent to the purpose",
    "consent was withdrawn",
    "the event is older than the retention",
    "the customer's data were erased",
)
