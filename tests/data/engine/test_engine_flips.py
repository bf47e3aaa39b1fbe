"""A flipped bit, anywhere in a store or a log, is noticed before anything is made of it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from seqmarket.data import files
from seqmarket.data.event_log import open_log
from seqmarket.data.log_settings import LogSettings
from seqmarket.data.settings import SplitSettings
from seqmarket.data.store import open_store
from seqmarket.errors import SeqmarketError

Opener = Callable[[Path], Any]


@pytest.fixture(scope="module")
def made(journal: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Opener]:
    """A store, and its log before and after cleaning; each with what opens it."""
    folder = tmp_path_factory.mktemp("flips")
    journal.write(folder / "log", [journal.rows(5, 300, customers=30)])
    cleaning = {"rule": "drop_bots", "total": 200}
    store = journal.prepare(
        journal.source(folder / "log"),
        folder / "cache",
        settings=LogSettings.model_validate({"cleaning": [cleaning]}),
        split=SplitSettings(kind="time_and_customer"),
        shards=2,
    )
    [log] = (folder / "cache" / "logs").glob("[!.]*")
    return {store.path: open_store, log: open_log}


def every_file(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@contextmanager
def flipped(file: Path, bit: int) -> Iterator[None]:
    content = file.read_bytes()
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    file.write_bytes(changed)
    try:
        yield
    finally:
        file.write_bytes(content)


def refusals(made: dict[Path, Opener], n: int) -> int:
    """How many of n flipped bits are refused, in random places of random files."""
    rng = random.Random(1)
    places = [(file, opener) for folder, opener in made.items() for file in every_file(folder)]
    assert len(places) > 20
    refused = 0
    for _ in range(n):
        file, opener = rng.choice(places)
        with flipped(file, rng.randrange(8 * file.stat().st_size)):
            try:
                opener(file.parent if file.parent in made else file.parent.parent)
            except SeqmarketError as error:
                refused += "is damaged" in str(error)
    return refused


def test_two_hundred_bits_are_refused(made: dict[Path, Opener]) -> None:
    assert refusals(made, 200) == 200
    for folder, opener in made.items():
        opener(folder)  # and what is whole is opened


def test_mutant_that_trusts_one_file_lets_some_through(
    made: dict[Path, Opener], monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = files._hashes

    def trusting(folder: Path) -> dict[str, str]:
        written = json.loads((folder / files.MANIFEST).read_text())["files"]
        kept = {name: written[name] for name in ("customer_id_bytes.npy",) if name in written}
        return hashes(folder) | kept

    monkeypatch.setattr(files, "_hashes", trusting)
    assert refusals(made, 200) < 200


@pytest.mark.parametrize("byte", [0, 1, 20, 400, -66, -2, -1])
def test_the_manifest_vouches_for_itself(made: dict[Path, Opener], byte: int) -> None:
    for folder, opener in made.items():
        file = folder / files.MANIFEST
        for bit in range(8):
            at = byte % file.stat().st_size
            with flipped(file, 8 * at + bit), pytest.raises(SeqmarketError, match="is damaged"):
                opener(folder)


@pytest.mark.parametrize("change", ["missing", "cut", "longer", "one too many"])
def test_other_changes_are_refused(made: dict[Path, Opener], change: str) -> None:
    for folder, opener in made.items():
        file = every_file(folder)[1] if change != "one too many" else folder / "new.npy"
        before = file.read_bytes() if file.exists() else None
        after = {"missing": None, "cut": (before or b"")[:-1], "longer": (before or b"") + b"\0"}
        if change == "one too many":
            file.write_bytes(b"")
        elif after[change] is None:
            file.unlink()
        else:
            file.write_bytes(after[change] or b"")
        with pytest.raises(SeqmarketError, match="is damaged"):
            opener(folder)
        file.unlink(missing_ok=True)
        if before is not None:
            file.write_bytes(before)
        opener(folder)
