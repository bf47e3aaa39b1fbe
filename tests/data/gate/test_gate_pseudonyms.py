"""Pseudonyms can be made with the key only, and the key is nowhere."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import pickle
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from seqmarket.data.gate.gate import Gate, make_gate
from seqmarket.data.gate.pseudonyms import Pseudonyms
from seqmarket.data.gate.settings import PrivacySettings, PseudonymSettings
from seqmarket.data.quality.gate_report import GateReport
from seqmarket.errors import SeqmarketError

VARIABLE = "SEQMARKET_PSEUDONYM_KEY"
KEY = hashlib.sha256(b"a key").hexdigest()
OTHER = hashlib.sha256(b"another key").hexdigest()
IDS = pl.Series("customer_id", ["ann", "007", "7", "J\N{LATIN SMALL LETTER U WITH DIAERESIS}rgen"])
ON = PrivacySettings(pseudonyms=PseudonymSettings(enabled=True))

Make = Callable[[str, pl.Series], pl.Series]


def under(key: str, ids: pl.Series = IDS) -> pl.Series:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, key)
        return make_gate(None, ON, "training").admit(ids).customer_id


def unkeyed(key: str, ids: pl.Series) -> pl.Series:
    return pl.Series([hashlib.sha256(text.encode()).hexdigest()[:32] for text in ids])


def check_keyed(make: Make) -> None:
    first, again, other = make(KEY, IDS), make(KEY, IDS), make(OTHER, IDS)
    assert first.to_list() == again.to_list()
    assert not set(first) & set(other), "the same customer under two keys"
    assert first.n_unique() == len(IDS)
    for text, pseudonym in zip(IDS, first, strict=True):
        for name in ("md5", "sha1", "sha256", "sha512", "blake2b"):
            assert pseudonym not in hashlib.new(name, text.encode()).hexdigest(), "without the key"


def test_pseudonyms_depend_on_the_key() -> None:
    check_keyed(under)


def test_an_unkeyed_mutant_is_caught() -> None:
    with pytest.raises(AssertionError, match="under two keys"):
        check_keyed(unkeyed)


@pytest.mark.parametrize("n_bytes", [32, 63, 64, 65, 100])
def test_pseudonyms_are_hmac_sha256_of_the_text(n_bytes: int) -> None:
    key = (bytes.fromhex(KEY) * 4)[:n_bytes]
    expected = [hmac.new(key, text.encode(), "sha256").hexdigest()[:32] for text in IDS]
    assert under(key.hex()).to_list() == expected
    assert under(f" {key.hex().upper()}\n").to_list() == expected
    assert under(key.hex()).name == IDS.name


def test_refused_customers_get_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    names = Pseudonyms(ON.pseudonyms).of(pl.Series(["ann", None], dtype=pl.String))
    assert names.is_null().to_list() == [False, True]
    assert Pseudonyms(ON.pseudonyms).of(pl.Series([], dtype=pl.String)).dtype == pl.String


def test_the_key_may_be_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, OTHER)
    path = tmp_path / "key"
    made = secrets.token_hex(32) + "\n"  # what `openssl rand -hex 32` prints
    path.write_text(made)
    settings = PseudonymSettings(enabled=True, key_file=str(path))
    assert Pseudonyms(settings).of(IDS).to_list() == under(made).to_list()


@pytest.mark.parametrize(
    ("key", "what"),
    [
        (None, "variable is not set"),
        ("", "has 0 bytes, and 32 are the least"),
        (KEY[:-2], "has 31 bytes, and 32 are the least"),
        (KEY[:-1], "not written in pairs of hexadecimal digits"),
        ("correct horse battery staple and so on", "hexadecimal digits"),
        (KEY[:-2] + "\N{SNOWMAN}\N{SNOWMAN}", "hexadecimal digits"),
    ],
)
@pytest.mark.parametrize("place", ["environment", "file"])
def test_a_missing_or_poor_key_is_refused_without_being_shown(
    place: str, key: str | None, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    settings = ON.pseudonyms
    monkeypatch.delenv(VARIABLE, raising=False)
    if place == "file":
        settings = settings.model_copy(update={"key_file": str(path)})
        if key is None:
            what = "cannot be read: No such file"
        else:
            path.write_text(key, encoding="utf-8")
    elif key is not None:
        monkeypatch.setenv(VARIABLE, key)
    with pytest.raises(SeqmarketError, match=what) as caught:
        Pseudonyms(settings)
    assert "openssl rand -hex 32" in str(caught.value.fix)
    assert VARIABLE in str(caught.value) or str(path) in str(caught.value)
    assert not key or key not in shown(caught.value)


def test_a_key_in_the_place_of_its_name_is_refused() -> None:
    for name in (KEY, "a" * 64, "", "A=B"):
        with pytest.raises(ValueError, match="key_env"):
            PseudonymSettings(key_env=name)


def shown(error: BaseException | None) -> str:
    """All that an exception and those behind it say."""
    texts = []
    while error is not None:
        texts.append(repr((error, error.args, vars(error))))
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


def traces(gate: Any) -> dict[str, bytes]:
    """Everything of a gate that may be written down somewhere."""
    return {
        "repr": f"{gate!r} {gate} {vars(gate)!r} {vars(gate.pseudonyms)!r}".encode(),
        "pickle": pickle.dumps(gate),
        "fingerprint": gate.fingerprint().encode(),
        "description": repr((gate.parts(), GateReport.of(gate))).encode(),
        "pseudonyms": repr(gate.admit(IDS).customer_id.to_list()).encode(),
    }


def check_nowhere(found: dict[str, bytes], key: str) -> None:
    raw = bytes.fromhex(key)
    forms = (
        raw,
        key.encode(),
        key.upper().encode(),
        base64.b64encode(raw),
        repr(raw)[2:-1].encode(),
    )
    padded = [bytes(byte ^ pad for byte in raw) for pad in (0x36, 0x5C)]
    for place, content in found.items():
        assert not any(form in content for form in (*forms, *padded)), f"the key is in the {place}"


class Leaky(Pseudonyms):
    """A mutant that keeps the key, and takes it along."""

    def __init__(self, settings: PseudonymSettings) -> None:
        super().__init__(settings)
        self.key = bytes.fromhex(KEY)

    def __reduce__(self) -> tuple[Any, ...]:
        return bytes, (self.key,)


def test_the_key_is_nowhere(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    with caplog.at_level(logging.DEBUG):
        gate = make_gate(None, ON, "training")
        found = traces(gate)
    check_nowhere({**found, "log": caplog.text.encode()}, KEY)
    mutant = Gate(pseudonyms=Leaky(ON.pseudonyms))
    for place in ("repr", "pickle"):
        with pytest.raises(AssertionError, match=f"the key is in the {place}"):
            check_nowhere({place: traces(mutant)[place]}, KEY)


def test_another_process_reads_the_key_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    gate = make_gate(None, ON, "training")
    pickled = pickle.dumps(gate)
    assert pickle.loads(pickled).admit(IDS).customer_id.to_list() == under(KEY).to_list()
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).fingerprint())"
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickled, capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == gate.fingerprint()
    monkeypatch.setenv(VARIABLE, OTHER)
    with pytest.raises(SeqmarketError, match="another one here") as caught:
        pickle.loads(pickled)
    check_nowhere({"exception": shown(caught.value).encode()}, KEY)
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(SeqmarketError, match="is not set"):
        pickle.loads(pickled)


def test_runs_under_different_keys_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for key in (KEY, OTHER):
        monkeypatch.setenv(VARIABLE, key)
        gate = make_gate(None, ON, "training")
        found[gate.parts()["pseudonyms"]] = gate.fingerprint()
    assert len(found) == len(set(found.values())) == 2
    assert all(len(key_id) == 8 for key_id in found)


def test_the_identifier_is_no_feature_where_it_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    gate = make_gate(None, ON, "training")
    gate.check_features("uid", ("page", "plan"))
    with pytest.raises(SeqmarketError, match="'uid' holds the identifiers"):
        gate.check_features("uid", ("page", "uid"))
    Gate().check_features("uid", ("uid",))
