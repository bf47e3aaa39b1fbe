"""The section of the page about the gate: whose events may be used, and under what name."""

from __future__ import annotations

from collections.abc import Iterator

from seqmarket.data.quality import wording
from seqmarket.data.quality.column_profile import SMALL_CELL
from seqmarket.data.quality.gate_report import ConsentCounts, GateReport, IdentityCounts
from seqmarket.data.quality.report import QualityReport
from seqmarket.page.markup import Markup, facts, join, table, tag


def privacy(report: QualityReport) -> Markup:
    """What the identifiers look like, what the gate was set to, and what it refused."""
    content = [*_identifiers(report), *_gate(report.gate)]
    refused = sum(report.refused.values())
    if refused:
        content.append(
            tag("p", f"The privacy gate refused {refused:,} rows; the reasons are listed above.")
        )
    content.append(
        tag(
            "p",
            "This page names no customer. What fewer than "
            f"{SMALL_CELL} customers have in common is not told apart: such categories are among "
            f"the others, and such numbers of customers are written <{SMALL_CELL}.",
        )
    )
    return join(content)


def _identifiers(report: QualityReport) -> Iterator[Markup]:
    found = report.identifiers
    if found is not None and found.rows:
        items = (
            ("look like an e-mail address", found.emails),
            ("look like a telephone number", found.phones),
        )
        yield tag("p", "Identifiers as read, by the share of rows that carry them:")
        yield facts((name, wording.share(part, found.rows)) for name, part in items)


def _gate(gate: GateReport | None) -> Iterator[Markup]:
    if gate is None:
        return
    yield table(
        "The privacy gate", ("", "as it was set"), wording.gate_settings(gate), text_columns=2
    )
    if gate.identity is not None:
        yield _identity(gate.identity)
    if gate.consent is not None:
        yield _consent(gate.consent)


def _identity(counts: IdentityCounts) -> Markup:
    rows = (
        ("rows of the mapping table", counts.rows),
        ("identifiers that stand for another customer", counts.identifiers),
        ("customers that they stand for", counts.customers),
        ("customers that more than one of them stands for", counts.merged),
        ("most identifiers of one customer", counts.most_identifiers),
        ("most rows from an identifier to its customer", counts.longest_chain),
        ("identifiers in conflict: mapped to several customers", counts.conflicts),
    )
    return table(
        "Identities that were merged", ("", "number"), ((what, wording.told(n)) for what, n in rows)
    )


def _consent(counts: ConsentCounts) -> Markup:
    rows = ((reason, wording.told(number)) for reason, number in counts.customers.items())
    return table("Consents recorded", ("customers", "number"), rows)
