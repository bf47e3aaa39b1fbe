"""The report is one whole file that needs nothing else, holds no identifier, and fits a screen."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from seqmarket.comparison.checks import checklist
from seqmarket.comparison.contest import run_contest
from seqmarket.comparison.matched import match
from seqmarket.comparison.report import Report
from seqmarket.errors import SeqmarketError

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture
def report(make_run, contend) -> Report:
    contenders = [
        contend("gru <b>&", make_run(seed=1), make_run(seed=2)),
        contend("lstm", make_run(name="lstm", seed=3, noise=0.2, config={"model": {"x": "=1"}})),
    ]
    return Report(run_contest(contenders, match(contenders), n_resamples=100))


@pytest.fixture
def written(report, tmp_path) -> Path:
    folder = tmp_path / "out" / "report"
    report.write(folder)
    return folder


class Balance(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        if tag != "meta":
            self.open.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_startendtag(self, tag, attrs) -> None:
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(written) -> None:
    page = (written / "report.html").read_text()
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    assert len(balance.ids) == len(set(balance.ids))
    assert not re.search(r"<script|<link|@import|url\(|https?:", page)
    assert "gru &lt;b&gt;&amp;" in page
    assert "<b>" not in page


def test_the_page_answers_what_a_reviewer_asks(written) -> None:
    page = (written / "report.html").read_text()
    for section in ("Verdict", "Results", "Curves", "Where it holds", "What changed", "leakage"):
        assert section in page
    for title in ("ROC, churn", "Precision and recall, churn", "Calibration, churn", "gain, churn"):
        assert title in page
    assert "Label-shuffle canary" in page
    assert "Standard error of the difference, computed in two ways" in page


def test_tables_and_figures_are_beside_it(written) -> None:
    about = json.loads((written / "about.json").read_text())
    assert about["tasks"]["churn"]["metric"] == "auroc"
    assert set(about["tasks"]["churn"]["verdicts"]) == {"lstm"}
    assert about["restricted"] == []
    assert [len(contender["runs"]) for contender in about["contenders"]] == [2, 1]
    for name in ("results", "slices", "changes", "checks"):
        assert len(pl.read_parquet(written / f"{name}.parquet"))
    assert "'=1" in (written / "changes.csv").read_text()  # no live formula
    plots = {path.name for path in (written / "plots").iterdir()}
    assert plots == {
        "differences.png",
        *(f"churn_{kind}.png" for kind in ("roc", "precision_recall", "calibration", "lift")),
    }


def test_no_customer_is_in_it(written) -> None:
    for path in written.rglob("*.parquet"):
        assert "customer" not in pl.read_parquet_schema(path)


def test_another_folder_is_not_written_over(report, tmp_path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(SeqmarketError, match="something else already"):
        report.write(tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def outcomes(contenders) -> dict[str, str]:
    contest = run_contest(contenders, match(contenders, restrict=True), n_resamples=100)
    return {check.name: check.outcome for check in checklist(contest)}


def test_what_is_sound_holds(make_run, contend) -> None:
    found = outcomes([contend("a", make_run()), contend("b", make_run(seed=2))])
    assert set(found.values()) == {"holds", "fact"}


def test_a_leak_is_seen(make_run, contend) -> None:
    """Each check has data that fail it."""
    a, b = make_run(noise=0.0), make_run(seed=2)
    label = a.predictions.with_columns(
        probability=pl.when(pl.col("task") == "churn")
        .then(pl.col("label").cast(pl.Float64, strict=False))
        .otherwise("probability")
    )
    a.__dict__["predictions"] = label
    for run in (a, b):
        rows = run.rows.with_columns(recency=pl.col("recency") - 1)
        run.__dict__["rows"] = rows
        run.terms["split"]["periods"]["test"] = [
            "2026-03-02T00:00:00+00:00",
            "2026-03-30T00:00:00+00:00",
        ]
    found = outcomes([contend("a", a), contend("b", b, b)])
    assert found["Nothing is too good to be true"] == "look"
    assert found["No row knows the future, none is asked twice"] == "look"
    assert found["Label windows lie within the test"] == "look"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [420, 1280])
@pytest.mark.parametrize("scheme", [0, 1])
def test_the_page_fits_the_screen_in_both_schemes(written, tmp_path, width, scheme) -> None:
    """Nothing is wider than the screen, and the colours follow the scheme that is asked for."""
    page = (written / "report.html").read_text()
    measure = (
        "<script>document.title=[document.documentElement.scrollWidth-innerWidth,"
        "getComputedStyle(document.body).backgroundColor].join('|')</script></body>"
    )
    measured = tmp_path / "measured.html"
    measured.write_text(page.replace("</body>", measure))
    result = subprocess.run(
        [
            str(CHROMIUM),
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            f"--blink-settings=preferredColorScheme={scheme}",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={width},900",
            "--dump-dom",
            measured.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    title = re.search(r"<title>(.*?)</title>", result.stdout)
    assert title is not None
    overflow, colour = title[1].split("|")
    assert int(overflow) <= 0
    dark = int(colour.removeprefix("rgb(").partition(",")[0]) < 128
    assert dark == (scheme == 0)
