"""What is packed is unpacked, and what is not an identifier is not taken for one."""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from seqmarket.data.engine.shard_file import write_shard
from seqmarket.data.erasure import scan
from seqmarket.data.erasure.scan import scan_for
from seqmarket.data.shard import Shard
from seqmarket.data.texts import to_bytes

WHO = "planted-0007-x"
OTHERS = ["somebody-else", "planted-0008-x"]


def column(*values: str) -> pl.DataFrame:
    """Among so many like it that its bytes are nowhere in one piece once they are packed."""
    many = [f"planted-{number:04d}-x" for number in range(3_000) if number not in (7, 9)]
    return pl.DataFrame({"who": [*OTHERS, *many, *values, *many]})


def zipped(*members: tuple[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content * 50)
    return target.getvalue()


def parquet(path: Path) -> None:
    column(WHO).write_parquet(path)


def nested_parquet(path: Path) -> None:
    pl.DataFrame({"of": [[{"who": name} for name in [*OTHERS, WHO]]] * 300}).write_parquet(path)


def dictionary(path: Path) -> None:
    """No row has it, the dictionary of the column does."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0, 1] * 50), pa.array([*OTHERS, WHO]))
    pq.write_table(pa.table({"who": texts}), path, compression="zstd")


def arrow(path: Path) -> None:
    column(WHO).write_ipc(path, compression="zstd")


def archive_in_archive(path: Path) -> None:
    path.write_bytes(zipped(("inner.zip", zipped(("note.txt", f"of {WHO}.".encode())))))


def parquet_in_gzip(path: Path) -> None:
    target = io.BytesIO()
    column(WHO).write_parquet(target)
    path.write_bytes(gzip.compress(target.getvalue()))


def checkpoint(path: Path) -> None:
    torch.save({"spec": {"categories": ("web", WHO)}, "weights": torch.zeros(3)}, path)


def numpy_texts(path: Path) -> None:
    np.savez_compressed(path.with_suffix(".npz"), who=np.array([*OTHERS, WHO] * 100))


def database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (id INTEGER, text TEXT)")
        connection.execute("INSERT INTO notes VALUES (1, ?)", (f"called {WHO} twice",))
        connection.commit()


def freed_pages(path: Path) -> None:
    database(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("DELETE FROM notes")
        connection.commit()
        assert connection.execute("SELECT count(*) FROM notes").fetchone() == (0,)


def long_cell(path: Path) -> None:
    """A cell that runs over several pages, with the identifier at the end of one of them."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA page_size = 512")
        connection.execute("CREATE TABLE notes (text TEXT)")
        for shift in range(0, 512, 8):
            connection.execute("INSERT INTO notes VALUES (?)", ("." * (2_000 + shift) + WHO,))
        connection.commit()


def utf_16(path: Path) -> None:
    path.write_text(f"{OTHERS[0]}\n{WHO}\n", encoding="utf-16")


def name_of_a_file(path: Path) -> None:
    path.with_name(f"scores of {WHO}.txt").touch()


def name_in_an_archive(path: Path) -> None:
    path.write_bytes(zipped((f"{WHO}.txt", b"nothing")))


def across_pieces(path: Path) -> None:
    path.write_bytes(b"." * (scan._PIECE - 5) + WHO.encode() + b"." * 100)


def shard(path: Path) -> None:
    empty: dict[str, np.ndarray] = {}
    ids = pl.Series([*OTHERS, WHO])
    offsets, time = np.arange(4), np.arange(3)
    write_shard(path.with_suffix(".shard"), Shard(ids, offsets, time, empty, empty, empty, empty))


PLACES = [
    parquet,
    nested_parquet,
    dictionary,
    arrow,
    archive_in_archive,
    parquet_in_gzip,
    checkpoint,
    numpy_texts,
    database,
    freed_pages,
    long_cell,
    utf_16,
    name_of_a_file,
    name_in_an_archive,
    across_pieces,
    shard,
]


@pytest.mark.parametrize("plant", PLACES, ids=lambda plant: plant.__name__)
def test_it_is_found_wherever_it_is(tmp_path: Path, plant: Callable[[Path], None]) -> None:
    plant(tmp_path / "file")
    found = scan_for([WHO], [tmp_path])
    assert found
    assert scan_for(["planted-0009-x"], [tmp_path]) == []
    assert not any(WHO in f"{item.inside} {item.what}" for item in found)
    if plant is not name_of_a_file:
        assert not any(WHO in str(item.file) for item in found)


UNPACKERS = {
    "_zip": archive_in_archive,
    "_parquet": parquet,
    "_frame": arrow,
    "_sqlite": long_cell,
    "_unpacked": parquet_in_gzip,
}


@pytest.mark.parametrize("unpacker", UNPACKERS)
def test_a_scan_that_does_not_unpack_finds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unpacker: str
) -> None:
    """Mutants: the scan of bytes alone is blind to each of these."""
    monkeypatch.setattr(scan, unpacker, lambda *_, **__: iter(()))
    UNPACKERS[unpacker](tmp_path / "file")
    findings = scan_for([WHO], [tmp_path])
    if unpacker == "_sqlite":  # some of the cells lie in one page
        assert not any("table" in item.what for item in findings)
    else:
        assert findings == []


def test_a_part_of_another_identifier_is_not_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("customer-12, xcustomer-1, customer-1a\ncustomer-11")
    (tmp_path / "b.bin").write_bytes("customer-12".encode("utf-16-le"))
    assert [item.file.name for item in scan_for(["customer-1"], [tmp_path])] == ["a.txt"]
    (tmp_path / "a.txt").write_text("customer-12, customer-11, 2customer-10")
    assert scan_for(["customer-1"], [tmp_path]) == []
    (tmp_path / "c.json").write_text(json.dumps({"who": "Zoë-müller"}))
    assert [item.file.name for item in scan_for(["Zoë-müller"], [tmp_path])] == ["c.json"]


def test_a_short_identifier_counts_where_identifiers_are(tmp_path: Path) -> None:
    pl.DataFrame({"rank": ["7", "8"], "events": [7, 8]}).write_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.json").write_text('{"d_model": "7", "7": 7}')
    (tmp_path / "c.csv").write_text("rank,customer\n7,8\n")
    assert scan_for(["7"], [tmp_path]) == []
    needles = scan.Needles(["7"], ["customer"])
    for name, content in {
        "d.json": '{"customer_id" : "7"}',
        "e.csv": "rank,customer\n8,7\n",
        "f.jsonl": '{"rank": 8}\n{"customer": "7"}\n',
    }.items():
        (tmp_path / name).write_text(content)
        assert [item.file.name for item in scan_for(needles, [tmp_path])] == [name]
        (tmp_path / name).unlink()
    pl.DataFrame({"customer_id": [7, 8]}).write_parquet(tmp_path / "g.parquet")
    assert [item.file.name for item in scan_for(needles, [tmp_path])] == ["g.parquet"]
    bounds, content = to_bytes(pl.Series(["77", "7"]))
    store = tmp_path / "store"
    store.mkdir()
    np.save(store / "customer_id_offsets.npy", bounds)
    np.save(store / "customer_id_bytes.npy", content)
    assert [item.file.parent.name for item in scan_for(["7"], [store])] == ["store"]
    assert scan_for(["777"], [store]) == []


def test_what_cannot_be_unpacked_is_said(tmp_path: Path) -> None:
    whole = zipped(("a.txt", b"nothing" * 100))
    (tmp_path / "broken.zip").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "broken.gz").write_bytes(gzip.compress(b"nothing" * 1_000)[:-20])
    column().write_parquet(tmp_path / "broken.parquet")
    content = (tmp_path / "broken.parquet").read_bytes()
    (tmp_path / "broken.parquet").write_bytes(content[:-20])
    found = scan_for([WHO], [tmp_path])
    assert {item.file.name for item in found} == {"broken.zip", "broken.gz", "broken.parquet"}
    assert all("cannot be unpacked" in item.what for item in found)


def test_many_identifiers_are_looked_for_at_once(tmp_path: Path) -> None:
    many = [f"customer-{number:06d}" for number in range(3_000)]
    (tmp_path / "a.bin").write_bytes(np.random.default_rng(0).bytes(1 << 20))
    assert scan_for(many, [tmp_path]) == []
    (tmp_path / "a.bin").write_bytes(b"\xff" * 9_999 + many[2_999].encode() + b"\xff" * 9_999)
    assert len(scan_for(many, [tmp_path])) == 1
