"""What every source of events is: the contract behind `data=`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from seqmarket.data.raw_log import RawLog


class EventSource(Protocol):
    """A place that event logs are read from, built by keyword from `conf/data/<source>.yaml`.

    An implementation is a `seqmarket.data.settings.Settings`, so that wrong types and unknown keys
    of its options are refused before anything is read.
    """

    @property
    def name(self) -> str:
        """Name of the log in reports and runs."""
        ...

    def check(self) -> None:
        """Sees whether the log is there, at once: no content is read.

        Raises:
            SeqmarketError: A file, the data files of a folder or a package is missing.
        """
        ...

    def fingerprint(self) -> str:
        """SHA-256 of the content and of the options that shape the log, without reading the log.

        A cached store is found by it; the log that `open` gives carries the same one.

        Raises:
            SeqmarketError: The content is not there.
        """
        ...

    def family(self) -> str | None:
        """SHA-256 of the options alone: logs of one family differ in their parts only.

        To a validated log of some of the parts the others can be added. None: never.
        """
        ...

    def open(self) -> RawLog:
        """Finds the log and sees how it is to be read; the events themselves are not read.

        Raises:
            SeqmarketError: The content is not there or cannot be used.
        """
        ...


def fingerprint_of(revision: int, options: Mapping[str, Any], content: Iterable[str] = ()) -> str:
    """SHA-256 of a source's options and content.

    Args:
        revision: Raised by a source when it starts to make another log of the same content.
        options: Plain containers.
        content: Digests of its files, see `file_digest`.
    """
    text = json.dumps([revision, options, list(content)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(name: str, path: Path) -> str:
    """SHA-256 of a file's content and of what is to be known of its name.

    Where it lies does not count. A file is hashed once in a process, while it stays the same.
    """
    stat = path.stat()
    return _file_digest(name, str(path.resolve()), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=65_536)
def _file_digest(name: str, path: str, size: int, modified: int) -> str:
    del size, modified  # parts of the key
    with Path(path).open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(json.dumps([name, content]).encode()).hexdigest()
