"""Folders that are complete or absent."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from seqmarket.data.files import (
    building,
    digest_of,
    let_go,
    locked,
    map_array,
    read_manifest,
    verify,
    write_array,
    write_json,
)
from seqmarket.errors import SeqmarketError


def build(path: Path, **files: str) -> None:
    with building(path) as folder:
        for name, text in files.items():
            file = folder / name.replace("__", "/")
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "made"
    with building(path) as folder:
        (folder / "a").write_text("x")
        assert not path.exists()
        assert folder.parent == path.parent
    assert [file.name for file in path.parent.iterdir()] == ["made"]
    assert set(verify(path, "thing")) == {"a"}


def test_files_of_subfolders_are_in_the_manifest(tmp_path: Path) -> None:
    build(tmp_path / "made", a="x", sub__b="y")
    manifest = verify(tmp_path / "made", "thing")
    assert set(manifest) == {"a", "sub/b"}
    assert read_manifest(tmp_path / "made") == manifest
    build(tmp_path / "again", sub__b="y", a="x")
    assert digest_of(verify(tmp_path / "again", "thing")) == digest_of(manifest)


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), building(tmp_path / "made") as folder:
        (folder / "a").write_text("x")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["made", "a[b]-*"])
def test_what_a_dead_process_left_is_removed(tmp_path: Path, name: str) -> None:
    for left in (f".{name}-building-1", f".{name}-building-99999"):
        (tmp_path / left / "sub").mkdir(parents=True)
    (tmp_path / f".other-{name}-building-1").mkdir()
    build(tmp_path / name, a="x")
    assert {p.name for p in tmp_path.iterdir()} == {name, f".other-{name}-building-1"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: (path / "a").write_text("y"), "a is not the file"),
        (lambda path: (path / "a").unlink(), "a is missing"),
        (lambda path: (path / "c").write_text(""), "c does not belong"),
        (lambda path: (path / "sub" / "b").write_text(""), "sub/b is not the file"),
        (lambda path: (path / "manifest.json").unlink(), "manifest.json cannot be read"),
        (lambda path: (path / "manifest.json").write_text("{}"), "manifest.json cannot be read"),
        (lambda path: write_json(path / "manifest.json", []), "manifest.json cannot be read"),
        (
            lambda path: write_json(path / "manifest.json", {"files": {}, "digest": digest_of({})}),
            "a does not belong",
        ),
    ],
)
def test_a_change_is_noticed(tmp_path: Path, change: object, message: str) -> None:
    path = tmp_path / "made"
    build(path, a="x", sub__b="y")
    assert callable(change)
    change(path)
    with pytest.raises(SeqmarketError, match=message) as found:
        verify(path, "thing")
    assert "the thing is damaged" in str(found.value)
    assert str(path) in str(found.value)


def test_the_second_waits_for_the_first(tmp_path: Path) -> None:
    order: list[str] = []
    held, waits = threading.Event(), threading.Event()

    def first() -> None:
        with locked(tmp_path / "made", lambda: order.append("never")):
            held.set()
            assert waits.wait(10)
            order.append("first")

    def waiting() -> None:
        order.append("waiting")
        waits.set()

    thread = threading.Thread(target=first)
    thread.start()
    assert held.wait(10)
    with locked(tmp_path / "made", waiting):
        order.append("second")
    thread.join()
    assert order == ["waiting", "first", "second"]


def test_a_lock_is_let_go_of_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path / "made", lambda: None):
        raise KeyError
    with locked(tmp_path / "made", lambda: pytest.fail("it is still held")):
        pass


@pytest.mark.parametrize(
    "array",
    [
        np.arange(5),
        np.empty(0, dtype=np.float32),
        np.arange(12, dtype=np.int32).reshape(3, 4)[:, 1:3],
        np.array([True, False]),
        np.empty((3, 0), dtype=np.int32),
    ],
    ids=["numbers", "none", "a part", "truth", "no columns"],
)
def test_arrays_are_written_as_numpy_does(tmp_path: Path, array: np.ndarray) -> None:
    with (tmp_path / "ours").open("wb") as file:
        write_array(file, array)
    np.save(tmp_path / "theirs.npy", np.ascontiguousarray(array))
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs.npy").read_bytes()


def test_files_are_flushed_before_the_folder_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int | str] = []
    fsync, rename = os.fsync, Path.rename

    def flushing(descriptor: int) -> None:
        calls.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def renaming(path: Path, target: Path) -> Path:
        calls.append("renamed")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", flushing)
    monkeypatch.setattr(Path, "rename", renaming)
    build(tmp_path / "made", a="x", sub__b="y")
    at = calls.index("renamed")
    made = tmp_path / "made"
    assert {path.stat().st_ino for path in (made, *made.rglob("*"))} <= set(calls[:at])
    assert calls[at + 1 :] == [tmp_path.stat().st_ino]


def test_what_is_let_go_of_is_read_again(tmp_path: Path) -> None:
    array = np.arange(100_000)
    np.save(tmp_path / "a.npy", array)
    mapped = map_array(tmp_path / "a.npy")
    for given in (mapped, mapped[5:], array):
        let_go(given)
    assert mapped.tolist() == array.tolist() == list(range(100_000))
