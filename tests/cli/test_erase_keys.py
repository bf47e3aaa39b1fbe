"""An erasure under another key than the one that a log was pseudonymised with."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from seqmarket.data.erasure import logs as erasing_logs
from seqmarket.data.event_log import open_log
from seqmarket.data.gate.pseudonyms import Pseudonyms
from seqmarket.data.gate.settings import PseudonymSettings

OURS, OTHER = "ab" * 32, "cd" * 32
WHO = "someone-042"
VARIABLE = "SEQMARKET_PSEUDONYM_KEY"

Run = Callable[..., Any]


@pytest.fixture
def settings(tmp_path: Path) -> list[str]:
    rows = [
        (f"someone-{n:03d}", datetime(2024, 1, 1) + timedelta(days=7 * e, hours=n))
        for n in range(40, 60)
        for e in range(12)
    ]
    table = pl.DataFrame(rows, schema=["customer_id", "time"], orient="row")
    table.with_columns(event_type=pl.lit("purchase")).write_parquet(tmp_path / "log.parquet")
    return [
        "data=files",
        f"data.path={tmp_path / 'log.parquet'}",
        "data.columns.channel=null",
        f"data.privacy.ledger={tmp_path / 'erasures.jsonl'}",
        f"paths.cache_dir={tmp_path / 'cache'}",
        f"paths.output_dir={tmp_path / 'out'}",
    ]


@pytest.fixture
def under(monkeypatch: pytest.MonkeyPatch, seqmarket: Run, settings: list[str]) -> Run:
    """Runs a command under a key, or without pseudonyms."""

    def run(key: str | None, *command: str) -> Any:
        monkeypatch.setenv(VARIABLE, key or "")
        hidden = f"data.privacy.pseudonyms.enabled={str(key is not None).lower()}"
        return seqmarket([*command, *settings, hidden])

    return run


def under_our_key(monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The id of the key, and what the customer is called."""
    monkeypatch.setenv(VARIABLE, OURS)
    pseudonyms = Pseudonyms(PseudonymSettings(enabled=True))
    return pseudonyms.key_id, pseudonyms.of(pl.Series([WHO])).item()


def holding(cache: Path, name: str) -> list[Path]:
    """The logs with a customer."""
    paths = sorted((cache / "logs").glob("[!.]*"))
    return [path for path in paths if (open_log(path).frame.collect()["customer_id"] == name).any()]


def check_what_is_read_after(
    other: str | None, under: Run, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_id, name = under_our_key(monkeypatch)
    assert under(OURS, "prepare").code == 0
    (before,) = holding(cache, name)
    (store,) = (cache / "stores").glob("[!.]*")
    code, out, _ = under(other, "erase", "--customer", WHO)
    assert code == 1
    (left,) = [line for line in out.splitlines() if line.startswith("left to you: ")]
    assert f"the key {key_id} of pseudonyms" in left
    assert str(before) in left
    assert str(store) in left
    assert name not in out
    assert OURS not in out

    # From now on they are refused, whatever is left in the cache.
    assert under(OURS, "prepare").code == 0
    assert holding(cache, name) == [before]

    code, out, _ = under(OURS, "erase", "--customer", WHO)
    assert code == 0, out
    assert holding(cache, name) == []
    assert "left to you" not in out


@pytest.mark.parametrize("other", [OTHER, None])
def test_what_is_under_another_key_is_named_and_never_read_again(
    other: str | None, under: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_what_is_read_after(other, under, tmp_path / "cache", monkeypatch)


def test_mutant_that_takes_such_a_log_to_be_without_them(
    under: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds nobody, so it files the log, with the customer, where it is found from now on."""
    monkeypatch.setattr(erasing_logs, "key_id", lambda _: None)
    with pytest.raises(AssertionError):
        check_what_is_read_after(OTHER, under, tmp_path / "cache", monkeypatch)


def test_a_store_whose_log_is_gone_is_named_too(
    under: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    key_id, _ = under_our_key(monkeypatch)
    assert under(OURS, "prepare").code == 0
    shutil.rmtree(tmp_path / "cache" / "logs")
    (store,) = (tmp_path / "cache" / "stores").glob("[!.]*")
    code, out, _ = under(OTHER, "erase", "--customer", WHO)
    assert code == 1
    assert f"the key {key_id} of pseudonyms" in out
    assert str(store) in out
    # Under its own key, such a store is removed.
    assert under(OURS, "erase", "--customer", WHO).code == 0
    assert not store.exists()
