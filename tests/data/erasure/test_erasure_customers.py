"""Who is meant: every identifier of a customer, and their pseudonyms."""

from __future__ import annotations

import hmac
from pathlib import Path

import pytest

from seqmarket.data.erasure.customers import read_ids, who_is_meant
from seqmarket.data.gate.gate import make_gate
from seqmarket.data.gate.settings import IdentitySettings, PrivacySettings
from seqmarket.errors import SeqmarketError

KEY = "00112233445566778899aabbccddeeff" * 2


@pytest.fixture
def mapping(tmp_path: Path) -> IdentitySettings:
    rows = ["cookie,phone", "phone,ann", "web,ben", "torn,ann", "torn,ben"]
    path = tmp_path / "mapping.csv"
    path.write_text("\n".join(["identifier,customer_id", *rows]))
    return IdentitySettings(path=str(path), conflicts="drop")


def test_any_identifier_stands_for_all_of_them(mapping: IdentitySettings) -> None:
    gate = make_gate(mapping, PrivacySettings(ledger="nowhere"), "training")
    for asked in ("ann", "cookie", "phone"):
        found = who_is_meant([asked], gate)
        assert found.identifiers.to_list() == ["ann", "cookie", "phone"]
        assert (found.number, found.customer_id.to_list()) == (1, ["ann"])
        assert found.stored.to_list() == found.identifiers.to_list()
    assert who_is_meant(["ann", "phone", "web"], gate).number == 2
    for alone in ("stranger", "torn"):
        assert who_is_meant([alone], gate).identifiers.to_list() == [alone]


def test_pseudonyms_are_those_of_the_present_key(
    mapping: IdentitySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQMARKET_PSEUDONYM_KEY", KEY)
    privacy = PrivacySettings.model_validate({"pseudonyms": {"enabled": True}, "ledger": "nowhere"})
    found = who_is_meant(["cookie"], make_gate(mapping, privacy, "training"))
    ann = hmac.digest(bytes.fromhex(KEY), b"ann", "sha256").hex()[:32]
    assert ann in found.stored.to_list()
    assert set(found.identifiers) < set(found.stored)


def test_customers_are_read_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "who.txt"
    path.write_bytes("\ufeff007\n  7 \r\n\nZoë\n".encode())
    assert read_ids(path) == ["007", "  7 ", "Zoë"]
    path.write_bytes(b"\xff\xfe7")
    with pytest.raises(SeqmarketError, match="not UTF-8"):
        read_ids(path)
    with pytest.raises(SeqmarketError, match="cannot be read"):
        read_ids(tmp_path / "nothing")
