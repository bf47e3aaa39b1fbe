"""Single files that are not what was written are noticed: a SHA-256 beside each.

``scores.parquet`` has ``scores.parquet.sha256`` beside it, in the format of ``sha256sum``, whose
``-c`` checks it as well. A file is written beside, flushed to disk, and gets its name in this
order:

1. The digest file names the digest of the file that is there, if there is one, and the new one.
2. The new file is renamed to its name.
3. The digest file names the new digest alone.

Each step is whole or absent, and on disk before the next begins. So whenever a process is killed,
the file that is there is one that was written as a whole, and its digest is recorded: it is never
refused, and anything else never accepted. What a kill leaves is a digest file that also names the
file before; the next write mends that.

A file without a digest file, of an earlier version or brought by hand, is read with a warning.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePath
from typing import Literal, TypeVar

from seqmarket.data.files import fsync, sha256_of
from seqmarket.errors import SeqmarketError

SUFFIX = ".sha256"

AnyPath = TypeVar("AnyPath", bound=PurePath)

log = logging.getLogger(__name__)


def digest_file(path: AnyPath) -> AnyPath:
    """Where the digest of a file is recorded."""
    return path.with_name(f"{path.name}{SUFFIX}")


def write_sealed(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file and its digest; whatever happens, the old or the new file is there, sealed.

    Args:
        path: The file.
        write: Writes it to where it is told.
    """
    write_beside(path, write, put_sealed)


def write_beside(
    path: Path,
    write: Callable[[Path], object],
    put: Callable[[Path, Path], None],
    *,
    mark: str = ".writing",
) -> None:
    """Writes a file beside its place, and leaves nothing there if that fails.

    Args:
        path: The file.
        write: Writes it to where it is told.
        put: Gives the finished file its name.
        mark: End of the name beside, for whoever clears up after a killed process.
    """
    beside = path.with_name(f".{path.name}{mark}")
    try:
        write(beside)
        put(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def put_sealed(beside: Path, path: Path) -> None:
    """Gives a finished file its name and records its digest, in the order that is said above.

    Args:
        beside: The finished file, on the same disk.
        path: Its name; what is there is replaced.
    """
    fsync(beside)
    digest = sha256_of(beside)
    known = _recorded(path)
    if not known and path.exists():
        known = {sha256_of(path)}
    _record(path, {*known, digest}, beside.parent)
    beside.replace(path)
    fsync(path.parent)
    if known - {digest}:
        _record(path, {digest}, beside.parent)


def put_as_before(beside: Path, path: Path) -> None:
    """Replaces a file by a finished one, whose digest is recorded if it was and was the right one.

    The digest of a file that was damaged stays as it is, so that the new file is refused as well.
    """
    if state(path) == "intact":
        put_sealed(beside, path)
    else:
        fsync(beside)
        beside.replace(path)
        fsync(path.parent)


def remove_sealed(path: Path) -> None:
    """Removes a file, then its digest: a digest without a file does no harm."""
    path.unlink(missing_ok=True)
    digest_file(path).unlink(missing_ok=True)


def settle(folder: Path) -> None:
    """Ends writes below a folder that were killed, where each is written by this process alone."""
    for recorded in folder.rglob(f"*{SUFFIX}"):
        path = recorded.with_suffix("")
        known = _recorded(path)
        if len(known) > 1 and path.is_file() and (digest := sha256_of(path)) in known:
            _record(path, {digest}, path.parent)


def state(path: Path) -> Literal["intact", "damaged", "unrecorded"]:
    """Whether a file is the one that was written."""
    if not digest_file(path).exists():
        return "unrecorded"
    # Read on both sides, as the file may be replaced while it is hashed.
    before = _recorded(path)
    digest = sha256_of(path)
    return "intact" if digest in before | _recorded(path) else "damaged"


def check_sealed(path: Path, what: str, fix: str) -> None:
    """Refuses a file that is not the one that was written.

    Args:
        path: The file.
        what: How a message calls it.
        fix: What mends it.

    Raises:
        SeqmarketError: Its SHA-256 is another one than the recorded one.
    """
    found = state(path)
    if found == "unrecorded":
        _warn_of(path)
    elif found == "damaged":
        raise SeqmarketError(
            f"the {what} is damaged: its SHA-256 is not the one in {digest_file(path).name}",
            where=str(path),
            fix=f"{fix}; if it was changed on purpose, delete {digest_file(path).name}",
        )


@cache
def _warn_of(path: Path) -> None:
    """Once per file."""
    log.warning("%s is read unchecked: it has no %s beside it", path, digest_file(path).name)


def _recorded(path: Path) -> set[str]:
    with suppress(FileNotFoundError):
        text = digest_file(path).read_text(encoding="utf-8", errors="replace")
        return set(re.findall(r"^([0-9a-f]{64})  ", text, re.MULTILINE))
    return set()


def _record(path: Path, digests: Iterable[str], folder: Path) -> None:
    target = digest_file(path)
    writing = folder / f".{target.name}.writing"
    try:
        writing.write_text("".join(f"{digest}  {path.name}\n" for digest in sorted(digests)))
        fsync(writing)
        writing.replace(target)
        fsync(target.parent)
    finally:
        writing.unlink(missing_ok=True)
