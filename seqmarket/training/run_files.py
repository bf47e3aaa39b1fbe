"""The files of one run, or of its copy in MLflow, without some customers."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from seqmarket.data.erasure.needles import Needles
from seqmarket.data.erasure.stores import Held
from seqmarket.data.erasure.tables import (
    DELIMITED,
    PARQUET,
    erase_rows,
    remove_leftovers,
    replace_file,
    write_table,
)
from seqmarket.data.sealed import remove_sealed
from seqmarket.errors import SeqmarketError
from seqmarket.training.checkpoint import write_checkpoint

NUMBERED = "seqmarket.customers"
"""Metadata of a Parquet file: digest of the customers that its column `customer` counts in."""

PLACEHOLDER = "<erased>"
"""What a category that only erased customers had becomes in reports."""

_PROVENANCE = "seqmarket"
_ONE_JOURNEY = ("plots/attention_*", "plots/sample_journeys.*")
_CSV = "attribution/*/*.csv"
_OF_CLASSES = ("plots/*_confusion.*", "attribution/*/plots/*")


@dataclass
class Stores:
    """The stores that are there, to find out whom a run was trained on.

    Args:
        held: Each, with who is meant in it.
    """

    held: Sequence[Held]
    _by_fingerprint: dict[str, Held] = field(init=False)
    _by_customers: dict[str, Held] = field(init=False)
    _done: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self._by_fingerprint = {item.store.fingerprint: item for item in self.held}
        self._by_customers = {item.ids_digest: item for item in self.held}
        self._done = {item.remaining_digest for item in self.held}

    def of(self, fingerprint: str, customers: str = "") -> Held | None:
        """The store with this content, else one with these customers."""
        return self._by_fingerprint.get(fingerprint) or self._by_customers.get(customers)

    def is_done(self, customers: str) -> bool:
        """Whether a table counts in the customers that will be left of a store."""
        return customers in self._done


@dataclass
class Removed:
    """What was changed in the files of a run.

    Attributes:
        counts: What -> how many.
        texts: Categories that only erased customers had.
    """

    counts: Counter[str] = field(default_factory=Counter)
    texts: set[str] = field(default_factory=set)


def erase_from_files(
    folder: Path, held: Held | None, stores: Stores, needles: Needles, *, orphan: bool
) -> Removed:
    """Removes customers from all files of a run; called again, it finishes what was broken off.

    Rows leave prediction tables (Parquet, encoded anew), those of tables that count customers by
    their place in the store too, and the others are counted anew. In checkpoints and reports, a
    category that only they had becomes a placeholder; in checkpoints each its own, in its place,
    so that no id and no weight moves. Pictures of a single journey, or with the name of such a
    category, are removed.

    Args:
        folder: The run's folder, or that of its artifacts.
        held: The store that the run was trained on; None: it is no longer there.
        stores: All stores.
        needles: The names under which the customers may be stored.
        orphan: Whether a table that counts customers of a store that is gone is removed.
    """
    removed = Removed()
    remove_leftovers(folder)
    if held is not None:
        removed.texts = _gone_texts(folder, held)
    for path in _files(folder, (*PARQUET, *DELIMITED)):
        # What is damaged stays, and the scan says so.
        with suppress(SeqmarketError, pl.exceptions.PolarsError):
            removed.counts["rows of tables"] += erase_rows(path, needles)
            if path.suffix in PARQUET:
                _erase_numbered(path, held, stores, removed, orphan=orphan)
                rename_in_table(path, removed.texts)
    if held is None:
        return removed
    for path in _files(folder, (".ckpt",)):
        removed.counts["categories of models"] += _erase_categories(path, held)
    for path in (*_files(folder, (".json", ".md")), *folder.rglob(_CSV)):
        _rename_in_text(path, removed.texts)
    unfit = [*_ONE_JOURNEY] if held.number else []
    unfit += _OF_CLASSES if removed.texts else ()
    for pattern in unfit:
        for path in folder.rglob(pattern):
            path.unlink()
            removed.counts["pictures"] += 1
    return removed


def run_facts(folder: Path) -> Mapping[str, Any]:
    """What the newest checkpoint below a folder says of itself; nothing if there is none."""
    for path in sorted(_files(folder, (".ckpt",)), key=lambda path: -path.stat().st_mtime_ns):
        content = _read_checkpoint(path)
        if content is not None:
            facts: Mapping[str, Any] = content[_PROVENANCE]
            return facts
    return {}


def index_rows(path: Path, held: Held | None, stores: Stores) -> pl.DataFrame | None:
    """The rows of a table that are about the customers; None: it does not count customers.

    Args:
        path: A Parquet file.
        held: The store of its run.
        stores: All stores.
    """
    counted = _counted_in(path, held, stores)
    if counted is None:
        return None
    frame = pl.read_parquet(path)
    return frame.filter(pl.Series(counted.theirs).gather(frame["customer"]))


def _counted_in(path: Path, held: Held | None, stores: Stores) -> Held | None:
    names = list(pl.read_parquet_schema(path))
    if "customer" not in names or "customer_id" in names:
        return None
    digest = pl.read_parquet_metadata(path).get(NUMBERED)
    return held if digest is None else stores.of("", digest)


def _files(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    known = tuple(suffixes)
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in known and p.is_file())


def _erase_numbered(
    path: Path, held: Held | None, stores: Stores, removed: Removed, *, orphan: bool
) -> None:
    names = list(pl.read_parquet_schema(path))
    if "customer" not in names or "customer_id" in names:
        return
    digest = pl.read_parquet_metadata(path).get(NUMBERED, "")
    if stores.is_done(digest):
        return
    counted = _counted_in(path, held, stores)
    if counted is None:
        if orphan:
            remove_sealed(path)
            removed.counts["tables whose store is gone"] += 1
        return
    if not counted.number:
        return
    frame = pl.read_parquet(path)
    theirs = pl.Series(counted.theirs)
    place = pl.Series(np.cumsum(~counted.theirs) - 1)
    kept = frame.filter(~theirs.gather(frame["customer"]))
    kept = kept.with_columns(place.gather(kept["customer"]).cast(pl.Int64).alias("customer"))
    write_table(kept, path, {NUMBERED: counted.remaining_digest})
    removed.counts["rows of tables"] += len(frame) - len(kept)


def _categories(spec: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    features = [spec["channel"], spec["event_type"]]
    features += [*spec["categorical"], *spec["static_categorical"]]
    return {item["name"]: tuple(item["categories"]) for item in features}


def _gone_texts(folder: Path, held: Held) -> set[str]:
    """Over all features; a text that is still a category of another one is not among them."""
    specs = [held.store.spec.to_dict()]
    facts = run_facts(folder)
    if facts:
        specs.append(facts["spec"])
    gone: set[str] = set()
    left: set[str] = set()
    for categories in map(_categories, specs):
        of_feature = held.gone(categories)
        for name, texts in categories.items():
            gone |= of_feature.get(name, set())
            left |= set(texts) - of_feature.get(name, set())
    return {text for text in gone - left if not text.startswith(PLACEHOLDER)}


def _read_checkpoint(path: Path) -> dict[str, Any] | None:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        return None  # not one of ours; the scan looks into it
    return content if isinstance(content, dict) and _PROVENANCE in content else None


def _erase_categories(path: Path, held: Held) -> int:
    content = _read_checkpoint(path)
    if content is None:
        return 0
    facts = dict(content[_PROVENANCE])
    spec = facts["spec"]
    gone = held.gone(_categories(spec))
    changed = 0

    def without(item: Mapping[str, Any]) -> dict[str, Any]:
        nonlocal changed
        texts = list(item["categories"])
        for index, text in enumerate(texts):
            if text in gone.get(item["name"], ()) and not text.startswith(PLACEHOLDER):
                texts[index] = f"{PLACEHOLDER} {index + 1}"
                changed += 1
        return {**item, "categories": tuple(texts)}

    facts["spec"] = {
        **spec,
        "channel": without(spec["channel"]),
        "event_type": without(spec["event_type"]),
        "categorical": tuple(map(without, spec["categorical"])),
        "static_categorical": tuple(map(without, spec["static_categorical"])),
    }
    if changed:
        replace_file(path, partial(write_checkpoint, {**content, _PROVENANCE: facts}))
    return changed


def rename_in_table(path: Path, texts: set[str]) -> None:
    """Replaces categories in the cells of a table, and drops the columns of their probability."""
    if not texts or not path.exists():
        return
    metadata = {
        key: value for key, value in pl.read_parquet_metadata(path).items() if key == NUMBERED
    }
    frame = pl.read_parquet(path)
    unfit = [
        name
        for name in frame.columns
        if any(name.endswith(f"_probability_{text}") for text in texts)
    ]
    strings = [name for name, kind in frame.schema.items() if kind == pl.String]
    strings = [name for name in strings if name != "customer_id"]
    renamed = frame.with_columns(pl.col(strings).replace(dict.fromkeys(sorted(texts), PLACEHOLDER)))
    if unfit or not renamed.equals(frame):
        write_table(renamed.drop(unfit), path, metadata)


def _rename_in_text(path: Path, texts: set[str]) -> None:
    if not texts:
        return
    before = path.read_text(encoding="utf-8", errors="surrogateescape")
    if path.suffix == ".json":
        try:
            after = json.dumps(_renamed(json.loads(before), texts), indent=1, ensure_ascii=False)
            if after == json.dumps(json.loads(before), indent=1, ensure_ascii=False):
                return
        except ValueError:
            return
    else:
        longest_first = "|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True))
        after = re.sub(rf"(?<!\w)(?:{longest_first})(?!\w)", PLACEHOLDER, before)
    if after != before:
        replace_file(
            path, lambda beside: beside.write_bytes(after.encode("utf-8", "surrogateescape"))
        )


def _renamed(item: Any, texts: set[str]) -> Any:
    if isinstance(item, str):
        return PLACEHOLDER if item in texts else item
    if isinstance(item, list):
        return [_renamed(value, texts) for value in item]
    if isinstance(item, dict):
        return {_renamed(key, texts): _renamed(value, texts) for key, value in item.items()}
    return item
