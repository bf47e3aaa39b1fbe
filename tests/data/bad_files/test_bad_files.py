"""Files that are not what they should be, and folders of them."""

from __future__ import annotations

import gzip
import os
import sys
from datetime import datetime, timedelta

import pytest


@pytest.mark.parametrize("name", ["log.csv", "log.parquet", "log.arrow"])
def test_empty(log, name) -> None:
    """An empty file"""
    log.write(b"", name)
    log.refused(name)


def test_header_only(log) -> None:
    """A header and no row"""
    log.write(log.csv(good=[]))
    log.refused()


@pytest.mark.parametrize("name", ["log.parquet", "log.arrow"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.99])
def test_cut_binary(log, name, share) -> None:
    """A Parquet or Arrow file that was cut off"""
    whole = log.write(log.frame(), name).read_bytes()
    log.write(whole[: int(share * len(whole))], name)
    log.refused(name)


def test_overwritten(log) -> None:
    """A Parquet file that was damaged inside"""
    content = bytearray(log.write(log.frame(), "log.parquet").read_bytes())
    content[4:400] = bytes(396)
    log.write(bytes(content), "log.parquet")
    log.refused("log.parquet")


@pytest.mark.parametrize("name", ["log.parquet", "log.arrow"])
def test_text_as_binary(log, name) -> None:
    """Text with the suffix of Parquet or Arrow"""
    path = log.write(log.csv(), name)
    log.refused(name)
    path.rename(path.with_suffix(".csv"))
    log.mended()


@pytest.mark.parametrize("name", ["log.parquet", "log.arrow"])
def test_binary_as_text(log, name) -> None:
    """A Parquet or Arrow file with the suffix of text"""
    log.write(log.frame(), name).rename(log.folder / "log.csv")
    log.refused()
    log.mended(format="parquet" if name == "log.parquet" else "ipc")


def test_stream(log) -> None:
    """A stream of Arrow IPC"""
    log.frame().write_ipc_stream(log.folder / "log.arrow")
    log.refused("log.arrow")


@pytest.mark.parametrize("name", ["log.csv.gz", "log.csv"])
def test_compressed(log, name) -> None:
    """A compressed CSV file"""
    log.write(gzip.compress(log.csv().encode()), name)
    log.refused(name)


def test_compressed_among_others(log) -> None:
    """A compressed file among others in a folder"""
    log.write(log.csv())
    log.write(gzip.compress(log.csv().encode()), "older/log.csv.gz")
    log.refused("log.csv.gz")


@pytest.mark.parametrize("name", ["log.csv", "log.xlsx"])
def test_spreadsheet(log, name) -> None:
    """A spreadsheet"""
    log.write(b"PK\x03\x04" + bytes(2_000), name)
    log.refused(name)


def test_unknown_suffix(log) -> None:
    """A file whose suffix tells no format"""
    log.write(log.csv(), "log.data")
    log.refused("log.data")
    log.mended(format="csv")


@pytest.mark.parametrize("pattern", ["", "2024.csv", "*.parquet", "**x/[", "x" * 5_000])
def test_nothing_there(log, pattern) -> None:
    """A path where no data are"""
    log.write("notes", "README.md")
    log.refused("data.path", path=log.folder / pattern)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that nobody can read")
@pytest.mark.parametrize("file_format", ["csv", "parquet", "ipc"])
def test_unreadable(log, file_format) -> None:
    """A file that cannot be read"""
    path = log.write(log.csv())
    if os.geteuid() == 0:  # who may read every file, but for the first page of its own memory
        path.unlink()
        path.symlink_to("/proc/self/mem")
    else:
        path.chmod(0)
    log.refused(format=file_format)


@pytest.mark.parametrize("name", ["log [2024]*.csv", "a?b/log.csv"])
def test_glob_characters(log, name) -> None:
    """A path with the characters of a glob"""
    log.read(path=log.write(log.csv(), name))


def test_partition_without_value(log) -> None:
    """A partition without a value, of a column that may be empty"""
    for index, shop in enumerate(("007", "__HIVE_DEFAULT_PARTITION__")):
        log.write(log.csv(good=log.lines[30 * index :][:30]), f"shop={shop}/0.csv")
    events = log.read(categorical=["shop"], path=log.folder)
    assert events["shop"].to_list().count("007") == events["shop"].null_count() == 30


def test_partition_without_channel(log) -> None:
    """A partition without a value, of a column that every event has"""
    frame = log.frame().drop("channel")
    log.write(frame[:50], "channel=web/0.parquet")
    folder = "channel=__HIVE_DEFAULT_PARTITION__"
    log.write(frame[50:], f"{folder}/0.parquet")
    log.set_aside(10, where="0.parquet, row 1", rows=60, path=log.folder)


def test_several_formats(log) -> None:
    """CSV, Parquet and Arrow files in one folder"""
    frame = log.frame()
    log.write(log.csv(good=log.lines[:20]), "a.csv")
    log.write(frame[20:40], "b.parquet")
    log.write(frame[40:], "c.arrow")
    events = log.read()
    assert sorted(events["value"]) == frame["value"].to_list()


def test_the_same_file_twice(log) -> None:
    """The same rows twice, in one file or in two"""
    log.write(log.csv(*log.lines))
    log.read(120, kept=60)
    log.write(log.csv(), "log (1).csv")
    log.read(180, kept=60)
    log.read(180, validation={"duplicates": "keep"})


def test_another_order_of_columns(log) -> None:
    """Files with their columns in another order"""
    log.write(log.frame()[:30].select(log.header.split(",")[::-1]), "a.parquet")
    log.write(log.csv(good=log.lines[30:]), "b.csv")
    assert sorted(log.read()["value"]) == log.frame()["value"].to_list()


def test_a_column_in_some_files(log) -> None:
    """A value or cost in some of the files only"""
    log.write(log.frame()[:30], "a.parquet")
    log.write(log.frame()[30:].drop("value"), "b.parquet")
    assert log.read()["value"].null_count() == 30


def test_a_file_without_a_column(log) -> None:
    """A column that one of the files does not have"""
    log.write(log.csv(), "a.csv")
    log.write(log.csv(header=log.header.replace("channel", "chanel")), "b.csv")
    log.refused("b.csv, data.columns.channel")


def test_type_changes_between_files(log) -> None:
    """A column that is numbers in one file and text in the next"""
    later = log.frame()["time"] + timedelta(days=30)
    log.write(log.frame(value=range(60)), "a.parquet")
    log.write(log.frame(time=later, value=[*"1234", "free", *"5" * 55]), "b.parquet")
    events = log.set_aside(where="b.parquet, row 5", rows=120).frame.collect()
    since = events.filter(events["time"].dt.replace_time_zone(None) > datetime(2024, 1, 30))
    assert set(since["value"]) == {1.0, 2.0, 3.0, 4.0, 5.0}
