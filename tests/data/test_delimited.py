"""The records of a CSV file, against Python's own reader, and what Polars makes of them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from seqmarket.data import delimited
from seqmarket.data.delimited import find_fault, find_records, read_header
from seqmarket.errors import SeqmarketError

FIELDS = ("", "x", "two words", "a,b", 'say "hi"', "two\nlines", '"', ",\n,", "\N{EURO SIGN}")


def random_csv(seed: int, line_end: str) -> tuple[str, list[int], list[int]]:
    """A well-formed file with ragged records; the fields and the line of each."""
    rng = np.random.default_rng(seed)
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator=line_end)
    writer.writerow(["a", "b", "c"])
    fields, lines = [], []
    for _ in range(60):
        record = [FIELDS[i] for i in rng.integers(0, len(FIELDS), rng.integers(2, 6))]
        fields.append(len(record))
        lines.append(out.getvalue().count("\n") + 1)
        writer.writerow(record)
    return out.getvalue(), fields, lines


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("block", [7, 100, 1 << 20])
@pytest.mark.parametrize("last_line_ends", [True, False])
def test_every_record_is_counted(
    seed: int,
    line_end: str,
    block: int,
    last_line_ends: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text, fields, lines = random_csv(seed, line_end)
    path = tmp_path / "a.csv"
    path.write_bytes((text if last_line_ends else text.removesuffix(line_end)).encode())
    assert read_header(path, ",", "utf8") == ("a", "b", "c")
    monkeypatch.setattr(delimited, "_BLOCK", block)
    records = find_records(path, ",")
    assert records.header == 3
    assert records.fields.tolist() == fields
    assert records.line.tolist() == lines
    assert not records.torn.any()
    frame = pl.read_csv(path, infer_schema=False, truncate_ragged_lines=True)
    assert len(frame) == len(fields)


@pytest.mark.parametrize("start", ["", "\ufeff", "\n\r\n", "\ufeff\n"])
def test_the_header_is_the_first_line_that_is_not_blank(start: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes((start + '"a\nb",c\n1,2\n\n3,4').encode())
    records = find_records(path, ",")
    assert read_header(path, ",", "utf8") == ("a\nb", "c")
    assert (records.line - start.count("\n")).tolist() == [3, 4, 5]
    assert records.fields.tolist() == [2, 1, 2]
    assert len(pl.read_csv(path, infer_schema=False)) == 3


@pytest.mark.parametrize(
    ("record", "torn"),
    [
        ('5" x 7",b', False),
        ('"5"" x 7"", framed",b', False),
        ('5" wide, 7" high', True),
    ],
)
def test_a_quotation_mark_that_hides_a_separator(record: str, torn: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"a,b\n1,2\n{record}\n3,4\n", encoding="utf-8")
    records = find_records(path, ",")
    assert records.torn.tolist() == [False, torn, False]
    fault = find_fault(path, ",", "utf8")
    assert (fault is not None) == torn
    if fault is not None:
        assert fault.where == f"{path}, line 3"


def test_a_quotation_mark_that_hides_a_line_end(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('a,b\n"1\n",2\n5" wide,b\n7" high,b\n', encoding="utf-8")
    with pytest.raises(SeqmarketError, match=r"not in pairs(.|\n)*line 4"):
        find_records(path, ",")


def test_a_quotation_mark_that_is_never_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('a,b\n1,2\n"3,4\n5,6\n', encoding="utf-8")
    with pytest.raises(SeqmarketError, match=r"never closed(.|\n)*after line 2"):
        find_records(path, ",")


@pytest.mark.parametrize("content", [b"", b"\n\r\n", b"\xef\xbb\xbf"])
def test_an_empty_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(SeqmarketError, match="the file is empty"):
        read_header(path, ",", "utf8")
