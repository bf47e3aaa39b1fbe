"""HMAC-SHA-256 (RFC 2104) of many texts under one key."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

_BLOCK = 64


def hmac_sha256(key: bytes) -> Callable[[str], str]:
    """A function from a text to the 64 hexadecimal digits of the HMAC over its UTF-8 bytes.

    The key is not kept, only the two states of SHA-256 after it, which every text goes on from.
    """
    padded = (key if len(key) <= _BLOCK else hashlib.sha256(key).digest()).ljust(_BLOCK, b"\0")
    inner, outer = (hashlib.sha256(bytes(byte ^ pad for byte in padded)) for pad in (0x36, 0x5C))

    def digest(text: str) -> str:
        first, second = inner.copy(), outer.copy()
        first.update(text.encode())
        second.update(first.digest())
        return second.hexdigest()

    return digest
