"""The quality report as one HTML file that needs nothing else: no network, no script."""

from __future__ import annotations

import re
from collections.abc import Sequence

from seqmarket.data.quality import wording
from seqmarket.data.quality.labels import LabelRates
from seqmarket.data.quality.page_columns import channels, columns
from seqmarket.data.quality.page_journeys import customers, time
from seqmarket.data.quality.page_privacy import privacy
from seqmarket.data.quality.report import QualityReport
from seqmarket.page.frame import Section, render
from seqmarket.page.markup import Markup, bar, join, table, tag

_SETTING = re.compile(r"\b(?:data\.[a-z_.]*[a-z_](?:=[\w.]*\w)?|[a-z_]+=\w+)")


def render_page(report: QualityReport, name: str = "") -> str:
    """The report as an HTML page.

    Args:
        report: What a log turned out to hold.
        name: Of the log.
    """
    title = f"Data quality: {name}" if name else "Data quality"
    sections = (
        Section("first", "What to look at first", _verdict(report)),
        Section("rows", "Rows", _rows(report)),
        Section("time", "Time", time(report.profile)),
        Section("channels", "Channels", channels(report.profile)),
        Section("customers", "Customers", customers(report.profile)),
        Section("columns", "Columns", columns(report)),
        Section("privacy", "Identity and privacy", privacy(report)),
        Section("labels", "Labels", _labels(report.labels)),
    )
    profile = report.profile
    summary = (
        f"{report.kept:,} events of {profile.customers:,} customers, "
        f"{profile.first_time:%Y-%m-%d} to {profile.last_time:%Y-%m-%d}."
    )
    return render(title, title, summary, sections)


def _verdict(report: QualityReport) -> Markup:
    if not report.warnings:
        return tag("p", "Nothing looks suspicious.", class_="fine")
    items = (tag("li", _with_settings(warning)) for warning in report.warnings)
    return tag("ol", *items, class_="warnings")


def _with_settings(text: str) -> Markup:
    """The text with the settings in it set as code."""
    pieces: list[str] = []
    end = 0
    for match in _SETTING.finditer(text):
        pieces += [text[end : match.start()], tag("code", match[0])]
        end = match.end()
    return join([*pieces, text[end:]])


def _rows(report: QualityReport) -> Markup:
    rows: list[Sequence[str]] = [_row("read", report.rows_in, report)]
    for loss in wording.losses(report):
        rows.append(_row(loss.cause, loss.rows, report))
        rows += [_row(f"  {reason}", number, report) for reason, number in loss.reasons.items()]
    rows.append(_row("kept", report.kept, report))
    content = [
        table("What became of the rows", ("", "rows", "share", ""), rows, class_="account"),
    ]
    if report.quarantine_path:
        where = tag("code", str(report.quarantine_path))
        content.append(tag("p", "The quarantined rows, each with its reason, are in ", where, "."))
    if report.cleaned:
        rules = (
            (
                f"{place}. {rule.rule}",
                f"{rule.events_dropped:,}",
                f"{rule.events_changed:,}",
                wording.customers(rule.customers_dropped) if rule.customers_dropped else "0",
            )
            for place, rule in enumerate(report.cleaned, start=1)
        )
        heads = ("rule", "events dropped", "events changed", "customers dropped")
        content.append(table("Cleaning rules, in the order of data.cleaning", heads, rules))
    return join(content)


def _row(what: str, rows: int, report: QualityReport) -> tuple[str, ...]:
    name = tag("span", what.strip(), class_="reason") if what.startswith(" ") else what
    portion = wording.share(rows, report.rows_in)
    return name, f"{rows:,}", portion, bar(rows, report.rows_in)


def _labels(labels: Sequence[LabelRates]) -> Markup:
    if not labels:
        return tag("p", "No labels were made for this report.", class_="quiet")
    content: list[Markup] = []
    for rates in labels:
        rows = []
        for fold in rates.folds:
            count = wording.total(rates, fold)
            at_cutoffs = fold in rates.censored
            late = rates.censored.get(fold, ())
            until = f" (from {late[0]:%Y-%m-%d})" if late else ""
            rows.append(
                (
                    fold,
                    f"{len(rates.of(fold)):,}" if at_cutoffs else wording.NOTHING,
                    f"{len(late):,}{until}" if at_cutoffs else wording.NOTHING,
                    f"{count.rows:,}",
                    wording.positives(count),
                    wording.positive_share(count),
                )
            )
        heads = ("fold", "cutoffs", "censored cutoffs", "rows", "positive", "share")
        content += [tag("h3", rates.task), table(f"Labels of {rates.task}", heads, rows)]
        cutoffs = [count for count in rates.counts if count.cutoff is not None]
        if cutoffs:
            each = (
                (
                    f"{count.cutoff:%Y-%m-%d %H:%M}",
                    count.fold,
                    wording.customers(count.rows),
                    wording.positives(count),
                    wording.positive_share(count),
                )
                for count in cutoffs
            )
            detail = table(
                f"Labels of {rates.task} at each cutoff",
                ("cutoff (UTC)", "fold", "customers", "positive", "share"),
                each,
                text_columns=2,
            )
            content.append(tag("details", tag("summary", "Each cutoff"), detail))
    content.append(
        tag(
            "p",
            "A cutoff is censored where its label window would run past the end of its fold: it "
            "gets no label, neither positive nor negative.",
            class_="quiet",
        )
    )
    return join(content)
