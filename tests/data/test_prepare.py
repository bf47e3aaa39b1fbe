"""What is made already is found again, without starting anything; and it says what admitted it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from seqmarket.data import prepare
from seqmarket.data.engine.executor import Executor
from seqmarket.data.gate.ledger import Ledger
from seqmarket.data.gate.settings import PrivacySettings
from seqmarket.data.log_settings import LogSettings
from seqmarket.data.prepare import Workshop, prepare_log, prepare_store
from seqmarket.data.quality.gate_report import GateReport
from seqmarket.data.settings import EncodingSettings, SplitSettings
from seqmarket.data.sources.synthetic import SyntheticJourneys
from seqmarket.data.store import SequenceStore, open_store

SOURCE = SyntheticJourneys(n_customers=30, days=120, seed=3)


@dataclass(frozen=True)
class Counting(Workshop):
    """Counts how often it starts what the stages run on."""

    started: list[int] = field(default_factory=list)

    @contextmanager
    def executor(self) -> Iterator[Executor]:
        self.started.append(1)
        with super().executor() as running:
            yield running


@pytest.fixture
def workshop(tmp_path: Path) -> Counting:
    return Counting(tmp_path / "cache")


def log_of(workshop: Workshop) -> None:
    prepare_log(SOURCE, LogSettings(), workshop, "scoring")


def store_of(workshop: Workshop, ledger: Path = Path("none")) -> SequenceStore:
    settings = LogSettings(privacy=PrivacySettings(ledger=str(ledger)))
    return prepare_store(SOURCE, settings, SplitSettings(), EncodingSettings(), workshop)


def check_a_cached_one_starts_nothing(
    made: Callable[[Workshop], object], workshop: Counting
) -> None:
    made(workshop)
    assert len(workshop.started) == 1
    made(workshop)
    assert len(workshop.started) == 1


@pytest.mark.parametrize("made", [log_of, store_of])
def test_what_is_cached_starts_nothing(
    made: Callable[[Workshop], object], workshop: Counting
) -> None:
    check_a_cached_one_starts_nothing(made, workshop)


def test_mutant_that_starts_before_it_looks(
    workshop: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = prepare._prepare_log

    def eager(source, settings, workshop, gate, executor):  # type: ignore[no-untyped-def]
        with executor():
            return original(source, settings, Workshop(workshop.cache_dir), gate, executor)

    monkeypatch.setattr(prepare, "_prepare_log", eager)
    with pytest.raises(AssertionError):
        check_a_cached_one_starts_nothing(log_of, workshop)


def test_a_store_of_a_cached_log_starts_it_once(workshop: Counting) -> None:
    log_of(workshop)
    store_of(workshop)
    assert len(workshop.started) == 2


def test_a_store_says_what_admitted_it_also_when_it_is_found_again(
    workshop: Counting, tmp_path: Path
) -> None:
    ledger = tmp_path / "erasures.jsonl"
    made = store_of(workshop, ledger)
    found = store_of(workshop, ledger)
    assert made.gate == found.gate
    assert found.gate is not None
    assert found.gate.parts == {}
    assert found.report["gate"] == GateReport().to_dict()
    Ledger(ledger).enter(["nobody"], 1)
    after = store_of(workshop, ledger)
    assert after.gate is not None
    assert found.gate.changes(after.gate) == {"ledger": (None, after.gate.parts["ledger"])}
    assert after.report["gate"]["erased"] == "<10"
    assert open_store(after.path).gate is None


def test_a_log_says_it_too(workshop: Counting) -> None:
    for _ in range(2):
        log = prepare_log(SOURCE, LogSettings(), workshop, "scoring")
        assert log.report.gate == GateReport()
