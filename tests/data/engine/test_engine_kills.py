"""Killed at any moment: what is there is complete, and what is made after is the same."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import seqmarket
from seqmarket.data.event_log import open_log
from seqmarket.data.store import open_store

# Prepares a store, and says so: what it waits for, what it has built, and the fingerprint. What
# `hold` names is where it stays, holding the lock.
CHILD = """
import json, logging, sys, time
from pathlib import Path
from seqmarket.data import prepare
from seqmarket.data.log_settings import LogSettings
from seqmarket.data.settings import EncodingSettings, ResourceSettings, SplitSettings
from seqmarket.data.sources.files import FileSource

source, cache, hold = sys.argv[1:]
built = []

def say(*words):
    print(*words, flush=True)

def counted(name):
    build = getattr(prepare, name)
    def call(*arguments, **options):
        built.append(name)
        if name == hold:
            say("holding")
            time.sleep(600)
        return build(*arguments, **options)
    setattr(prepare, name, call)

class Says(logging.Handler):
    def emit(self, record):
        say("waiting" if "waiting" in record.getMessage() else "adding")

counted("build_log")
counted("write_store")
logging.getLogger("seqmarket").addHandler(Says())
logging.getLogger("seqmarket").setLevel(logging.INFO)
say("ready")
sys.stdin.readline()
store = prepare.prepare_store(
    FileSource.model_validate_json(source), LogSettings(), SplitSettings(),
    EncodingSettings(max_length=8),
    prepare.Workshop(Path(cache), resources=ResourceSettings(shards=6, threads=2)),
)
say(json.dumps([store.fingerprint, *built]))
"""


class Child:
    """A process that is ready to prepare a store, and begins when it is told to."""

    def __init__(self, source: Any, cache: Path, hold: str = "") -> None:
        root = str(Path(seqmarket.__file__).parents[1])
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, source.model_dump_json(), str(cache), hold],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": root},
        )
        self.expect("ready")

    def begin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def expect(self, word: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == word

    def result(self) -> list[str]:
        """The fingerprint, and what was built."""
        out, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == 0
        found: list[str] = json.loads(out.splitlines()[-1])
        return found

    def kill(self) -> bool:
        """Whether it was killed before it came to its end."""
        self.process.kill()
        self.process.communicate()
        return self.process.returncode < 0


@pytest.fixture(scope="module")
def source(journal: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("kills") / "log"
    pieces = [journal.rows(seed, 2_500, customers=400, plain=True) for seed in range(3)]
    journal.write(folder, pieces, "parquet")
    return journal.source(folder)


@pytest.fixture
def children(source: Any, tmp_path: Path) -> Iterator[Any]:
    """Starts children with one cache; none outlives the test."""
    started: list[Child] = []

    def start(hold: str = "") -> Child:
        started.append(Child(source, tmp_path / "cache", hold))
        return started[-1]

    yield start
    for child in started:
        child.kill()


def is_complete_or_absent(cache: Path) -> None:
    """Every folder without a full stop in front can be opened."""
    for path in (cache / "stores").glob("[!.]*"):
        open_store(path)
    for path in (cache / "logs").glob("[!.]*"):
        open_log(path)


def leftovers(cache: Path) -> list[Path]:
    return [path for path in cache.glob("*/.*") if path.suffix != ".lock"]


def survive(kills: int, journal: Any, source: Any, cache: Path) -> int:
    """Kills so many children that encode; returns how many left something behind."""
    rng = random.Random(kills)
    child = Child(source, cache)
    began = time.monotonic()
    child.begin()
    wanted = child.result()[0]
    duration = time.monotonic() - began
    done = dirty = 0
    while done < kills:
        # A store of its own, of a log that may be there already.
        shutil.rmtree(cache / "stores", ignore_errors=True)
        if rng.random() < 0.7:
            shutil.rmtree(cache / "logs", ignore_errors=True)
        child = Child(source, cache)
        child.begin()
        time.sleep(rng.random() * duration)
        done += child.kill()
        is_complete_or_absent(cache)
        dirty += bool(leftovers(cache))
        if rng.random() < 0.5 or done == kills:
            assert journal.prepare(source, cache, shards=6).fingerprint == wanted
            assert leftovers(cache) == []
    return dirty


def test_three_kills(journal: Any, source: Any, tmp_path: Path) -> None:
    survive(3, journal, source, tmp_path)


@pytest.mark.slow
def test_twenty_kills(journal: Any, source: Any, tmp_path: Path) -> None:
    assert survive(20, journal, source, tmp_path) > 5


def test_four_at_once_encode_once(children: Any) -> None:
    four = [children() for _ in range(4)]
    for child in four:
        child.begin()
    results = [child.result() for child in four]
    assert len({fingerprint for fingerprint, *_ in results}) == 1
    assert sorted(name for _, *built in results for name in built) == ["build_log", "write_store"]


@pytest.mark.parametrize("hold", ["build_log", "write_store"])
def test_who_dies_lets_go_of_the_lock(children: Any, hold: str) -> None:
    first, second = children(hold), children()
    first.begin()
    first.expect("holding")
    second.begin()
    second.expect("waiting")
    first.kill()
    assert "write_store" in second.result()
