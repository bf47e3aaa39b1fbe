"""A file that is not what was written is refused, and a kill never makes a good one such."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqmarket.data import sealed
from seqmarket.data.files import fsync, sha256_of
from seqmarket.data.sealed import (
    check_sealed,
    digest_file,
    put_as_before,
    put_sealed,
    remove_sealed,
    settle,
    state,
    write_sealed,
)
from seqmarket.errors import SeqmarketError

Write = Callable[[Path, Callable[[Path], object]], None]


def put(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def check(path: Path) -> None:
    check_sealed(path, "table", "predict again")


def test_it_is_a_digest_of_sha256sum(tmp_path: Path) -> None:
    path = tmp_path / "scores of May.parquet"
    write_sealed(path, put("one"))
    write_sealed(path, put("two"))
    check(path)
    assert path.read_text() == "two"
    assert sorted(tmp_path.iterdir()) == [path, digest_file(path)]
    program = shutil.which("sha256sum")
    if program is None:
        pytest.skip("no sha256sum here")
    command = [program, "--check", "--strict", "--quiet", digest_file(path).name]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0
    flip(path)
    quiet = subprocess.DEVNULL
    done = subprocess.run(command, cwd=tmp_path, check=False, stdout=quiet, stderr=quiet)
    assert done.returncode == 1


def a_flipped_bit_is_refused(path: Path) -> None:
    write_sealed(path, put("some rows"))
    check(path)
    flip(path)
    with pytest.raises(SeqmarketError, match="the table is damaged") as caught:
        check(path)
    assert caught.value.where == str(path)
    assert "predict again; if it was changed on purpose, delete a.sha256" in str(caught.value.fix)


def test_a_flipped_bit(tmp_path: Path) -> None:
    a_flipped_bit_is_refused(tmp_path / "a")


def test_a_flipped_bit_of_the_digest(tmp_path: Path) -> None:
    write_sealed(tmp_path / "a", put("some rows"))
    flip(digest_file(tmp_path / "a"))
    with pytest.raises(SeqmarketError, match="is damaged"):
        check(tmp_path / "a")


@pytest.mark.parametrize("claims", ["intact", "unrecorded"])
def test_a_check_that_is_skipped_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, claims: str
) -> None:
    monkeypatch.setattr(sealed, "state", lambda _: claims)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        a_flipped_bit_is_refused(tmp_path / "a")


def test_a_file_without_a_digest_is_read_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a").write_text("of an earlier version")
    with caplog.at_level(logging.WARNING):
        check(tmp_path / "a")
        check(tmp_path / "a")
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'a'} is read unchecked: it has no a.sha256 beside it"
    ]


class Kill(BaseException):
    """The end of the process: from then on nothing is written, renamed or removed."""


class Mortal:
    """A file system that a process can use for some steps only, the last one half."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
        self.left = steps
        for name in ("replace", "unlink", "write_text"):
            monkeypatch.setattr(Path, name, self._until_dead(getattr(Path, name)))
        monkeypatch.setattr(sealed, "fsync", self._until_dead(fsync))

    def _until_dead(self, do: Callable[..., Any]) -> Callable[..., Any]:
        def step(path: Path, *arguments: Any, **more: Any) -> Any:
            if self.left == 0 and do.__name__ == "write_text":
                path.write_bytes(str(arguments[0])[:5].encode())
            self.left -= 1
            if self.left < 0:
                raise Kill
            return do(path, *arguments, **more)

        return step


def a_kill_leaves_a_good_file(folder: Path, write: Write, *, before: bool | None) -> None:
    """Kills a write at each of its steps.

    Args:
        folder: Empty.
        write: What writes.
        before: Whether there is a file before, and its digest; None: no file.
    """
    for steps in range(100):
        path = folder / str(steps) / "a"
        path.parent.mkdir()
        if before:
            write_sealed(path, put("old"))
        elif before is not None:
            path.write_text("old")
        with pytest.MonkeyPatch.context() as monkeypatch:
            Mortal(monkeypatch, steps)
            try:
                write(path, put("new"))
                survived = True
            except Kill:
                survived = False
        if path.exists():
            assert path.read_text() in ("old", "new")
            # The file of an earlier version has no digest until it is replaced.
            is_bare = before is False and path.read_text() == "old"
            assert state(path) in ("intact", *(["unrecorded"] if is_bare else []))
        else:
            assert before is None
        if survived:
            assert steps > 3
            return
        write_sealed(path, put("newest"))
        assert state(path) == "intact"
        assert digest_file(path).read_text().count("\n") == 1
        path.write_text("new and wrong")
        assert state(path) == "damaged"
    pytest.fail("it never ends")


@pytest.mark.parametrize("before", [True, False, None])
def test_a_kill_at_any_moment(tmp_path: Path, before: bool | None) -> None:
    a_kill_leaves_a_good_file(tmp_path, write_sealed, before=before)


def file_first(path: Path, write: Callable[[Path], object]) -> None:
    write(path.with_name("beside"))
    path.with_name("beside").replace(path)
    sealed._record(path, {sha256_of(path)}, path.parent)


def digest_first(path: Path, write: Callable[[Path], object]) -> None:
    beside = path.with_name("beside")
    write(beside)
    sealed._record(path, {sha256_of(beside)}, path.parent)
    beside.replace(path)


def without_a_digest_between(path: Path, write: Callable[[Path], object]) -> None:
    digest_file(path).unlink(missing_ok=True)
    file_first(path, write)


def in_place(path: Path, write: Callable[[Path], object]) -> None:
    write(path)
    write_sealed(path, write)


@pytest.mark.parametrize(
    "mutant",
    [file_first, digest_first, without_a_digest_between, in_place],
    ids=lambda f: f.__name__,
)
def test_another_order_is_noticed(tmp_path: Path, mutant: Write) -> None:
    with pytest.raises(AssertionError):
        a_kill_leaves_a_good_file(tmp_path, mutant, before=True)


def test_a_file_that_is_replaced_while_it_is_hashed_is_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, hash_of = tmp_path / "a", sha256_of
    write_sealed(path, put("old"))

    def replaced_before(file: Path) -> str:
        monkeypatch.setattr(sealed, "sha256_of", hash_of)
        write_sealed(path, put("new"))
        return hash_of(file)

    monkeypatch.setattr(sealed, "sha256_of", replaced_before)
    assert state(path) == "intact"


def test_what_was_damaged_stays_refused(tmp_path: Path) -> None:
    path, beside = tmp_path / "a", tmp_path / "beside"
    for damage, wanted in ((lambda _: None, "intact"), (flip, "damaged"), (bare, "unrecorded")):
        write_sealed(path, put("some rows"))
        damage(path)
        beside.write_text("fewer rows")
        put_as_before(beside, path)
        assert (path.read_text(), state(path)) == ("fewer rows", wanted)


def bare(path: Path) -> None:
    digest_file(path).unlink()


def test_a_killed_write_can_be_ended(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a"
    path.parent.mkdir()
    write_sealed(path, put("old"))
    (tmp_path / "other.sha256").write_text("of another program, without its file")
    old = digest_file(path).read_text()
    with pytest.MonkeyPatch.context() as monkeypatch:
        replace = Path.replace

        def killed(file: Path, to: Path) -> Path:
            if to == path:
                raise Kill
            return replace(file, to)

        monkeypatch.setattr(Path, "replace", killed)
        with pytest.raises(Kill):
            write_sealed(path, put("new"))
    assert digest_file(path).read_text().count("\n") == 2
    settle(tmp_path)
    assert digest_file(path).read_text() == old


def test_it_goes_with_its_digest(tmp_path: Path) -> None:
    write_sealed(tmp_path / "a", put("some rows"))
    remove_sealed(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_digest_without_a_file_is_replaced(tmp_path: Path) -> None:
    write_sealed(tmp_path / "a", put("some rows"))
    (tmp_path / "a").unlink()
    (tmp_path / "beside").write_text("others")
    put_sealed(tmp_path / "beside", tmp_path / "a")
    check(tmp_path / "a")
