"""What is written where the user said: refused clearly where the system does not let us write."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seqmarket.errors import SeqmarketError

_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR)
"""To read or write at or below a place, or to make it."""

_NOT_MADE = (errno.ENOENT, errno.EEXIST)
"""To make a place or what it is in; below it, the same errors would be a defect of ours."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The disk, a quota, or what one file may hold."""


@contextmanager
def writing(*files: Path) -> Iterator[None]:
    """Turns the system's refusals to write to these files and folders into a `SeqmarketError`.

    Any other error, also of the system and about these places, passes through.
    """
    try:
        yield
    except OSError as error:
        if not _is_refusal(error, files):
            raise
        raise cannot_write(error) from error


def cannot_write(error: OSError) -> SeqmarketError:
    """The message for a refusal of the system."""
    return SeqmarketError(
        f"cannot write: {error.strerror}",
        where=None if error.filename is None else str(error.filename),
        fix="free some space, or choose another place to write to"
        if error.errno in _FULL
        else "choose another place to write to",
    )


def make_folder_of(file: Path) -> None:
    """Makes the folder of an output file, before the work whose result goes there is done.

    Raises:
        SeqmarketError: The folder cannot be made, or the file is a folder.
    """
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))


def check_folder(folder: Path) -> None:
    """Makes sure that an output folder can be made, before the work whose result goes there.

    Raises:
        SeqmarketError: It cannot.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for place in made:
        place.rmdir()


def _is_refusal(error: OSError, files: tuple[Path, ...]) -> bool:
    if error.errno in _FULL:
        return True
    if not isinstance(error.filename, str | os.PathLike):
        return False
    blamed = Path(error.filename).absolute()
    wanted = [file.absolute() for file in files]
    if any(file.is_relative_to(blamed) for file in wanted):
        return error.errno in (*_REFUSED, *_NOT_MADE)
    return error.errno in _REFUSED and any(blamed.is_relative_to(file) for file in wanted)
