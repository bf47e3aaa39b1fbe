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


@pytest.mark.parametrize("size", [3_000, 20_000, 120_000])
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
    out, err = capfd.readouterr()
    assert code == 2, err
    assert "cannot write: File too large" in err
    assert "free some space" in err
    assert half_written(tmp_path) == []
    assert only_store(tmp_path).fingerprint == before
    assert main(arguments(log, tmp_path, change)) == 0  # as soon as there is room


# In a name space of its own: mounts a small disk, leaves so much of it free, and prepares another
# store beside one that is there.
FULL_DISK = """
import contextlib, io, json, os, shutil, subprocess, sys
from pathlib import Path
from seqmarket.cli.main import main
from seqmarket.data.store import open_store

place, full, spare, *arguments = sys.argv[1:]
place, results = Path(place), []
made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)])
if made.returncode:
    sys.exit(77)

def used():
    return shutil.disk_usage(place).used

def run(*more):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        code = main([*arguments, *more])
    return code, said.getvalue()

def stores():
    found = (place / "cache" / "stores").glob("[!.]*")
    return {path.name: open_store(path).fingerprint for path in found}

assert run()[0] == 0
before, former = used(), stores()
code, said = run(full)
assert code == 0, said
wanted, needed = stores(), used() - before
for path in place.glob("cache/*/[!.]*"):
    if path.name not in former and path.parent.name == "stores":
        shutil.rmtree(path)
keep = {json.loads((place / "cache/stores" / name / "origin.json").read_text())["log"]
        for name in former}
for path in place.glob("cache/logs/[!.]*"):
    if path.name not in keep:
        shutil.rmtree(path)
for point in range(10):
    free = 8192 + int(needed * point / 10)
    ballast = place / "ballast"
    with ballast.open("wb") as file:
        left = shutil.disk_usage(place).free - free
        while left > 0:
            left -= file.write(bytes(min(left, 1 << 16)))
    code, said = run(full)
    ballast.unlink()
    hidden = [path.name for path in place.rglob(".*") if path.suffix != ".lock"]
    results.append([code, said, hidden, stores() == former])
code, said = run(full)
print(json.dumps([results, code, stores() == wanted]))
"""


@pytest.mark.slow
def test_a_disk_that_is_full_at_ten_points(log: Path, tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    words = [*arguments(log, place, "paths.output_dir=" + str(tmp_path / "out"))]
    change = "data.allow_negative_value=true"
    try:
        done = subprocess.run(
            ["unshare", "-Urm", sys.executable, "-c", FULL_DISK, str(place), change, "", *words],
            env={**os.environ, "PYTHONPATH": str(Path(seqmarket.__file__).parents[1])},
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    if done.returncode in (1, 77) and "Error" not in done.stderr:
        pytest.skip("no disk can be mounted here")
    assert done.returncode == 0, done.stderr
    results, code, equal = json.loads(done.stdout.splitlines()[-1])
    for code_then, said, hidden, intact in results:
        assert code_then == 2, said
        assert "cannot write: No space left on device" in said
        assert "free some space" in said
        assert hidden == []
        assert intact
    assert (code, equal) == (0, True)


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
    with no_file_larger_than(1_000), pytest.raises(OSError, match="File too large") as found:
        with (tmp_path / "file").open("wb") as file:
            write(file)
    assert found.value.errno == errno.EFBIG


def test_numpy_itself_would_not_say_why(tmp_path: Path) -> None:
    with no_file_larger_than(1_000), pytest.raises(OSError, match="requested") as found:
        with (tmp_path / "file").open("wb") as file:
            np.save(file, np.arange(10_000))
    assert found.value.errno is None


@pytest.mark.parametrize("lazily", [False, True])
def test_a_table_that_cannot_be_written_says_why(lazily: bool, tmp_path: Path) -> None:
    table = pl.DataFrame({"a": np.random.default_rng(1).random(10_000)})
    write = table.lazy().sink_parquet if lazily else table.write_parquet
    with no_file_larger_than(1_000), pytest.raises(OSError, match="File too large") as found:
        with writing_tables():
            write(tmp_path / "file")
    assert found.value.errno == errno.EFBIG


def test_other_errors_of_tables_pass() -> None:
    with pytest.raises(pl.exceptions.ComputeError, match="else"), writing_tables():
        raise pl.exceptions.ComputeError("something else")
