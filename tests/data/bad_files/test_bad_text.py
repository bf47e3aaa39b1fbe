"""CSV files: encodings, headers, separators, quotation marks, line ends."""

from __future__ import annotations

import polars as pl
import pytest

from seqmarket.errors import SeqmarketError


def test_bom(log) -> None:
    """A byte order mark"""
    log.write("\ufeff" + log.csv())
    log.read()


@pytest.mark.parametrize("bad", ["Z\u00fcrich", "\u20ac", "a\u00a0b"])
def test_latin(log, bad) -> None:
    """Latin-1 or Windows-1252"""
    log.write(log.csv(f"x,2024-01-18T10:00:00,{bad},visit,1").encode("cp1252"))
    log.refused("log.csv, line 62")
    events = log.mended(61, csv={"encoding": "utf8-lossy"})
    assert events["channel"].str.contains("\N{REPLACEMENT CHARACTER}").sum() == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_utf_16(log, encoding) -> None:
    """UTF-16"""
    log.write(log.csv().encode(encoding))
    log.refused()


def test_windows_line_ends(log) -> None:
    """Lines that end with CR LF, or a last line that ends with nothing"""
    log.write(log.csv().replace("\n", "\r\n")[:-2])
    assert set(log.read()["value"]) == set(log.frame()["value"])


def test_old_line_ends(log) -> None:
    """Lines that end with CR alone"""
    log.write(log.csv().replace("\n", "\r"))
    log.refused()


def test_no_header(log) -> None:
    """No header, or lines before it"""
    log.write("".join(f"{line}\n" for line in log.lines))
    log.refused()
    log.write("# exported in 2024\n" + log.csv())
    log.refused()


@pytest.mark.parametrize("header", ["user,time,channel,event_type,v", "customer_id, time, channel"])
def test_wrong_header(log, header) -> None:
    """A header with other names, or with spaces after the commas"""
    log.write(log.csv(header=header))
    log.refused("log.csv, data.columns.")
    if header.startswith("user"):
        log.mended(columns={"customer_id": "user"})


def test_repeated_name(log) -> None:
    """A name that the header repeats"""
    log.write(log.csv(header="customer_id,time,channel,event_type,channel"))
    log.refused()


def test_strange_names(log) -> None:
    """Columns with spaces or emoji in their names"""
    log.write(log.csv(header="customer id,when (UTC),\U0001f4e3,type,the value"))
    columns = {
        "customer_id": "customer id",
        "time": "when (UTC)",
        "channel": "\U0001f4e3",
        "event_type": "type",
        "value": "the value",
    }
    assert log.read(columns=columns)["channel"].unique().sort().to_list() == ["mail", "web"]


@pytest.mark.parametrize("mark", [";", "\t"])
def test_separator(log, mark) -> None:
    """Fields separated by semicolons or tabs"""
    log.write(log.csv().replace(",", mark))
    log.refused()
    log.mended(csv={"separator": "tab" if mark == "\t" else mark})


def test_more_fields(log) -> None:
    """A line with more fields than the header"""
    log.write(log.csv("x,2024-01-18,web,visit,1,5"))
    log.set_aside()


@pytest.mark.parametrize("line", ["x,2024-01-18,web,visit", "", "  ", "\0" * 512])
def test_fewer_fields(log, line) -> None:
    """A line with fewer fields than the header, or a blank one"""
    log.write(log.csv(line))
    log.set_aside()


def test_cut_in_a_line(log) -> None:
    """A CSV file that was cut off within a line"""
    text = log.csv()
    log.write(text[: text.rindex(",")])
    log.set_aside(where="log.csv, line 61", rows=60)


def test_cut_in_the_last_field(log) -> None:
    """A CSV file that was cut off within the last field of a line"""
    log.write(log.csv()[:-3])  # 59.5 has become 59
    assert 59.0 in log.read()["value"]


@pytest.mark.parametrize(
    "lines",
    [['x,2024-01-18,"web,visit,1', "y,2024-01-18,web,visit,1"], ['x,2024-01-18,5" web,visit,1']],
)
def test_never_closed(log, lines) -> None:
    """A quotation mark that is never closed"""
    log.write(log.csv(*lines))
    log.refused("log.csv, after line 61")
    log.write(log.csv(header=log.header.replace("time", '"time')))
    log.refused("log.csv, the header")


def test_a_mark_inside_a_field(log) -> None:
    """Quotation marks inside a field that hide a separator"""
    log.write(log.csv('x,2024-01-18,5" web,visit 7",1,', "y,2024-01-18T10:00:00,web,visit,1"))
    log.set_aside(rows=62)


def test_a_mark_that_joins_lines(log) -> None:
    """Quotation marks inside fields that join lines"""
    log.write(log.csv('x,2024-01-18,5" web,visit,1', 'y,2024-01-18,6" web,visit,1'))
    log.refused("log.csv, line 62")


def test_line_ends_in_quotes(log) -> None:
    """Line ends, separators and doubled marks inside quotes"""
    log.write(log.csv('x,2024-01-18T10:00:00,"a,\n""b""\r\n",visit,1'))
    events = log.read(61)
    assert 'a,\n"b"\r\n' in events["channel"]
    log.write(log.csv('x,2024-01-18T10:00:00,"a\n\nb",visit,1', "y,2024-01-18,web,visit,?"))
    with pytest.raises(SeqmarketError) as caught:
        log.mended()
    assert "log.csv, line 65," in str(caught.value.where)


def test_nul(log) -> None:
    """NUL bytes inside a field"""
    log.write(log.csv("x,2024-01-18T10:00:00,we\0b,visit,1"))
    assert "we\0b" in log.read(61)["channel"]


def test_long_field(log) -> None:
    """A field of 10 megabytes"""
    log.write(log.csv(f"x,2024-01-18T10:00:00,{'y' * 10_000_000},visit,1"))
    lengths = log.read(61)["channel"].str.len_chars()
    assert lengths.max() == 10_000_000
    log.write(log.csv(f"{'y' * 10_000_000},2024-01-18T10:00:00,web,visit,?"))
    with pytest.raises(SeqmarketError) as caught:
        log.mended()
    assert len(str(caught.value)) < 1_000


def test_garbage(log) -> None:
    """Bytes that are no text"""
    log.write(log.csv().encode() + bytes(range(128, 256)) * 40)
    log.refused("log.csv, line 62")


def test_the_good_log(log) -> None:
    """A log without a fault"""
    log.write(log.csv())
    assert (
        log.read()
        .sort("time")
        .drop("cost")
        .equals(log.frame().with_columns(pl.col("time").dt.replace_time_zone("UTC")))
    )
