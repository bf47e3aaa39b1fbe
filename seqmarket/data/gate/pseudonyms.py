"""Pseudonyms: HMAC-SHA-256 of an identifier under a key that is read where it is needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import polars as pl

from seqmarket.data.gate.keyed_hash import hmac_sha256
from seqmarket.data.gate.settings import PseudonymSettings
from seqmarket.errors import SeqmarketError

_KEY = "data.privacy.pseudonyms"
_SHORTEST = 32
_DIGITS = 32
_LABEL = "\0seqmarket key id"


class Pseudonyms:
    """Turns customers into pseudonyms.

    A pseudonym is the first 32 hexadecimal digits (128 bits) of HMAC-SHA-256 (RFC 2104) over the
    UTF-8 bytes of the identifier: among a billion customers, two have the same one with a
    probability of 1.5e-21. The key itself is not kept, only the two states of SHA-256 after it;
    a copy in another process reads the key there.

    Attributes:
        key_id: 8 hexadecimal digits that tell keys apart, and nothing about them.

    Args:
        settings: Where the key is.

    Raises:
        SeqmarketError: There is no key, it is too short, or it is not in hexadecimal digits.
    """

    def __init__(self, settings: PseudonymSettings) -> None:
        self._settings = settings
        self._hmac = hmac_sha256(_read_key(settings))
        self.key_id = self._hmac(_LABEL)[:8]

    def __repr__(self) -> str:
        return f"Pseudonyms(key_id={self.key_id!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self._settings, self.key_id)

    def of(self, customers: pl.Series) -> pl.Series:
        """(n,) String -> (n,) String; null stays null."""
        digest = self._hmac
        texts = [None if text is None else digest(text)[:_DIGITS] for text in customers.to_list()]
        return pl.Series(customers.name, texts, pl.String)


def _again(settings: PseudonymSettings, key_id: str) -> Pseudonyms:
    pseudonyms = Pseudonyms(settings)
    if pseudonyms.key_id != key_id:
        raise SeqmarketError(
            f"the key of the pseudonyms is another one here ({pseudonyms.key_id}) than where the "
            f"work was started ({key_id})",
            where=_where(settings),
            fix="give every process the same key",
        )
    return pseudonyms


def _where(settings: PseudonymSettings) -> str:
    if settings.key_file is not None:
        return f"{_KEY}.key_file={settings.key_file}"
    return f"{_KEY}.key_env={settings.key_env}"


def _read_key(settings: PseudonymSettings) -> bytes:
    """The key's bytes; what is wrong with it is said without showing any of it."""
    try:
        if settings.key_file is not None:
            text = Path(settings.key_file).read_bytes().decode("ascii", "replace")
        else:
            text = os.environ[settings.key_env]
        problem = None
    except KeyError:
        problem = "pseudonyms need a key, and the environment variable is not set"
    except OSError as error:
        problem = f"the file with the key of the pseudonyms cannot be read: {error.strerror}"
    if problem is None:
        try:
            key = bytes.fromhex(text.strip())
            if len(key) >= _SHORTEST:
                return key
            problem = (
                f"the key of the pseudonyms has {len(key)} bytes, and {_SHORTEST} are the least"
            )
        except ValueError:
            problem = "the key of the pseudonyms is not written in pairs of hexadecimal digits"
    make = "openssl rand -hex 32"
    raise SeqmarketError(
        problem,
        where=_where(settings),
        fix=f"(umask 077; {make} > {settings.key_file})"
        if settings.key_file is not None
        else f'export {settings.key_env}="$({make})"; keep the key: another one gives every '
        "customer another pseudonym",
    )
