"""CSV that is opened in a spreadsheet: nothing in it runs, and nothing else is changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from seqmarket.data.spreadsheet import write_csv

LIVE = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"]
HARMLESS = ["mail", "a=b", "<organic>", "", "'=1"]


def no_text_is_live(write: Callable[[pl.DataFrame, Path], object], path: Path) -> None:
    write(pl.DataFrame({"channel": LIVE, "credit": [-1.5] * len(LIVE)}), path)
    back = pl.read_csv(path)
    assert back["channel"].to_list() == [f"'{text}" for text in LIVE]
    assert back["credit"].to_list() == [-1.5] * len(LIVE)


def test_no_text_is_live(tmp_path: Path) -> None:
    no_text_is_live(write_csv, tmp_path / "a.csv")


def test_a_plain_writer_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        no_text_is_live(pl.DataFrame.write_csv, tmp_path / "a.csv")


def test_other_texts_and_what_is_missing_stay(tmp_path: Path) -> None:
    table = pl.DataFrame({"channel": [*HARMLESS, None], "n": range(len(HARMLESS) + 1)})
    write_csv(table, tmp_path / "a.csv")
    assert pl.read_csv(tmp_path / "a.csv").equals(table)
