"""A disk that is full: a clear message, the former store intact, nothing half-written left."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import seqmarket
from seqmarket.cli.main import main
from seqmarket.data.engine import build
from seqmarket.data.files import write_array, writing_tables
from seqmarket.data.store import SequenceStore, open_store

resource = pytest.importorskip("resource", reason="no such limits on this system")

COLUMNS = ["data.categorical=[campaign]", "data.numeric=[price]"]


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """What a file system with such a bound does: EFBIG, where a full one says ENOSPC."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def log(journal: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("disk") / "log"
    journal.write(folder, [journal.rows(1, 3_000, customers=300, plain=True)])
    return folder


def arguments(log: Path, place: Path, *more: str) -> list[str]:
    where = [f"data.path={log}", f"paths.cache_dir={place / 'cache'}"]
    return ["prepare", "data=files", *where, f"paths.output_dir={place / 'out'}", *COLUMNS, *more]


def only_store(place: Path) -> SequenceStore:
    [path] = (place / "cache" / "stores").glob("[!.]*")
    return open_store(path)


def half_written(place: Path) -> list[Path]:
    return [path for path in place.rglob(".*") if path.suffix != ".lock"]


@pytest.mark.parametrize("size", [3_000, 60_000])
@pytest.mark.parametrize("log_is_there", [False, True])
def test_files_that_may_not_grow(
    log: Path,
    tmp_path: Path,
    size: int,
    log_is_there: bool,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Small runs, so that it is a later stage that fails.
    monkeypatch.setattr(build, "chunk_rows", lambda *_: 20)
    assert main(arguments(log, tmp_path)) == 0
    before = only_store(tmp_path).fingerprint
    change = "data.split.train_fraction=0.5" if log_is_there else "data.allow_negative_value=true"
    if log_is_there:
        size //= 5  # columns of a store are smaller than a shard of the log
    capfd.readouterr()
    with no_file_larger_than(size):
        code = main(arguments(log, tmp_path, change))
    err = capfd.readouterr().err
    assert code == 2, err
    assert "cannot write: File too large" in err
    assert "free some space" in err
    assert half_written(tmp_path) == []
    assert only_store(tmp_path).fingerprint == before
    assert main(arguments(log, tmp_path, change)) == 0  # as soon as there is room


# In a name space of its own: mounts a small disk, prepares a store, and then others with ever more
# room, all of it too little: one that needs another log, too, and one that needs another split.
FULL_DISK = """
import contextlib, io, json, shutil, subprocess, sys
from pathlib import Path
from seqmarket.cli.main import main
from seqmarket.data.store import open_store

place, arguments = Path(sys.argv[1]), sys.argv[2:]
cache, results = place / "cache", []
if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)]).returncode:
    sys.exit(77)

def run(*more):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        return main([*arguments, *more]), said.getvalue()

def folders():
    return set(cache.glob("*/[!.]*"))

def stores():
    return {path.name: open_store(path).fingerprint for path in cache.glob("stores/[!.]*")}

def fill(free):
    left = shutil.disk_usage(place).free - free
    with (place / "ballast").open("wb") as file:
        while left > 0:
            left -= file.write(bytes(min(left, 1 << 16)))

code, said = run()
assert code == 0, said
there, former = folders(), stores()

def leave_former():
    for path in folders() - there:
        shutil.rmtree(path)

for change in ("data.allow_negative_value=true", "data.split.train_fraction=0.5"):
    before = shutil.disk_usage(place).used
    assert run(change)[0] == 0
    needed, wanted = shutil.disk_usage(place).used - before, stores()
    for point in range(5):
        leave_former()
        fill(needed * (2 * point + 1) // 10)
        code, said = run(change)
        (place / "ballast").unlink()
        hidden = [str(path) for path in place.rglob(".*") if path.suffix != ".lock"]
        results.append([code, said, hidden, stores() == former])
    assert run(change)[0] == 0
    assert stores() == wanted
    leave_former()
print(json.dumps(results))
"""


def test_a_disk_that_is_full_at_ten_points(log: Path, tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    words = [*arguments(log, place), f"paths.output_dir={tmp_path / 'out'}"]
    try:
        done = subprocess.run(
            ["unshare", "-Urm", sys.executable, "-c", FULL_DISK, str(place), *words],
            env={**os.environ, "PYTHONPATH": str(Path(seqmarket.__file__).parents[1])},
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    if done.returncode == 77 or done.stderr.startswith("unshare:"):
        pytest.skip("no disk can be mounted here")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    assert len(results) == 10
    for code, said, hidden, intact in results:
        assert code == 2, said
        assert "cannot write: No space left on device" in said
        assert "free some space" in said
        assert hidden == []
        assert intact


def numbers(file: Any) -> None:
    write_array(file, np.arange(10_000))


@pytest.mark.parametrize(
    "write",
    [
        numbers,
        lambda file: file.truncate(100_000),
        lambda file: np.savez(file, a=np.arange(10_000)),
    ],
    ids=["arrays", "reserved space", "archives"],
)
def test_a_failed_write_says_why(write: Callable[[Any], None], tmp_path: Path) -> None:
    with (
        no_file_larger_than(1_000),
        pytest.raises(OSError, match="File too large") as found,
        (tmp_path / "file").open("wb") as file,
    ):
        write(file)
    assert found.value.errno == errno.EFBIG


def test_numpy_itself_would_not_say_why(tmp_path: Path) -> None:
    with (
        no_file_larger_than(1_000),
        pytest.raises(OSError, match="requested") as found,
        (tmp_path / "file").open("wb") as file,
    ):
        np.save(file, np.arange(10_000))
    assert found.value.errno is None


@pytest.mark.parametrize("lazily", [False, True])
def test_a_table_that_cannot_be_written_says_why(lazily: bool, tmp_path: Path) -> None:
    table = pl.DataFrame({"a": np.random.default_rng(1).random(10_000)})
    write = table.lazy().sink_parquet if lazily else table.write_parquet
    with (
        no_file_larger_than(1_000),
        pytest.raises(OSError, match="File too large") as found,
        writing_tables(),
    ):
        write(tmp_path / "file")
    assert found.value.errno == errno.EFBIG


def test_other_errors_of_tables_pass() -> None:
    with pytest.raises(pl.exceptions.ComputeError, match="else"), writing_tables():
        raise pl.exceptions.ComputeError("something else")
