"""Names and texts cut to what MLflow accepts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")

MAX_NAME = 250
MAX_PARAM = 6000
MAX_TAG = 5000
"""Servers accept 8000 at the most, and some databases behind them 5000."""
MAX_DIGEST = 36
MAX_DATASET_NAME = 500

_REFUSED = re.compile(r"[^\w\-. /]", re.ASCII)


def safe_name(name: str) -> str:
    """A name that MLflow accepts for a metric, a parameter or a tag.

    Refused characters become ``_``; a path is normalised (it may not climb or start at the root);
    a name that is too long keeps its beginning and gets a digest of the whole.

    >>> safe_name("purchase/lift@10%")
    'purchase/lift_10_'
    """
    parts = [part for part in _REFUSED.sub("_", name).split("/") if part not in {"", ".", ".."}]
    safe = "/".join(parts) or "_"
    if len(safe) > MAX_NAME:
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        safe = f"{safe[: MAX_NAME - 9]}-{digest}"
    return safe


def shorten(text: str, limit: int) -> str:
    """The text, cut with a marker that says so if it is longer than the limit."""
    if len(text) <= limit:
        return text
    marker = f" [cut: {len(text)} characters in all]"
    return text[: limit - len(marker)] + marker


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as flat text, the keys joined with dots; what is no text becomes JSON.

    >>> flatten({"model": {"d": 128, "norm": None}, "task": "churn"})
    {'model.d': '128', 'model.norm': 'null', 'task': 'churn'}
    """
    flat: dict[str, str] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        elif isinstance(value, str):
            flat[f"{prefix}{key}"] = value
        else:
            flat[f"{prefix}{key}"] = json.dumps(value, default=str, ensure_ascii=False)
    return flat


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Consecutive lists of at most `size` items."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
