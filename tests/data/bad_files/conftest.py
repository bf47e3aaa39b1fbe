"""Logs with something wrong in them, and what docs/data-problems.md promises of each.

A test names its row of that page in its docstring. The row says what becomes of the log, the words
that the user reads, and the setting that mends it; `Log` holds the outcome against all three.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest

from seqmarket.data.event_log import EventLog
from seqmarket.data.log_settings import LogSettings
from seqmarket.data.prepare import Workshop, prepare_log, prepare_store
from seqmarket.data.quality import QualityReport
from seqmarket.data.settings import EncodingSettings, SplitSettings
from seqmarket.data.sources.files import FileSource
from seqmarket.data.store import SequenceStore
from seqmarket.errors import SeqmarketError

PAGE = Path(__file__).parents[3] / "docs" / "data-problems.md"
SECRET = "k4711"
"""In every identifier of a good log, and in no message."""

HEADER = "customer_id,time,channel,event_type,value"
N = 60
"""Rows of a good log, in the lines 2 to 61 of a CSV file."""


class Promise(NamedTuple):
    """A row of the page.

    Attributes:
        outcome: `refused`, `row set aside`, `read` or `warning`.
        words: What the message or the warning says.
        remedies: What its fix names.
    """

    outcome: str
    words: tuple[str, ...]
    remedies: tuple[str, ...]


def promises() -> dict[str, Promise]:
    """The rows of the page, by their first cell."""
    quoted = re.compile(r"`([^`]+)`")
    found: dict[str, Promise] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("|") or len(cells) != 4 or cells[1] in ("Outcome", "---"):
            continue
        assert cells[0] not in found
        words, remedies = (tuple(quoted.findall(cell)) for cell in cells[2:])
        found[cells[0]] = Promise(cells[1], words, remedies)
    return found


def account(report: QualityReport, rows: int) -> None:
    """Every row that was written is somewhere."""
    cleaned = sum(rule.events_dropped for rule in report.cleaned)
    lost = report.quarantined + report.dropped + report.duplicates + sum(report.refused.values())
    assert report.rows_in == rows
    assert report.kept + lost + cleaned == rows
    assert sum(report.reasons.values()) == report.quarantined + report.dropped


class Log:
    """A log in a folder of its own, read as `prepare` reads it."""

    n = N
    header = HEADER
    account = staticmethod(account)

    def __init__(self, root: Path, promise: Promise, said: Callable[[], str]) -> None:
        self.folder = root / "in"
        self.folder.mkdir()
        self._root, self._promise, self._said = root, promise, said
        self._runs = 0

    def csv(self, *extra: str, header: str = HEADER, good: Sequence[str] | None = None) -> str:
        """A good log in text, and these lines after it, the first one in line 62."""
        lines = [header, *(self.lines if good is None else good), *extra]
        return "".join(f"{line}\n" for line in lines)

    @property
    def lines(self) -> list[str]:
        """The rows of a good log."""
        return self.frame().select(pl.concat_str(pl.all(), separator=",")).to_series().to_list()

    def frame(self, **columns: Any) -> pl.DataFrame:
        """A good log as a table, with these columns replaced or added."""
        start = datetime(2024, 1, 1, 9)
        times = [start + i * timedelta(hours=7, minutes=13, seconds=17) for i in range(N)]
        good: dict[str, Any] = {
            "customer_id": [f"{SECRET}-{i % 20:02d}" for i in range(N)],
            "time": times,
            "channel": ["web", "mail"] * (N // 2),
            "event_type": ["purchase", "visit", "visit"] * (N // 3),
            "value": [i + 0.5 for i in range(N)],
        }
        return pl.DataFrame(good | columns, strict=False)

    def write(self, content: str | bytes | pl.DataFrame, name: str = "log.csv") -> Path:
        """Writes a file; a table in the format of the suffix."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, pl.DataFrame):
            writers = {".csv": content.write_csv, ".arrow": content.write_ipc}
            writers.get(path.suffix, content.write_parquet)(path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def refused(
        self,
        where: str = "log.csv",
        *,
        path: Path | None = None,
        every_row: bool = False,
        validation: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """The log is not read, whatever the policy; if every row is broken, none is left."""
        assert self._promise.outcome == "refused"
        for policy in ("error", "quarantine", "drop"):
            with pytest.raises(SeqmarketError) as caught:
                self._open(path, {**(validation or {}), "policy": policy}, options)
            if every_row and policy != "error":
                assert "the log holds no event" in caught.value.what
                assert "rows break a rule" in caught.value.what
            else:
                self._check(caught.value, where)

    def not_encoded(self) -> None:
        """The log is read, and cannot be divided into training, validation and test."""
        assert self._promise.outcome == "refused"
        source, settings, workshop = self._source(None, {}, {})
        with pytest.raises(SeqmarketError) as caught:
            prepare_store(source, settings, SplitSettings(), EncodingSettings(), workshop)
        self._check(caught.value, "data.split")

    def encoded(self, **options: Any) -> SequenceStore:
        """The store of the log."""
        source, settings, workshop = self._source(None, {}, options)
        return prepare_store(source, settings, SplitSettings(), EncodingSettings(), workshop)

    def set_aside(
        self,
        n: int = 1,
        *,
        where: str = "log.csv, line 62",
        rows: int = N + 1,
        path: Path | None = None,
        validation: dict[str, Any] | None = None,
        **options: Any,
    ) -> EventLog:
        """With the default policy the log is refused; with the others, n rows are left out."""
        assert self._promise.outcome == "row set aside"
        given = validation or {}
        with pytest.raises(SeqmarketError) as caught:
            self._open(path, given, options)
        self._check(caught.value, where)
        assert "data.validation.policy=quarantine" in str(caught.value.fix)

        log = self._open(path, {**given, "policy": "quarantine"}, options)
        account(log.report, rows)
        assert (log.report.quarantined, log.report.dropped) == (n, 0)
        assert log.report.quarantine_path is not None
        aside = pl.read_parquet(log.report.quarantine_path)
        assert len(aside) == n
        assert all(self._promise.words[0] in reason for reason in aside["reason"])
        unit = "line" if "line" in where else "row"
        assert f"{Path(aside['file'][0]).name}, {unit} {aside['row'][0]}" == where

        dropped = self._open(path, {**given, "policy": "drop"}, options)
        account(dropped.report, rows)
        assert (dropped.report.quarantined, dropped.report.dropped) == (0, n)
        events = log.frame.collect()
        assert dropped.frame.collect().equals(events)
        assert len(events) == log.report.kept
        if where == "log.csv, line 62":  # none of the lines before it is missing
            assert events["customer_id"].str.contains(SECRET).sum() == N
        return log

    def read(
        self,
        rows: int = N,
        *,
        kept: int | None = None,
        path: Path | None = None,
        validation: dict[str, Any] | None = None,
        **options: Any,
    ) -> pl.DataFrame:
        """The log is read, with the warnings that are promised; returns its events."""
        assert self._promise.outcome in ("read", "warning")
        log = self._open(path, validation or {}, options)
        account(log.report, rows)
        assert log.report.kept == (rows if kept is None else kept)
        warnings = "\n".join(log.report.warnings)
        assert bool(warnings) == (self._promise.outcome == "warning"), warnings
        if warnings:
            for word in (*self._promise.words, *self._promise.remedies):
                assert word in warnings
        events = log.frame.collect()
        assert len(events) == log.report.kept
        return events

    def mended(self, rows: int = N, *, path: Path | None = None, **options: Any) -> pl.DataFrame:
        """What the page says mends it, does: all rows are kept."""
        log = self._open(path, {}, options)
        account(log.report, rows)
        assert log.report.kept == rows
        return log.frame.collect()

    def _open(
        self, path: Path | None, validation: dict[str, Any], options: dict[str, Any]
    ) -> EventLog:
        log = prepare_log(*self._source(path, validation, options), "training")
        assert SECRET not in json.dumps(log.report.to_dict()).replace(str(self._root), "")
        assert SECRET not in self._said()
        return log

    def _source(
        self, path: Path | None, validation: dict[str, Any], options: dict[str, Any]
    ) -> tuple[FileSource, LogSettings, Workshop]:
        self._runs += 1
        files = list(self.folder.iterdir())
        given = path or (files[0] if len(files) == 1 else self.folder)
        source = FileSource.model_validate({"path": str(given), **options})
        settings = LogSettings.model_validate({"validation": validation})
        return source, settings, Workshop(self._root / f"cache-{self._runs}")

    def _check(self, error: SeqmarketError, where: str) -> None:
        for word in self._promise.words:
            assert word in error.what
        for remedy in self._promise.remedies:
            assert remedy in str(error.fix)
        assert where in str(error.where)
        assert error.fix or not self._promise.remedies
        assert SECRET not in str(error)
        assert SECRET not in self._said()


@pytest.fixture
def log(request: pytest.FixtureRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Log:
    caplog.set_level(logging.DEBUG, "seqmarket")
    name = request.function.__doc__
    return Log(tmp_path, promises()[name], lambda: caplog.text)


@pytest.fixture(scope="session")
def promised() -> dict[str, Promise]:
    return promises()
