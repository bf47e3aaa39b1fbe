"""What the gate keeps out must not be found in anything that encoding leaves."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from seqmarket.data.log_settings import LogSettings
from seqmarket.data.prepare import Workshop, prepare_log
from seqmarket.data.sources.files import FileSource
from seqmarket.errors import SeqmarketError


@pytest.fixture
def log_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Thirty customers; two rows have a negative cost, one of them of 2011."""
    monkeypatch.setenv("SEQMARKET_PSEUDONYM_KEY", "ab" * 32)
    times = [datetime(2024, 1, 1) + timedelta(hours=i) for i in range(600)]
    times[7] = datetime(2011, 1, 1)
    frame = pl.DataFrame(
        {
            "uid": [f"person{i % 30:04d}@mail.example" for i in range(600)],
            "time": times,
            "channel": ["web"] * 600,
            "event_type": ["visit"] * 600,
            "cost": [-1.0 if i in (7, 9) else 0.0 for i in range(600)],
        }
    )
    path = tmp_path / "log.parquet"
    frame.write_parquet(path)
    return path


def prepared(path: Path, privacy: dict[str, Any], **options: Any) -> list[Path]:
    """The files in the cache that hold an address."""
    source = FileSource(path=str(path), columns={"customer_id": "uid"}, **options)
    settings = {"privacy": privacy, "validation": {"policy": "quarantine"}}
    cache = path.parent / "cache"
    log = prepare_log(source, LogSettings.model_validate(settings), Workshop(cache), "training")
    assert log.report.quarantined == 2
    files = [file for file in cache.rglob("*") if file.is_file()]
    texts = [
        pl.read_parquet(file).to_init_repr().encode()
        if file.suffix == ".parquet"
        else file.read_bytes()
        for file in files
    ]
    return [file for file, text in zip(files, texts, strict=True) if b"@mail" in text]


@pytest.mark.parametrize(
    "privacy",
    [{"pseudonyms": {"enabled": True}}, {"retention": {"keep": "365d", "as_of": "2024-02-01"}}],
)
def test_rows_put_aside_show_nobody(log_file: Path, privacy: dict[str, Any]) -> None:
    left = prepared(log_file, privacy)
    assert not [file for file in left if file.suffix == ".parquet"]
    if "pseudonyms" in privacy:
        assert not left


def test_mutant_without_a_gate_the_addresses_are_found(log_file: Path) -> None:
    assert {file.suffix for file in prepared(log_file, {})} >= {".parquet", ".shard"}


def test_the_identifier_is_no_feature_under_pseudonyms(log_file: Path) -> None:
    with pytest.raises(SeqmarketError, match="'uid' holds the identifiers"):
        prepared(log_file, {"pseudonyms": {"enabled": True}}, categorical=("uid",))
