"""`inspect` shows what is held of one customer, from the source to the predictions."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

WHO = "someone-042"


@pytest.fixture
def settings(tmp_path: Path) -> list[str]:
    """A prepared log with an identity, a consent, a row put aside, and predictions elsewhere."""
    start = datetime(2024, 1, 1)
    rows: list[tuple[Any, ...]] = [
        (
            f"someone-{n:03d}" if e % 2 else f"cookie-of-{n:03d}",
            start + timedelta(days=7 * e + n),
            e,
        )
        for n in range(40, 60)
        for e in range(12)
    ]
    rows.append((WHO, None, 1))
    table = pl.DataFrame(rows, schema=["customer_id", "time", "value"], orient="row")
    table = table.with_columns(event_type=pl.lit("purchase"))
    table.write_parquet(tmp_path / "log.parquet")
    people = [f"someone-{n:03d}" for n in range(40, 60)]
    pl.DataFrame(
        {"identifier": [f"cookie-of-{n:03d}" for n in range(40, 60)], "customer_id": people}
    ).write_csv(tmp_path / "mapping.csv")
    pl.DataFrame(
        {"customer_id": people, "purpose": "analytics", "granted_at": "2023-01-01"}
    ).with_columns(withdrawn_at=pl.lit(None, pl.String)).write_csv(tmp_path / "consents.csv")
    (tmp_path / "scores").mkdir()
    pl.DataFrame({"customer_id": people, "churn_probability": 0.25}).write_parquet(
        tmp_path / "scores" / "scores.parquet"
    )
    return [
        "data=files",
        f"data.path={tmp_path / 'log.parquet'}",
        "data.columns.channel=null",
        "data.validation.policy=quarantine",
        f"data.identity.path={tmp_path / 'mapping.csv'}",
        f"data.privacy.consent.path={tmp_path / 'consents.csv'}",
        f"data.privacy.ledger={tmp_path / 'erasures.jsonl'}",
        f"paths.cache_dir={tmp_path / 'cache'}",
        f"paths.output_dir={tmp_path / 'out'}",
    ]


def test_everything_that_is_held_is_shown(
    seqmarket: Callable[..., Any], settings: list[str], tmp_path: Path
) -> None:
    assert seqmarket(["prepare", *settings]).code == 0
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    also = ["--also", str(tmp_path / "scores"), "--output", str(tmp_path / "held.json")]
    code, out, err = seqmarket(["inspect", "--customer", "cookie-of-042", *settings, *also])
    assert code == 0, err
    held = json.loads((tmp_path / "held.json").read_text())
    assert held["customer_id"] == [WHO]
    assert held["identifiers"] == ["cookie-of-042", WHO]
    assert held["admitted"] == {"training": {"admitted": 2}, "scoring": {"admitted": 2}}
    assert list(held["rows_in_the_source"].values()) == [13]
    (events,) = held["validated_logs"]
    assert [row["value"] for row in events["rows"]] == list(range(12))
    assert {row["customer_id"] for row in events["rows"]} == {WHO}
    assert held["encoded_stores"][0]["rows"][0]["events"] == 12
    assert held["predictions"][0]["rows"] == [{"customer_id": WHO, "churn_probability": 0.25}]
    assert held["erasures"] == []
    assert WHO in out
    assert "rows that broke a rule" in out or held["rows_put_aside"] == []
    assert "someone-043" not in out + json.dumps(held)
    # Nothing but the output is written: no log file, no record.
    after = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert after == sorted([*before, tmp_path / "held.json"])


def test_of_an_unknown_customer_it_says_so(
    seqmarket: Callable[..., Any], settings: list[str], tmp_path: Path
) -> None:
    output = ["--output", str(tmp_path / "held.json")]
    code, out, _ = seqmarket(["inspect", "--customer", "nobody-000", *settings, *output])
    assert (code, "nothing is held about this customer" in out) == (0, True)
    held = json.loads((tmp_path / "held.json").read_text())
    assert held["anything_is_held"] is False
    assert held["admitted"]["training"] == {"no consent is recorded": 1}


def test_after_an_erasure_only_the_source_and_the_ledger_know(
    seqmarket: Callable[..., Any], settings: list[str], tmp_path: Path
) -> None:
    assert seqmarket(["prepare", *settings]).code == 0
    also = ["--also", str(tmp_path / "scores")]
    code, out, err = seqmarket(["erase", "--customer", "cookie-of-042", *also, *settings])
    assert code == 0, out + err
    output = ["--output", str(tmp_path / "held.json")]
    assert seqmarket(["inspect", "--customer", WHO, *settings, *also, *output]).code == 0
    held = json.loads((tmp_path / "held.json").read_text())
    assert held["admitted"]["training"] == {"the customer's data were erased": 2}
    assert len(held["erasures"]) == 1
    assert list(held["rows_in_the_source"].values()) == [13]
    for place in ("validated_logs", "encoded_stores", "rows_put_aside", "predictions"):
        assert held[place] == []


def test_an_erasure_has_to_name_somebody(
    seqmarket: Callable[..., Any], settings: list[str], tmp_path: Path
) -> None:
    code, _, err = seqmarket(["erase", *settings])
    assert (code, "no customer is named" in err) == (2, True)
    (tmp_path / "who.txt").write_text("\n \n")
    code, _, err = seqmarket(["erase", "--customers", str(tmp_path / "who.txt"), *settings])
    assert (code, "names no customer" in err) == (2, True)
    assert not (tmp_path / "erasures.jsonl").exists()
