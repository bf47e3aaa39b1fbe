"""The ledger of erasures: whom the gate refuses for good, without saying who they are.

A text file of JSON lines that is only ever added to. The first line holds a random salt; an
erasure holds its date, the number of customers, and the keyed hash of each of their identifiers;
a further line says what was removed. Every line carries a digest of itself and all lines before.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.data.gate.keyed_hash import hmac_sha256
from seqmarket.errors import SeqmarketError

_FORMAT = 1
_SALT_BYTES = 32
_REMEMBERED = 1 << 18
_KEY = "data.privacy.ledger"


@dataclass(frozen=True)
class Erased:
    """Whose data were erased; picklable.

    An identifier occurs in many chunks of a log, so those that were found not to be among the
    hashes are remembered, as far as they take some 25 MB; a copy in another process begins anew.

    Attributes:
        salt: Key of the hashes.
        hashes: HMAC-SHA-256 of every identifier, in hexadecimal digits.
    """

    salt: bytes = field(repr=False)
    hashes: frozenset[str] = field(repr=False)
    _others: set[str | None] = field(
        default_factory=lambda: {None}, init=False, repr=False, compare=False
    )

    def __reduce__(self) -> tuple[Any, ...]:
        return Erased, (self.salt, self.hashes)

    def among(self, ids: pl.Series) -> NDArray[np.bool_]:
        """(n,) identifiers, of which some may be null -> (n,) whether theirs were erased."""
        theirs = np.zeros(len(ids), dtype=np.bool_)
        others, digest = self._others, hmac_sha256(self.salt)
        new = [(at, text) for at, text in enumerate(ids.to_list()) if text not in others]
        for at, text in new:
            if digest(text) in self.hashes:
                theirs[at] = True
            elif len(others) < _REMEMBERED:
                others.add(text)
        return theirs

    def digest(self) -> str:
        """SHA-256 of the hashes, whatever their order."""
        return hashlib.sha256("".join(sorted(self.hashes)).encode()).hexdigest()


@dataclass(frozen=True)
class Erasure:
    """A line of the ledger that says whose data are to be erased.

    Attributes:
        id: 16 random hexadecimal digits.
        at: When it was ordered, UTC.
        customers: Number of customers.
        is_new: Whether the ledger did not hold all of them before.
    """

    id: str
    at: datetime
    customers: int
    is_new: bool = True


class Ledger:
    """The file of a ledger.

    Args:
        path: Where it is; it is made when the first erasure is entered.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def erased(self) -> Erased | None:
        """Everyone whose data were erased; None: nobody's.

        Raises:
            SeqmarketError: The file is not the one that was written.
        """
        lines, _ = self._read()
        hashes = frozenset(item for line in lines for item in line.get("hashes", ()))
        return Erased(bytes.fromhex(lines[0]["salt"]), hashes) if hashes else None

    def enter(self, identifiers: Iterable[str], customers: int) -> Erasure:
        """Enters customers, on disk when this returns; what is there already is found again.

        Args:
            identifiers: All identifiers of all of them.
            customers: How many customers they are.

        Raises:
            SeqmarketError: The file is not the one that was written.
        """
        wanted = set(identifiers)
        with self._locked():
            lines, check = self._read()
            if not lines:
                salt = secrets.token_bytes(_SALT_BYTES)
                lines = [{"ledger": _FORMAT, "salt": salt.hex()}]
                check = self._append(lines[0], check)
            salt = bytes.fromhex(lines[0]["salt"])
            hashes = {keyed_hash(salt, text) for text in wanted}
            held = [line for line in lines if hashes & set(line.get("hashes", ()))]
            if hashes <= {item for line in held for item in line["hashes"]} and held:
                last = held[-1]
                at = datetime.fromisoformat(last["at"])
                return Erasure(last["erasure"], at, customers, is_new=False)
            erasure = Erasure(secrets.token_hex(8), datetime.now(UTC), customers)
            content = {**_line(erasure), "customers": customers, "hashes": sorted(hashes)}
            self._append(content, check)
        return erasure

    def conclude(self, erasure: Erasure, removed: Mapping[str, int], left: int) -> None:
        """Notes what an erasure removed, by place, and in how many places something is left."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._locked():
            _, check = self._read()
            content = {"erasure": erasure.id, "at": now, "removed": dict(removed), "left": left}
            self._append(content, check)

    def entries_of(self, identifiers: Iterable[str]) -> list[Erasure]:
        """The erasures that these identifiers are in."""
        lines, _ = self._read()
        if not lines:
            return []
        salt = bytes.fromhex(lines[0]["salt"])
        hashes = {keyed_hash(salt, text) for text in identifiers}
        return [
            Erasure(line["erasure"], datetime.fromisoformat(line["at"]), line["customers"])
            for line in lines
            if hashes & set(line.get("hashes", ()))
        ]

    def _locked(self) -> AbstractContextManager[Any]:
        from filelock import FileLock

        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path.with_name(f".{self.path.name}.lock"))

    def _read(self) -> tuple[list[dict[str, Any]], str]:
        """The lines, and the digest that the next one goes on from."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return [], ""
        except OSError as error:
            raise SeqmarketError(
                f"the ledger of erasures cannot be read: {error.strerror}",
                where=f"{_KEY}={self.path}",
                fix="make it readable: without it, erased customers would come back",
            ) from error
        lines, check = [], ""
        # What follows the last line break was being written when its process was killed.
        for number, text in enumerate(content.split(b"\n")[:-1], start=1):
            try:
                line = json.loads(text)
                found = line.pop("check")
                check = _check(line, check)
                if found != check or (number == 1) != (line.get("ledger") == _FORMAT):
                    raise ValueError
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise SeqmarketError(
                    "the ledger of erasures is not as it was written",
                    where=f"{_KEY}={self.path}, line {number}",
                    fix="restore the file from a backup: without it, erased customers would "
                    "come back",
                ) from error
            lines.append(line)
        return lines, check

    def _append(self, content: Mapping[str, Any], check: str) -> str:
        check = _check(content, check)
        new = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            # Over a line that was cut short, if there is one.
            file.seek(file.read().rfind(b"\n") + 1)
            file.truncate()
            file.write(json.dumps({**content, "check": check}, sort_keys=True).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if new:
            from seqmarket.data.files import fsync

            fsync(self.path.parent)
        return check


def keyed_hash(salt: bytes, identifier: str) -> str:
    """HMAC-SHA-256 (RFC 2104) of an identifier, in hexadecimal digits."""
    return hmac.digest(salt, identifier.encode(), "sha256").hex()


def _line(erasure: Erasure) -> dict[str, Any]:
    return {"erasure": erasure.id, "at": erasure.at.isoformat(timespec="seconds")}


def _check(content: Mapping[str, Any], before: str) -> str:
    text = before + json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
