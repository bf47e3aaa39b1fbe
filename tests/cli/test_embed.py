"""`embed` and `pretrain=` from the outside."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest


def test_embed_writes_a_row_per_customer(seqmarket, gru_run, tmp_path: Path) -> None:
    output = tmp_path / "new" / "states.parquet"
    code, out, err = seqmarket(
        ["embed", str(gru_run.folder), "--output", str(output), "--as-of", "2024-03-01"]
    )
    assert code == 0, err
    table = pl.read_parquet(output)
    assert out.startswith(f"{len(table)} customers embedded in 8 dimensions as of 2024-03-01 00:00")
    assert "left out who have no event by then" in out
    assert table.columns[:3] == ["customer_id", "as_of", "e0"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["training.max_epochs=1"], "has no effect here"),
        (["~data.path"], "seqmarket embed"),
        (["--as-of", "soon"], "'soon' is not a date or time"),
    ],
)
def test_mistakes_are_told(seqmarket, gru_run, more: list[str], said: str) -> None:
    code, _, err = seqmarket(["embed", str(gru_run.folder), "--output", "a.parquet", *more])
    assert code == 2
    assert said in err
    assert "Traceback" not in err


def test_a_baseline_is_refused(seqmarket, logistic_run) -> None:
    code, _, err = seqmarket(["embed", str(logistic_run.folder), "--output", "a.parquet"])
    assert code == 2
    assert "has no states" in err
    assert not Path("a.parquet").exists()


@pytest.mark.parametrize("more", [["pretrain=next_event"], ["pretrain.checkpoint=a.ckpt"]])
def test_a_baseline_cannot_be_pre_trained(seqmarket, runs, more: list[str]) -> None:
    code, _, err = seqmarket(["train", "model=majority", "data=synthetic", *more])
    assert code == 2
    assert "no encoder that could be pre-trained" in err
    assert not runs
