"""Logs and stores in the cache: which there are, and which log a store was made of."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqmarket.data.event_log import ABOUT
from seqmarket.data.files import locked
from seqmarket.data.gate.gate import with_erasures
from seqmarket.data.gate.ledger import Erased
from seqmarket.data.prepare import LOGS, STORES, cache_name, digest_of_key
from seqmarket.data.store import ORIGIN

FORMERLY = "formerly"
"""In `about.json` of a log: the names of the folder before erasures, the newest last."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Keys:
    """What a log is found by after an erasure.

    Attributes:
        name: Of its folder.
        about: What becomes other in its `about.json`.
    """

    name: str
    about: dict[str, Any]


def folders(cache_dir: Path, kind: str) -> list[Path]:
    """The logs or stores of a cache, ordered by name.

    What is half-built there is removed, unless its process still works on it.
    """
    root = cache_dir / kind
    for leftover in sorted(root.glob(".*-building-*")):
        path = root / leftover.name[1:].rpartition("-building-")[0]
        with holding(path):
            shutil.rmtree(leftover, ignore_errors=True)
    return sorted(path for path in root.glob("[!.]*") if path.is_dir())


def read_about(path: Path) -> dict[str, Any]:
    """What a folder says of itself; nothing, if it is not one of ours or damaged."""
    try:
        about = json.loads((path / ABOUT).read_text())
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def read_origin(path: Path) -> dict[str, Any]:
    """The log and the settings that a store was made of; nothing, if it does not say."""
    try:
        origin = json.loads((path / ORIGIN).read_text())
    except (OSError, ValueError):
        return {}
    return origin if isinstance(origin, dict) else {}


def new_keys(about: dict[str, Any], former: str, erased: Erased | None) -> Keys | None:
    """What a log is found by from now on; None: it does not say what it was found by.

    Args:
        about: Of the log.
        former: The name of its folder.
        erased: Everyone whose data were erased, the newest included.
    """
    keys = about.get("keys")
    if not keys:
        return None

    def renewed(key: dict[str, Any]) -> dict[str, Any]:
        return {**key, "gate": with_erasures(key["gate"], erased)}

    log = renewed(keys["log"])
    family = renewed(keys["family"]) if keys["family"] else None
    changes = {
        "keys": {"log": log, "family": family},
        "origin": {**about["origin"], "family": digest_of_key(family) if family else ""},
        FORMERLY: [*about.get(FORMERLY, []), former],
    }
    return Keys(cache_name(about["name"], log), changes)


def log_of(cache_dir: Path, store: Path) -> Path | None:
    """The log that a store was made of, also after erasures; None: it is no longer there."""
    name = read_origin(store).get("log")
    for path in sorted((cache_dir / LOGS).glob("[!.]*")):
        if path.name == name or name in read_about(path).get(FORMERLY, []):
            return path
    return None


def key_id(path: Path) -> str | None:
    """Which key the pseudonyms of a log or store are under; None: it holds identifiers."""
    about = read_about(path).get("gate") or read_origin(path)
    found: str | None = about.get("key_id")
    return found


def stores(cache_dir: Path) -> list[Path]:
    """The stores of a cache."""
    return folders(cache_dir, STORES)


def logs(cache_dir: Path) -> list[Path]:
    """The validated logs of a cache."""
    return folders(cache_dir, LOGS)


@contextmanager
def holding(path: Path) -> Iterator[None]:
    """Holds the lock of a folder, and says so if another process has to be waited for."""

    def tell() -> None:
        _log.info("another process is making %s: waiting for it", path.name)

    with locked(path, tell):
        yield
