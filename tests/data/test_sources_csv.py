"""CSV files that are not what they seem: ragged rows, stray quotes, other separators and bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from seqmarket.data.sources.files import FileSource
from seqmarket.data.validation import Converter
from seqmarket.errors import SeqmarketError

Read = Callable[..., Any]

Write = Callable[..., Path]
Source = Callable[..., FileSource]

FEW = {"columns": {"channel": None, "event_type": "event_type"}}


@pytest.fixture
def ragged(csv_text: str) -> str:
    return csv_text + "secret,2024-01-04,web,purchase,1,2,3\nd,2024-01-05,web,visit,1\n"


@pytest.fixture
def read(source: Source, read_rows: Read) -> Read:
    def read_file(path: Path, policy: str = "error", chunk_rows: int = 2, **options: object) -> Any:
        log = source(path, **options).open()
        now = datetime.now(UTC)
        converter = Converter(log.schema, log.times, now, log.allow_negative_value, log.names)
        return read_rows(log.parts, converter, policy=policy, chunk_rows=chunk_rows)

    return read_file


@pytest.mark.parametrize("columns", ["all", "few"])
def test_a_row_has_as_many_fields_as_the_header_whatever_is_read(
    ragged: str, write: Write, columns: str, read: Read, tmp_path: Path
) -> None:
    text = ragged if columns == "all" else ragged.replace("value,cost", "price,fee")
    path = write(tmp_path / "a.csv", text)
    with pytest.raises(SeqmarketError, match="a row has more fields than the header") as caught:
        read(path, **({} if columns == "all" else FEW))
    assert caught.value.where == f"{path}, line 5"
    assert "1 further row breaks a rule" in caught.value.what
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("chunk_rows", [1, 2, 7, 100])
def test_ragged_rows_are_accounted_for(
    csv_text: str, ragged: str, write: Write, chunk_rows: int, read: Read, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.csv", ragged + csv_text.splitlines()[1] + "\ne,never,web,visit,,\n")
    found = read(path, "quarantine", chunk_rows)
    assert len(found.frame) == 4
    assert Counter(reason for *_, reason in found.broken) == {
        "a row has more fields than the header": 1,
        "a row has fewer fields than the header": 1,
        "'time' cannot be read as a time": 1,
    }
    assert found.aside["row"].to_list() == [5, 6, 8]
    assert found.aside["customer_id"].to_list() == ["secret", "d", "e"]


@pytest.mark.parametrize("columns", ["all", "few"])
@pytest.mark.parametrize("policy", ["error", "quarantine"])
def test_stray_quotation_marks_join_no_lines(
    csv_text: str, write: Write, columns: str, policy: str, read: Read, tmp_path: Path
) -> None:
    stray = csv_text + 'secret,2024-01-04,web,visit,,5"\nsecret,2024-01-05,web,visit,,7"\n'
    path = write(tmp_path / "a.csv", stray if columns == "all" else stray.replace("cost", "size"))
    with pytest.raises(SeqmarketError, match="quotation mark") as caught:
        read(path, policy)
    assert caught.value.where == f"{path}, line 5"
    assert "secret" not in str(caught.value)


def test_ragged_rows_of_customers_are_found(write: Write, read: Read, tmp_path: Path) -> None:
    customers = write(tmp_path / "c.csv", "customer_id,plan\n7,gold\n007,tin,old\n")
    with pytest.raises(SeqmarketError, match=r"more fields than the header(.|\n)*c\.csv, line 3"):
        read(
            write(tmp_path / "a.csv"),
            customers_path=str(customers),
            static_categorical=["plan"],
        )


def test_a_header_names_a_column_once(
    csv_text: str, write: Write, read: Read, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.csv", csv_text.replace("value,cost", "page,page"))
    with pytest.raises(SeqmarketError, match="names the column 'page' 2 times"):
        read(path)
    unnamed = csv_text.replace("value,cost", ",")  # as spreadsheets leave behind
    assert len(read(write(path, unnamed)).frame) == 3


@pytest.mark.parametrize(
    ("separator", "fix"),
    [(";", 'data.csv.separator=";"'), ("\t", "data.csv.separator=tab")],
)
def test_another_separator_is_suggested(
    csv_text: str, write: Write, separator: str, fix: str, read: Read, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.csv", csv_text.replace(",", separator))
    with pytest.raises(SeqmarketError, match="names none of the columns") as caught:
        read(path)
    assert fix in str(caught.value.fix)
    given = "tab" if separator == "\t" else separator
    assert len(read(path, csv={"separator": given}).frame) == 3


@pytest.mark.parametrize("bad", ["channel", "web"])
def test_another_encoding_is_named_with_its_line(
    csv_text: str, bad: str, read: Read, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(csv_text.replace(bad, "Stra\N{LATIN SMALL LETTER SHARP S}e").encode("latin-1"))
    with pytest.raises(SeqmarketError, match="bytes that are not UTF-8") as caught:
        read(path)
    assert caught.value.where == f"{path}, " + ("the header" if bad == "channel" else "line 2")
    assert "data.csv.encoding=utf8-lossy" in str(caught.value.fix)
    if bad == "web":
        assert len(read(path, csv={"encoding": "utf8-lossy"}).frame) == 3


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_utf_16_is_to_be_converted(
    csv_text: str, encoding: str, read: Read, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(csv_text.encode(encoding))
    with pytest.raises(SeqmarketError, match="looks like UTF-16") as caught:
        read(path)
    assert "iconv" in str(caught.value.fix)
