"""The terminal and the page: complete, closed in themselves, and silent about customers."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from seqmarket.data.cleaning.rules import RuleCount
from seqmarket.data.quality import QualityReport, render, wording
from seqmarket.data.quality.column_profile import profile_number
from seqmarket.data.quality.columns import IdentifierPatterns
from seqmarket.data.quality.counts import NumberCounts
from seqmarket.data.quality.gate_report import (
    ConsentCounts,
    GateReport,
    IdentityCounts,
    counted,
)
from seqmarket.data.quality.labels import LabelCount, LabelRates
from seqmarket.data.quality.page import render_page

START = datetime(2024, 1, 1)
CUTOFF = datetime(2024, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def report(make_report: Callable[..., QualityReport]) -> QualityReport:
    """Of 41 customers with ids to look for; nine of them use the fax, and one has 4,000 events."""
    log = [
        (
            f"secret-{who}",
            START + timedelta(days=2 * i, hours=who % 24),
            "fax" if i == 7 and who < 9 else ("[web]", "<mail> & more")[i % 2],
            ("purchase", "view")[who % 2],
            1.5 * i,
        )
        for who in range(40)
        for i in range(30)
    ]
    log += [
        ("secret-bot", START + timedelta(minutes=i), "[web]", "view", None) for i in range(4_000)
    ]
    return make_report(
        log,
        rows_in=len(log) + 3 + 14 + 5 + 70,
        quarantined=3,
        reasons={"'time' <b>cannot</b> be read": 3},
        quarantine_path=Path("cache/quarantine.parquet"),
        refused={"consent was withdrawn": 14},
        duplicates=5,
        cleaned=(RuleCount("drop_bots", 70, 0, 3), RuleCount("cap", 0, 12, 0)),
        identifiers=IdentifierPatterns(1_000, 250, 0),
        labels=(
            LabelRates(
                "buy",
                (
                    LabelCount("train", CUTOFF, 400, 123),
                    LabelCount("validation", CUTOFF, 40, 4),
                    LabelCount("test", CUTOFF, 400, 395),
                ),
                {"train": (CUTOFF + timedelta(days=7),), "validation": (), "test": ()},
            ),
            LabelRates("next_channel", (LabelCount("train", None, 5_000, None),), {}),
        ),
    )


def terminal(report: QualityReport, width: int = 160) -> str:
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(render(report))
    return console.export_text()


def test_the_terminal(report: QualityReport) -> None:
    shown = terminal(report)
    for expected in (
        "3 in cache/quarantine.parquet",
        "3 x 'time' <b>cannot</b> be read",
        "14 x consent was withdrawn",
        "drop_bots: 70 events dropped, 0 changed, <10 customers dropped",
        "cap: 0 events dropped, 12 changed",
        "[web] 4,600, <mail> & more 591, others (1 category)",
        "400 rows, 30.8% positive at 1 cutoff, 1 more censored",
        "40 rows, <10 positive at 1 cutoff",
        "400 rows, all but <10 positive",
        "5,000 rows",
        "warning: 1 customer has up to 4,000 events",
    ):
        assert expected in shown
    assert len(shown.splitlines()) < 50
    assert max(map(len, terminal(report, 80).splitlines())) <= 80


@pytest.mark.parametrize("show", [terminal, render_page])
def test_nobody_is_named(report: QualityReport, show: Callable[[QualityReport], str]) -> None:
    shown = show(report)
    assert "secret" not in shown
    assert "fax" not in shown


class Reader(HTMLParser):
    """Checks that every element is closed in order, and gathers text and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += [(key, value or "") for key, value in attrs]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def page(report: QualityReport) -> Reader:
    reader = Reader()
    reader.feed(render_page(report, "a <log>"))
    reader.close()
    return reader


def test_the_page_is_well_formed(page: Reader) -> None:
    assert page.open == []
    assert "".join(page.text).count("a <log>") == 2
    ids = [value for key, value in page.attributes if key == "id"]
    assert len(ids) == len(set(ids))
    targets = {value[1:] for key, value in page.attributes if key == "href"}
    assert targets <= set(ids)


def test_the_page_needs_nothing_else(report: QualityReport, page: Reader) -> None:
    assert not set(page.names) & {"script", "link", "img", "iframe", "object", "embed"}
    assert not re.search(r"https?:|url\(|@import", render_page(report))
    assert all(
        key not in ("src", "srcset") and not key.startswith("on") for key, _ in page.attributes
    )


def test_every_chart_is_described(page: Reader) -> None:
    labelled = [value.split() for key, value in page.attributes if key == "aria-labelledby"]
    ids = {value for key, value in page.attributes if key == "id"}
    assert len(labelled) == 2
    assert all(set(names) <= ids for names in labelled)
    hidden = sum(key == "aria-hidden" for key, _ in page.attributes)
    assert page.names.count("svg") <= len(labelled) + hidden


def test_the_headings_are_in_order(report: QualityReport) -> None:
    heads = re.findall(r"<h2>(.*?)</h2>", render_page(report))
    assert heads == [
        "What to look at first", "Rows", "Time", "Channels", "Customers", "Columns",
        "Identity and privacy", "Labels",
    ]  # fmt: skip


def test_what_is_on_the_page(report: QualityReport, page: Reader) -> None:
    text = " ".join(page.text)
    assert all(
        re.sub(r"\s+", "", warning) in re.sub(r"\s+", "", text) for warning in report.warnings
    )
    for expected in ("<mail> & more", "[web]", "others (1 category)", "<10", "25.0%", "30.8%"):
        assert expected in text
    assert "all but <10" in text


def test_settings_are_set_as_code(report: QualityReport) -> None:
    assert "<code>data.privacy.pseudonyms.enabled=true</code>" in render_page(
        QualityReport(**{**vars(report), "warnings": ("do data.privacy.pseudonyms.enabled=true.",)})
    )


GATE = GateReport(
    identity=IdentityCounts(1_234, 1_230, 1_000, 200, 7, 2, "<10"),
    consent=ConsentCounts(
        "analytics",
        datetime(2024, 6, 1, 12, 30, tzinfo=UTC),
        {"admitted": 950, "consent was withdrawn": "<10"},
        "refused",
    ),
    key_id="0a1b2c3d",
    oldest=datetime(2022, 6, 1, tzinfo=UTC),
    erased="<10",
)


def test_the_gate_is_shown(report: QualityReport) -> None:
    gated = replace(report, gate=GATE)
    shown = terminal(gated)
    for expected in (
        "1,230 identifiers stand for 1,000 customers, <10 in conflict",
        "to analytics, as of 2024-06-01 12:30 UTC: 950 customers of the table admitted",
        "under the key 0a1b2c3d",
        "from 2022-06-01 00:00 UTC on",
        "<10 identifiers in the ledger",
    ):
        assert expected in shown
    reader = Reader()
    reader.feed(render_page(gated))
    assert reader.open == []
    told = [text.strip() for text in reader.text if text.strip()]
    rows = dict(pairwise(told))
    for what, number in (
        ("rows of the mapping table", "1,234"),
        ("customers that more than one of them stands for", "200"),
        ("identifiers in conflict: mapped to several customers", "<10"),
        ("admitted", "950"),
        ("consent was withdrawn", "<10"),
        ("retention", "from 2022-06-01 00:00 UTC on"),
    ):
        assert rows[what] == number


def test_a_gate_that_is_off_is_said_to_be(report: QualityReport) -> None:
    shown = terminal(replace(report, gate=GateReport()))
    for expected in ("each identifier is a customer", "not asked for", "all events", "nobody"):
        assert expected in shown


@pytest.mark.parametrize("gate", [None, GateReport(), GATE])
def test_the_gate_survives_json(report: QualityReport, gate: GateReport | None) -> None:
    gated = replace(report, gate=gate)
    again = QualityReport.from_dict(json.loads(json.dumps(gated.to_dict())))
    assert again.gate == gate
    assert again.to_dict() == gated.to_dict()


def test_small_numbers_of_a_gate_are_not_told() -> None:
    assert [counted(number) for number in (0, 1, 9, 10, 1_000)] == [0, "<10", "<10", 10, 1_000]


def test_what_is_approximate_is_marked(make_report: Callable[..., QualityReport]) -> None:
    log = [
        (f"c{who}", START + timedelta(hours=7 * i + who / 60), "web", "view", value(i))
        for value in (lambda i: 0.01 * (i + 1.0371),)
        for who in range(12)
        for i in range(30)
    ]
    shown = terminal(make_report(log))
    (line,) = [line for line in shown.splitlines() if "value " in line and "median" in line]
    found = re.findall(r"(min|median|p99|max) (\S+?),?(?=\s)", line)
    assert [(name, text.startswith("≈")) for name, text in found] == [
        ("min", False), ("median", True), ("p99", True), ("max", False),
    ]  # fmt: skip
    assert float(dict(found)["median"][1:]) == pytest.approx(0.155, rel=0.18)
    assert re.search(r"time between events.*min 7 h, p25 7 h, median 7 h", shown)
    assert re.search(r"events per customer.*median 30,", shown)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.009961, "≈0.01"),
        (19.961, "≈20"),
        (12_345.6, "≈12,000"),
        (-3.14159, "≈-3.1"),
        (1.2345e-7, "≈1.2e-07"),
        (0.0, "0"),
    ],
)
def test_an_estimate_has_two_digits(value: float, shown: str) -> None:
    assert wording.estimate(value) == shown


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ([5.5] * 20, "5.5"),
        ([1.0, 2.0, 2.0, 2.0, 3.0], "2"),
        ([0.0, 0.0, 0.0, 1.5], "0"),
        ([20.0, 30.0, 40.0, 50.0], "≈3"),
    ],
)
def test_what_is_exact_is_not_marked(numbers: list[float], shown: str) -> None:
    profile = profile_number("value", NumberCounts.of(np.array(numbers)), "event")
    assert wording.quantiles(profile)["median"].startswith(shown)


def test_a_log_of_one_event(make_report: Callable[..., QualityReport]) -> None:
    tiny = make_report([("secret", START, "web", "view", None)])
    reader = Reader()
    reader.feed(render_page(tiny))
    assert reader.open == []
    assert "secret" not in terminal(tiny) + "".join(reader.text)


@pytest.mark.parametrize(
    ("count", "positives", "share"),
    [
        (LabelCount("train", None, 100, 50), "50", "50.0%"),
        (LabelCount("train", None, 100, 9), "<10", "–"),  # noqa: RUF001
        (LabelCount("train", None, 100, 0), "<10", "–"),  # noqa: RUF001
        (LabelCount("train", None, 100, 91), "all but <10", "–"),  # noqa: RUF001
        (LabelCount("train", None, 0, 0), "–", "–"),  # noqa: RUF001
        (LabelCount("train", None, 7, None), "–", "–"),  # noqa: RUF001
    ],
)
def test_few_positives_are_not_told(count: LabelCount, positives: str, share: str) -> None:
    assert (wording.positives(count), wording.positive_share(count)) == (positives, share)


def test_numbers_in_words() -> None:
    assert [wording.duration(days) for days in (0, 1e-6, 1 / 86_400, 0.5, 40)] == [
        "0", "0.0864 s", "1 s", "12 h", "40 d",
    ]  # fmt: skip
    assert [wording.number(x) for x in (3.0, 0.012345, 12_345.6, 1e20)] == [
        "3", "0.01235", "12,346", "1.000e+20",
    ]  # fmt: skip
    assert [wording.share(*x) for x in ((0, 9), (1, 10_000), (1, 3), (1, 0))] == [
        "0.0%", "<0.1%", "33.3%", "–",  # noqa: RUF001
    ]  # fmt: skip
    assert [wording.customers(n) for n in (0, 9, 10, 1_000)] == ["<10", "<10", "10", "1,000"]
