"""What every source of events is: the contract behind `data=`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from seqmarket.data.event_log import EventLog
from seqmarket.data.settings import ValidationSettings


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

        A cached store is found by it; the log that `read` gives carries the same one.

        Raises:
            SeqmarketError: The content is not there.
        """
        ...

    def read(self, validation: ValidationSettings, quarantine_dir: Path) -> EventLog:
        """Reads and validates the log.

        Args:
            validation: What happens to rows that break a rule.
            quarantine_dir: Where rows that are put aside are written to.

        Raises:
            SeqmarketError: The content is not there or cannot be used.
        """
        ...


def fingerprint_of(
    revision: int, options: Mapping[str, Any], files: Iterable[tuple[str, Path]] = ()
) -> str:
    """SHA-256 of a source's options and files, streamed.

    Args:
        revision: Raised by a source when it starts to make another log of the same content.
        options: Plain containers.
        files: Each with what is to be known of its name; where it lies does not count.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps([revision, options], sort_keys=True).encode())
    for name, path in files:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(json.dumps([name, content]).encode())
    return digest.hexdigest()
