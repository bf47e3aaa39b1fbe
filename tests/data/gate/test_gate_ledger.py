"""The ledger of erasures, and the gate that heeds it."""

from __future__ import annotations

import hmac
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest

from seqmarket.data.gate import ledger as ledger_module
from seqmarket.data.gate.gate import Gate, make_gate, with_erasures
from seqmarket.data.gate.keyed_hash import hmac_sha256
from seqmarket.data.gate.ledger import Erased, Ledger, keyed_hash
from seqmarket.data.gate.reasons import ADMITTED, ERASED, REASONS
from seqmarket.data.gate.settings import IdentitySettings, PrivacySettings
from seqmarket.errors import SeqmarketError


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "erasures.jsonl")


def gate(ledger: Ledger, mapping: Path | None = None) -> Gate:
    identity = IdentitySettings(path=None if mapping is None else str(mapping))
    return make_gate(identity, PrivacySettings(ledger=str(ledger.path)), "training")


def test_without_a_ledger_nobody_is_erased(ledger: Ledger) -> None:
    assert ledger.erased() is None
    assert gate(ledger) == Gate()
    assert gate(ledger).fingerprint() == Gate().fingerprint()
    assert not ledger.path.exists()


def test_the_erased_are_refused_and_counted(ledger: Ledger) -> None:
    ledger.enter(["ann", "phone-of-ann"], 1)
    ids = pl.Series("customer_id", ["ann", "ben", "phone-of-ann"])
    admission = pickle.loads(pickle.dumps(gate(ledger))).admit(ids)
    assert admission.customer_id.to_list() == [None, "ben", None]
    assert admission.reason.tolist() == [ERASED, ADMITTED, ERASED]
    assert admission.refused == {REASONS[ERASED]: 2}
    table = pl.DataFrame({"customer_id": ["ann", "ben"], "age": ["1", "2"]})
    kept, left_out = gate(ledger).admit_table(table)
    assert kept["customer_id"].to_list() == ["ben"]
    assert left_out == {REASONS[ERASED]: 1}


def test_an_erased_customer_stays_refused_under_any_mapping(ledger: Ledger, tmp_path: Path) -> None:
    mapping = tmp_path / "mapping.csv"
    mapping.write_text("identifier,customer_id\nold phone,ann\n")
    ledger.enter(["ann", "old phone"], 1)
    ids = pl.Series("customer_id", ["new phone", "old phone", "ben"])
    assert gate(ledger, mapping).admit(ids).reason.tolist() == [ADMITTED, ERASED, ADMITTED]
    mapping.write_text("identifier,customer_id\nnew phone,ann\nold phone,ben\n")
    admission = gate(ledger, mapping).admit(ids)
    assert admission.reason.tolist() == [ERASED, ERASED, ADMITTED]


def test_rows_of_the_erased_are_not_even_put_aside(ledger: Ledger) -> None:
    rows = pl.DataFrame(
        {"customer_id": ["ann", "ben", None, "cleo"], "time": ["x", "y", "ann", ""]}
    )
    assert gate(ledger).conceals(rows).to_list() == [False] * 4
    ledger.enter(["ann"], 1)
    assert gate(ledger).conceals(rows).to_list() == [True, False, True, False]


PEOPLE = [f"somebody-{number}" for number in range(40)]
CHUNKS = [PEOPLE[:25], PEOPLE[10:] + PEOPLE[:5], [None, *PEOPLE, None], []]


def check_every_chunk(kind: type[Erased], gone: list[str]) -> None:
    """Whatever was asked before, and for whatever ledger, it is what each hash says."""
    for salt in (b"one", b"another"):
        erased = kind(salt, frozenset(keyed_hash(salt, text) for text in gone))
        for _ in range(2):
            for chunk in CHUNKS:
                found = erased.among(pl.Series("id", chunk, pl.String))
                assert found.tolist() == [text in gone for text in chunk]
        gone = gone[1:]


@pytest.mark.parametrize("remembered", [0, 1, 12, 1 << 18])
def test_what_is_remembered_changes_nothing(
    remembered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "_REMEMBERED", remembered)
    check_every_chunk(Erased, PEOPLE[::7])


class Shared(Erased):
    """Remembers for all ledgers together."""

    _all: ClassVar[set[str | None]] = {None}

    def among(self, ids: pl.Series) -> Any:
        object.__setattr__(self, "_others", self._all)
        return super().among(ids)


class Forgetful(Erased):
    """Remembers whom it has found, too."""

    def among(self, ids: pl.Series) -> Any:
        found = super().among(ids)
        self._others.update(ids.to_list())
        return found


def erased_later(kind: type[Erased]) -> None:
    check_every_chunk(kind, [])
    check_every_chunk(kind, PEOPLE[::7])


@pytest.mark.parametrize("mutant", [Shared, Forgetful])
def test_mutants_that_remember_too_much(mutant: type[Erased]) -> None:
    erased_later(Erased)
    with pytest.raises(AssertionError):
        erased_later(mutant)


def test_an_identifier_is_hashed_once_and_nobody_pays_without_erasures(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    def counting(key: bytes) -> Callable[[str], str]:
        digest = hmac_sha256(key)
        return lambda text: hashed.append(text) or digest(text)  # type: ignore[func-returns-value]

    monkeypatch.setattr(ledger_module, "hmac_sha256", counting)
    ids = pl.Series("customer_id", PEOPLE)
    gate(ledger).admit(ids)
    assert hashed == []
    ledger.enter(["ann"], 1)
    passes = gate(ledger)
    passes.admit(ids)
    passes.admit(ids.reverse())
    assert sorted(hashed) == sorted(PEOPLE)
    copy = pickle.loads(pickle.dumps(passes))
    assert copy == passes
    assert PEOPLE[0].encode() not in pickle.dumps(passes)


def test_the_hash_is_hmac() -> None:
    for key in (b"", b"k" * 32, b"k" * 64, b"k" * 65, b"k" * 200):
        for text in ("", "ann", "é" * 100):
            assert hmac_sha256(key)(text) == hmac.new(key, text.encode(), "sha256").hexdigest()


def test_every_erasure_is_another_gate_whatever_the_order(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "a.jsonl")
    prints = [gate(first).fingerprint()]
    for name in ("ann", "ben"):
        first.enter([name], 1)
        prints.append(gate(first).fingerprint())
    assert len(set(prints)) == 3
    assert with_erasures(prints[2], None) == with_erasures(prints[1], None) == prints[0]
    assert with_erasures(prints[0], first.erased()) == prints[2]


def test_the_file_names_nobody_and_tells_two_ledgers_apart(ledger: Ledger, tmp_path: Path) -> None:
    other = Ledger(tmp_path / "other.jsonl")
    entries = [item.enter(["ann@example.org"], 1) for item in (ledger, other)]
    texts = [item.path.read_text() for item in (ledger, other)]
    hashes = [json.loads(text.splitlines()[1])["hashes"] for text in texts]
    assert hashes[0] != hashes[1]
    assert not any("ann" in text for text in texts)
    # An unkeyed mutant, the same for everyone, would be in both.
    assert keyed_hash(b"", "ann@example.org") not in hashes[0] + hashes[1]
    assert entries[0].id != entries[1].id
    assert ledger.path.stat().st_mode & 0o077 == 0


def test_who_is_entered_again_is_found_again(ledger: Ledger) -> None:
    first = ledger.enter(["ann", "ben"], 2)
    again = ledger.enter(["ben"], 1)
    assert (again.id, again.is_new, first.is_new) == (first.id, False, True)
    more = ledger.enter(["ben", "cleo"], 2)
    assert (more.is_new, more.id != first.id) == (True, True)
    ledger.conclude(more, {"logs": 3}, 0)
    assert [entry.id for entry in ledger.entries_of(["ben"])] == [first.id, more.id]
    assert ledger.entries_of(["dora"]) == []
    erased = ledger.erased()
    assert erased is not None
    assert len(erased.hashes) == 3


def test_a_line_that_was_cut_short_was_never_entered(ledger: Ledger) -> None:
    ledger.enter(["ann"], 1)
    whole = ledger.path.read_bytes()
    ledger.enter(["ben"], 1)
    for cut in (1, 20, 200):
        ledger.path.write_bytes(whole + ledger.path.read_bytes()[len(whole) :][:cut])
        erased = ledger.erased()
        assert erased is not None
        assert len(erased.hashes) == 1
    ledger.enter(["cleo"], 1)
    assert gate(ledger).admit(pl.Series(["ann", "ben", "cleo"])).reason.tolist() == [6, 0, 6]


def test_a_ledger_that_was_changed_is_refused(ledger: Ledger) -> None:
    for name in ("ann", "ben", "cleo"):
        ledger.enter([name], 1)
    content = ledger.path.read_bytes()
    lines = content.splitlines(keepends=True)
    changed = [b"".join([*lines[:2], *lines[3:]]), b"".join(lines[1:]), b"[]\n" + content]
    step = len(content) // 40
    changed += [
        content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        for at in range(5, len(content) - 1, step)
    ]
    for mutant in changed:
        ledger.path.write_bytes(mutant)
        with pytest.raises(SeqmarketError, match="not as it was written") as caught:
            gate(ledger)
        assert "ann" not in str(caught.value)
