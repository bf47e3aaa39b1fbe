"""Pieces of a log, read in chunks: in order, in bounds, and with an answer to every damage."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from seqmarket.data import delimited
from seqmarket.data.chunked import read_chunks
from seqmarket.data.reading import (
    CsvSettings,
    RawPart,
    collect,
    count_rows,
    find_files,
    scan,
)
from seqmarket.errors import SeqmarketError

N = 5_000
FRAME = pl.DataFrame({"id": [f"c{i}" for i in range(N)], "n": np.arange(N)})
SUFFIXES = ("parquet", "arrow", "csv")


def write(frame: pl.DataFrame, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        frame.write_parquet(path, row_group_size=700)
    elif path.suffix == ".arrow":
        frame.write_ipc(path, record_batch_size=700)
    else:
        frame.write_csv(path)
    return path


def opened(path: Path | str, **csv: object) -> RawPart:
    (file,) = find_files(str(path), "auto", key="data.path")
    return scan(file, CsvSettings.model_validate(csv))


@pytest.mark.parametrize("kind", [*SUFFIXES, "frame", "query"])
@pytest.mark.parametrize("rows", [1_000, 1_999, N, 3 * N])
def test_chunks_are_the_rows_in_order(kind: str, rows: int, tmp_path: Path) -> None:
    if kind == "frame":
        part = RawPart(FRAME.lazy(), "log")
    elif kind == "query":
        part = RawPart(pl.concat([FRAME[:99].lazy(), FRAME[99:].lazy()]), "log")
    else:
        part = opened(write(FRAME, tmp_path / f"a.{kind}"))
    part = pickle.loads(pickle.dumps(part))  # as a worker gets it
    chunks = list(read_chunks(part, rows))
    length = [len(chunk) for _, chunk in chunks]
    assert [first for first, _ in chunks] == [sum(length[:i]) for i in range(len(length))]
    if kind in ("parquet", "arrow"):
        assert max(length) <= rows
        assert max(length) - min(length) <= 1
    else:
        assert all(n == rows for n in length[:-1])
    whole = pl.concat([chunk for _, chunk in chunks])
    assert whole.with_columns(pl.col("n").cast(pl.Int64)).equals(FRAME)


@pytest.mark.parametrize("kind", SUFFIXES)
def test_the_columns_of_an_empty_file_are_seen(kind: str, tmp_path: Path) -> None:
    ((first, chunk),) = read_chunks(opened(write(FRAME[:0], tmp_path / f"a.{kind}")), 10)
    assert (first, len(chunk), chunk.columns) == (0, 0, ["id", "n"])


@pytest.mark.parametrize("kind", SUFFIXES)
def test_rows_are_counted_or_guessed(kind: str, tmp_path: Path) -> None:
    count = count_rows(opened(write(FRAME, tmp_path / f"a.{kind}")))
    assert count is not None
    assert abs(count - N) <= (N // 100 if kind == "csv" else 0)
    assert count_rows(RawPart(FRAME.lazy(), "log")) == N


@pytest.mark.parametrize("kind", SUFFIXES)
def test_damage_in_the_middle_is_found_after_some_chunks(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "_BLOCK", 4096)
    path = write(
        FRAME.with_columns(secret=pl.lit("secret-") + pl.col("id")), tmp_path / f"a.{kind}"
    )
    part = opened(path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = b"\xff" * 2000
    path.write_bytes(bytes(content))
    seen = 0
    with pytest.raises(SeqmarketError) as caught:
        for _, chunk in read_chunks(part, 100):
            seen += len(chunk)
    assert 0 < seen < N
    assert str(caught.value.where).startswith(str(path))
    assert "secret-" not in str(caught.value)


def test_the_shape_of_csv_is_looked_into_whatever_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,n\nc1,1\n5" wide,2\n7" high,3\n', encoding="utf-8")
    part = opened(path)
    for read in (lambda: collect(part, part.frame.select("n")), lambda: list(read_chunks(part, 9))):
        with pytest.raises(SeqmarketError, match="not in pairs") as caught:
            read()
        assert caught.value.where == f"{path}, line 3"


def uri(path: Path) -> str:
    return f"file://{path}"


@pytest.mark.parametrize("kind", SUFFIXES)
def test_a_uri_is_left_to_polars(kind: str, tmp_path: Path) -> None:
    write(FRAME[:9], tmp_path / f"1.{kind}")
    write(FRAME[9:], tmp_path / f"2.{kind}")
    part = opened(uri(tmp_path / f"*.{kind}"))
    assert part.label == uri(tmp_path / f"*.{kind}")
    chunks = [chunk for _, chunk in read_chunks(part, 1_000)]
    assert max(len(chunk) for chunk in chunks) == 1_000
    assert pl.concat(chunks).with_columns(pl.col("n").cast(pl.Int64)).equals(FRAME)
    assert count_rows(part) == (None if kind == "csv" else N)


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_folders_of_a_uri_are_columns_of_text(kind: str, tmp_path: Path) -> None:
    for shop in ("007", "8"):
        write(FRAME[:2], tmp_path / f"shop={shop}" / f"a.{kind}")
    part = opened(uri(tmp_path / f"**/*.{kind}"))
    assert collect(part, part.frame)["shop"].to_list() == ["007", "007", "8", "8"]


def test_a_uri_where_nothing_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SeqmarketError, match="nothing can be read there"):
        opened(uri(tmp_path / "none.parquet"))
    for name in ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SeqmarketError, match="nothing can be read there") as caught:
        opened("az://me:secret@box/a.parquet?sig=secret")
    assert caught.value.where == "az://box/a.parquet"
    assert "secret" not in str(caught.value)
    with pytest.raises(SeqmarketError, match="the suffix of the file tells no format"):
        find_files("s3://box/log", "auto", key="data.path")


def test_damage_behind_a_uri(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,n\nc1,1\nc2,secret,2\n", encoding="utf-8")
    part = opened(uri(path))
    with pytest.raises(SeqmarketError, match="nothing can be read there") as caught:
        list(read_chunks(part, 10))
    assert "secret" not in str(caught.value)
