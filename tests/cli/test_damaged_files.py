"""A bit that flips in a file of ours is told by the commands that read it, with what mends it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from seqmarket.data import sealed
from seqmarket.data.sealed import digest_file, write_sealed


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def is_refused(outcome: Any, file: Path, fix: str) -> None:
    assert outcome.code == 2, outcome.out + outcome.err
    said = " ".join(outcome.err.split())
    assert f"is damaged: its SHA-256 is not the one in {file.name}.sha256" in said
    assert fix in said


@pytest.fixture
def model_file(gru_run: Any, tmp_path: Path) -> Path:
    """A copy of a run's model."""
    copy = tmp_path / "copy" / "model.ckpt"
    copy.parent.mkdir()
    for name in (copy, digest_file(copy)):
        shutil.copyfile(gru_run.model_file.with_name(name.name), name)
    return copy


def a_damaged_model_is_refused(seqmarket: Callable[..., Any], run: Any, model_file: Path) -> None:
    commands = [
        ["predict", str(model_file), "--output", "scores.parquet", *run.places],
        ["evaluate", str(model_file), "--no-baselines", *run.places],
    ]
    flip(model_file)
    for command in commands:
        is_refused(seqmarket(command), model_file, "restore it from a copy, or train again")
    assert not Path("scores.parquet").exists()


def test_a_model(seqmarket: Callable[..., Any], gru_run: Any, model_file: Path) -> None:
    scoring = ["predict", str(model_file), "--output", "other.parquet", *gru_run.places]
    assert seqmarket(scoring).code == 0
    a_damaged_model_is_refused(seqmarket, gru_run, model_file)


def test_a_check_that_is_skipped_is_noticed(
    seqmarket: Callable[..., Any],
    gru_run: Any,
    model_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sealed, "state", lambda _: "intact")
    with pytest.raises(AssertionError):
        a_damaged_model_is_refused(seqmarket, gru_run, model_file)


def test_a_model_without_a_digest_is_read_with_a_warning(
    seqmarket: Callable[..., Any],
    gru_run: Any,
    model_file: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    digest_file(model_file).unlink()
    scoring = ["predict", str(model_file), "--output", "scores.parquet", *gru_run.places]
    assert seqmarket(scoring).code == 0
    assert caplog.text.count("is read unchecked") == 1


@pytest.mark.parametrize("name", ["last", "best"])
def test_a_checkpoint_to_go_on_from(
    seqmarket: Callable[..., Any], gru_run: Any, tmp_path: Path, name: str
) -> None:
    checkpoint = tmp_path / f"{name}.ckpt"
    for path in (checkpoint, digest_file(checkpoint)):
        shutil.copyfile(gru_run.model_file.with_name(path.name), path)
    flip(checkpoint)
    more = [f"ckpt_path={checkpoint}", f"paths.output_dir={tmp_path / 'out'}"]
    outcome = seqmarket(["train", *gru_run.overrides, *more])
    is_refused(outcome, checkpoint, "restore it from a copy, or train again")


WHO = "someone-042"


@pytest.fixture
def held(seqmarket: Callable[..., Any], tmp_path: Path) -> list[str]:
    """A command that shows the rows put aside of a log, and scores."""
    start = datetime(2024, 1, 1)
    rows: list[tuple[Any, ...]] = [
        (f"someone-{n:03d}", start + timedelta(days=7 * e + n), e)
        for n in range(40, 60)
        for e in range(12)
    ]
    rows.append((WHO, None, 1))
    table = pl.DataFrame(rows, schema=["customer_id", "time", "value"], orient="row")
    table.with_columns(event_type=pl.lit("purchase")).write_parquet(tmp_path / "log.parquet")
    settings = [
        "data=files",
        f"data.path={tmp_path / 'log.parquet'}",
        "data.columns.channel=null",
        "data.validation.policy=quarantine",
        f"data.privacy.ledger={tmp_path / 'erasures.jsonl'}",
        f"paths.cache_dir={tmp_path / 'cache'}",
        f"paths.output_dir={tmp_path / 'out'}",
    ]
    assert seqmarket(["prepare", *settings]).code == 0
    scores = pl.DataFrame({"customer_id": [WHO], "churn_probability": [0.25]})
    (tmp_path / "scores").mkdir()
    write_sealed(tmp_path / "scores" / "scores.parquet", scores.write_parquet)
    also = ["--also", str(tmp_path / "scores"), "--output", str(tmp_path / "held.json")]
    return ["inspect", "--customer", WHO, *settings, *also]


def test_scores(seqmarket: Callable[..., Any], held: list[str], tmp_path: Path) -> None:
    assert seqmarket(held).code == 0
    assert json.loads((tmp_path / "held.json").read_text())["predictions"]
    scores = tmp_path / "scores" / "scores.parquet"
    flip(scores)
    is_refused(seqmarket(held), scores, "restore it from a copy, or predict or train again")


def test_rows_put_aside(seqmarket: Callable[..., Any], held: list[str], tmp_path: Path) -> None:
    (aside,) = (tmp_path / "cache" / "quarantine").glob("*.parquet")
    write_sealed(aside, partial(shutil.copyfile, aside))
    assert seqmarket(held).code == 0
    assert json.loads((tmp_path / "held.json").read_text())["rows_put_aside"]
    flip(aside)
    is_refused(seqmarket(held), aside, f"delete it; to have it made again, delete {tmp_path}")
    aside.unlink()
    assert seqmarket(held).code == 0
