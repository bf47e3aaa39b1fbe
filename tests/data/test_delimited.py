"""The records of a CSV file, against Python's own reader, and what Polars makes of them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from seqmarket.data import delimited
from seqmarket.data.delimited import (
    FEWER_FIELDS,
    MORE_FIELDS,
    TORN,
    estimate_records,
    find_fault,
    find_flaws,
    find_lines,
    read_blocks,
    read_header,
    survey,
)
from seqmarket.data.delimited_frame import Delimited
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


def scan(path: Path) -> pl.LazyFrame:
    return Delimited(path, ",", "utf8", ("x",)).frame()


@pytest.mark.parametrize("seed", range(4))
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
    known = survey(path, ",")
    assert known.n_records == len(fields)
    flaws = {name: rows.tolist() for name, rows in known.flaws.items()}
    assert flaws == {
        MORE_FIELDS: [row for row, n in enumerate(fields) if n > 3],
        FEWER_FIELDS: [row for row, n in enumerate(fields) if n < 3],
    }
    assert find_lines(path, ",", range(len(fields))) == lines
    assert find_lines(path, ",", [17, 18, 59]) == [lines[17], lines[18], lines[59]]
    assert find_lines(path, ",", []) == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("start", ["", "\ufeff", "\n"])
@pytest.mark.parametrize("block", [7, 100, 1 << 20])
def test_blocks_change_nothing_of_what_polars_reads(
    seed: int, start: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = random_csv(seed, "\n")[0]
    text = text.replace("\nx", "\n\nx")  # and some lines are blank
    path = tmp_path / "a.csv"
    path.write_text(start + text, encoding="utf-8")
    whole = pl.read_csv(path, infer_schema=False, truncate_ragged_lines=True, null_values="x")
    monkeypatch.setattr(delimited, "_BLOCK", block)
    frame = scan(path)
    assert frame.collect().equals(whole)
    assert frame.select("c", d="a").collect().equals(whole.select("c", d="a"))
    assert frame.head(9).collect().equals(whole.head(9))
    assert frame.slice(9, 5).collect().equals(whole.slice(9, 5))
    few = pl.col("b") == "a,b"
    assert frame.filter(few).collect().equals(whole.filter(few))
    assert frame.select(pl.len()).collect().item() == len(whole)


def test_what_is_kept_does_not_grow_with_the_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "_BLOCK", 1000)
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + "1,2\n" * 5000 + "1\n" + "1,2\n" * 4999, encoding="utf-8")
    known = survey(path, ",")
    assert known.n_records == 10_000
    n_blocks = len(list(read_blocks(path)))
    assert n_blocks < 50
    kept = [known.first, known.line, known.offset, *known.flaws.values()]
    assert sum(array.size for array in kept) <= 3 * n_blocks + 2
    assert max(len(block.content) for block in read_blocks(path)) <= 1010
    assert find_lines(path, ",", [5000]) == [5002]


def test_a_file_is_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n3\n", encoding="utf-8")
    first = survey(path, ",")
    assert survey(path, ",") is first
    path.write_text("a,b\n1,2\n3\n4\n", encoding="utf-8")
    assert find_flaws(path, ",")[FEWER_FIELDS].tolist() == [1, 2]


@pytest.mark.parametrize("start", ["", "\ufeff", "\n\r\n", "\ufeff\n"])
def test_the_header_is_the_first_line_that_is_not_blank(start: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes((start + '"a\nb",c\n1,2\n\n3,4').encode())
    assert read_header(path, ",", "utf8") == ("a\nb", "c")
    blank = start.count("\n")
    assert find_lines(path, ",", [0, 1, 2]) == [3 + blank, 4 + blank, 5 + blank]
    assert find_flaws(path, ",")[FEWER_FIELDS].tolist() == [1]
    assert scan(path).collect().rows() == [("1", "2"), (None, None), ("3", "4")]


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
    flaws = find_flaws(path, ",")
    assert flaws[TORN].tolist() == [1] if torn else TORN not in flaws
    fault = find_fault(path, ",", "utf8")
    assert (fault is not None) == torn
    if fault is not None:
        assert fault.where == f"{path}, line 3"


def test_a_quotation_mark_that_hides_a_line_end(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('a,b\n"1\n",2\n5" wide,b\n7" high,b\n', encoding="utf-8")
    with pytest.raises(SeqmarketError, match=r"not in pairs(.|\n)*line 4"):
        survey(path, ",")


@pytest.mark.parametrize("block", [5, 1 << 20])
def test_a_quotation_mark_that_is_never_closed(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "_BLOCK", block)
    path = tmp_path / "a.csv"
    path.write_text('a,b\n1,2\n"3,4\n5,6\n', encoding="utf-8")
    for read in (lambda: survey(path, ","), lambda: scan(path).collect()):
        with pytest.raises(SeqmarketError, match=r"never closed(.|\n)*after line 2"):
            read()


def test_an_open_quotation_mark_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "_BLOCK", 10)
    monkeypatch.setattr(delimited, "_LONGEST", 100)
    path = tmp_path / "a.csv"
    path.write_text('a,b\n1,2\n"3,4\n' + "5,6\n" * 100 + '7,8"\n', encoding="utf-8")
    with pytest.raises(SeqmarketError, match=r"never closed(.|\n)*after line 2"):
        survey(path, ",")


def test_polars_and_we_count_the_same_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n3,4\n", encoding="utf-8")
    frame = scan(path)
    shorter = pl.scan_csv(path, infer_schema=False).head(1)
    monkeypatch.setattr(pl, "scan_csv", lambda *_, **__: shorter)
    frame = scan(path)
    with pytest.raises(SeqmarketError, match=r"not in pairs(.|\n)*between the lines 1 and 3"):
        frame.collect()


def test_the_number_of_records_is_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "_SAMPLE", 1000)
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + "11,22\n" * 5000, encoding="utf-8")
    assert 4900 < estimate_records(path) < 5100


@pytest.mark.parametrize("content", [b"", b"\n\r\n", b"\xef\xbb\xbf"])
def test_an_empty_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(SeqmarketError, match="the file is empty"):
        read_header(path, ",", "utf8")
