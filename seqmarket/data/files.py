"""Folders that are complete or absent: written beside, hashed, flushed to disk, renamed, locked."""

from __future__ import annotations

import glob
import hashlib
import json
import mmap
import os
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from seqmarket.errors import SeqmarketError

MANIFEST = "manifest.json"
_THREADS = 4
_PARSING = Lock()
"""NumPy parses the head of a file as Python, which fails at times where two threads of Python 3.11
do so at once: "AST constructor recursion depth mismatch"."""


@contextmanager
def building(path: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `path` when the block ends well, and vanishes otherwise.

    Its manifest holds the SHA-256 of every file. The caller holds the lock of `path`, so that what
    an earlier process left half-built can be removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".{glob.escape(path.name)}-building-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    folder = path.with_name(f".{path.name}-building-{os.getpid()}")
    folder.mkdir()
    try:
        yield folder
        write_json(folder / MANIFEST, _manifest(_hashes(folder, flush=True)))
        for entry in (folder / MANIFEST, *filter(Path.is_dir, folder.rglob("*")), folder):
            fsync(entry)
        folder.rename(path)
        fsync(path.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def removing(folder: Path) -> Iterator[None]:
    """Removes a folder while the block does something else."""
    with ThreadPoolExecutor(1) as beside:
        removal = beside.submit(shutil.rmtree, folder)
        yield
        removal.result()


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Holds the lock of a folder to be built; whoever comes second waits for the first.

    The system releases the lock of a process that dies.

    Args:
        path: The folder.
        waiting: Called if the lock has to be waited for.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def verify(path: Path, what: str) -> dict[str, str]:
    """Checks every file of a folder against its manifest.

    Args:
        path: The folder.
        what: How a message calls it.

    Returns:
        File, relative to the folder -> SHA-256.

    Raises:
        SeqmarketError: A file is missing, is not the one that was written, or is one too many.
    """
    try:
        manifest = read_manifest(path)
        found = _hashes(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, what, f"{MANIFEST} cannot be read ({error})") from error
    for name in sorted(manifest.keys() | found.keys()):
        if name not in found:
            raise damaged(path, what, f"{name} is missing")
        if name not in manifest:
            raise damaged(path, what, f"{name} does not belong to it")
        if manifest[name] != found[name]:
            raise damaged(path, what, f"{name} is not the file that was written")
    return manifest


def read_manifest(path: Path) -> dict[str, str]:
    """The manifest of a folder, as it was written.

    Raises:
        ValueError: It is not the one that was written.
    """
    recorded = json.loads((path / MANIFEST).read_text())
    manifest: dict[str, str] = recorded["files"]
    if recorded["digest"] != digest_of(manifest):
        raise ValueError("its digest is another one")
    return manifest


def damaged(path: Path, what: str, detail: str) -> SeqmarketError:
    """The refusal of a folder of ours that has changed since it was written."""
    return SeqmarketError(
        f"the {what} is damaged: {detail}",
        where=str(path),
        fix="delete that folder and run again; the log itself is not affected",
    )


def digest_of(manifest: dict[str, str]) -> str:
    """SHA-256 over the names and hashes of files."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def write_json(path: Path, content: object) -> None:
    """Writes plain containers in the order in which they are given.

    On one line: with an indent, Python's encoder is ten times slower, and a lexicon can be long.
    """
    path.write_text(json.dumps(content))


def write_array(file: BinaryIO, array: NDArray[Any]) -> None:
    """Writes an array in NumPy's own format.

    Unlike `numpy.save`, it says why where it fails: the `OSError` has its number.
    """
    header = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(file, header)
    file.write(np.ascontiguousarray(array).data)


def read_array(file: BinaryIO) -> NDArray[Any]:
    """Reads an array that `write_array` wrote. Unlike `numpy.load`, it lets other threads work."""
    with _PARSING:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    return read_raw(file, dtype, shape)


def map_array(path: Path) -> NDArray[Any]:
    """Maps the array of a file into memory, read-only."""
    with _PARSING:
        mapped: NDArray[Any] = np.load(path, mmap_mode="r")
    return mapped


def let_go(array: NDArray[Any]) -> None:
    """Gives the memory of a mapped array back to the system, until it is read again."""
    if isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.base.madvise(mmap.MADV_DONTNEED)


def read_raw(file: BinaryIO, dtype: DTypeLike, shape: int | tuple[int, ...]) -> NDArray[Any]:
    """Reads the plain bytes of an array; lets other threads work meanwhile.

    Raises:
        ValueError: The file ends before.
    """
    array = np.empty(shape, dtype)
    if array.size and file.readinto(array.view(np.uint8).data) != array.nbytes:  # type: ignore[attr-defined]
        raise ValueError("the file ends in the middle of an array")
    return array


@contextmanager
def writing_tables() -> Iterator[None]:
    """Turns what Polars says of a failed write, such as on a full disk, into an `OSError`."""
    from polars.exceptions import ComputeError  # here, as records of runs do without Polars

    try:
        yield
    except ComputeError as error:
        code = re.search(r"\(os error (\d+)\)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1]))) from error


def fsync(path: Path) -> None:
    """Flushes a file or the entries of a folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest(files: dict[str, str]) -> dict[str, Any]:
    return {"files": files, "digest": digest_of(files)}


def _hashes(folder: Path, *, flush: bool = False) -> dict[str, str]:
    """The SHA-256 of every file; flushing them keeps the disk busy beside the processor."""
    names = sorted(
        str(file.relative_to(folder))
        for file in folder.rglob("*")
        if file.is_file() and file.name != MANIFEST
    )
    paths = [folder / name for name in names]
    with ThreadPoolExecutor(_THREADS) as flushing, ThreadPoolExecutor(_THREADS) as hashing:
        flushed = flushing.map(fsync, paths if flush else [])
        found = dict(zip(names, hashing.map(sha256_of, paths), strict=True))
        deque(flushed, maxlen=0)  # raises where one of them failed
    return found
