"""What a log turned out to hold: an exact account of its rows, and a profile of what was kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from seqmarket.data.cleaning.rules import RuleCount
from seqmarket.data.quality.columns import ColumnRead, IdentifierPatterns
from seqmarket.data.quality.gate_report import GateReport
from seqmarket.data.quality.labels import LabelRates
from seqmarket.data.quality.profile import LogProfile
from seqmarket.data.quality.unseen import UnseenCategories


@dataclass(frozen=True)
class QualityReport:
    """How a log was read.

    Every row is accounted for: `rows_in` is the sum of `kept`, `quarantined`, `dropped`,
    `duplicates`, the rows in `refused` and the events that the rules in `cleaned` dropped.

    Attributes:
        rows_in: Rows that the source held.
        kept: Rows in the log.
        quarantined: Rows that broke a rule and were written to `quarantine_path`.
        dropped: Rows that broke a rule and were dropped.
        duplicates: Rows that repeated an earlier one and were dropped.
        reasons: Rule -> number of rows that broke it (of a row, the first rule it broke).
        quarantine_path: The Parquet file with the quarantined rows, if there are any.
        profile: The kept log in numbers.
        warnings: What looks suspicious but breaks no rule, each in plain words on one line.
        refused: Reason -> rows that the privacy gate did not admit.
        cleaned: What each rule of `data.cleaning` did, in order.
        columns_read: The columns of the rows that break no rule, before the gate.
        identifiers: What the identifiers before the gate look like.
        unseen: Categories that occur after the training period only.
        labels: Label rates of each task.
        gate: What the gate was set to that the log was found by.
    """

    rows_in: int
    kept: int
    quarantined: int
    dropped: int
    duplicates: int
    reasons: dict[str, int]
    quarantine_path: Path | None
    profile: LogProfile
    warnings: tuple[str, ...] = field(default=())
    refused: dict[str, int] = field(default_factory=dict)
    cleaned: tuple[RuleCount, ...] = field(default=())
    columns_read: dict[str, ColumnRead] = field(default_factory=dict)
    identifiers: IdentifierPatterns | None = None
    unseen: tuple[UnseenCategories, ...] = field(default=())
    labels: tuple[LabelRates, ...] = field(default=())
    gate: GateReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, strings and numbers only, ready for JSON."""
        plain: dict[str, Any] = _adapter().dump_python(self, mode="json")
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> QualityReport:
        """The inverse of `to_dict`, also after a round trip through JSON."""
        return _adapter().validate_python(plain)


@cache
def _adapter() -> TypeAdapter[QualityReport]:
    return TypeAdapter(QualityReport)
