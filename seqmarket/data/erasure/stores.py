"""Encoded stores without some customers: encoded anew from the log, or removed."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import TypeAdapter

from seqmarket.data.erasure.caches import holding, log_of, read_about, read_origin, stores
from seqmarket.data.erasure.needles import Needles
from seqmarket.data.event_log import open_log
from seqmarket.data.files import MANIFEST, building, write_json
from seqmarket.data.prepare import cache_name, store_key
from seqmarket.data.settings import EncodingSettings, SplitSettings
from seqmarket.data.store import ORIGIN, SequenceStore, open_store
from seqmarket.data.store_writing import write_store
from seqmarket.errors import SeqmarketError
from seqmarket.schema import SPECIAL_TOKENS


@dataclass(frozen=True)
class Held:
    """A store, and which of its customers are meant.

    Attributes:
        store: The store.
        theirs: (C,) whose data are to be erased.
        ids_digest: Of its customers' identifiers, in their order.
        remaining_digest: The same without the customers that are meant.
        lexicon: The texts of its log as it is now; None: the log is not there.
    """

    store: SequenceStore
    theirs: NDArray[np.bool_]
    ids_digest: str
    remaining_digest: str
    lexicon: dict[str, tuple[str, ...]] | None

    @property
    def number(self) -> int:
        """How many of its customers are meant."""
        return int(self.theirs.sum())

    def gone(self, categories: dict[str, tuple[str, ...]]) -> dict[str, set[str]]:
        """Of the categories of each feature, those that no other customer has.

        From the lexicon of the log after the erasure. Without the log: the categories that occur
        in the store, and only in their events.
        """
        if self.lexicon is not None:
            return {
                name: set(texts) - set(self.lexicon[name])
                for name, texts in categories.items()
                if name in self.lexicon
            }
        return {name: set(texts) & self._only_theirs(name) for name, texts in categories.items()}

    def _only_theirs(self, name: str) -> set[str]:
        spec, events = self.store.spec, self.store.events
        of_event = np.repeat(self.theirs, np.diff(events.offsets))
        columns = {
            "channel": (spec.channel, events.channel, of_event),
            "event_type": (spec.event_type, events.event_type, of_event),
        }
        for index, feature in enumerate(spec.categorical):
            columns[feature.name] = (feature, events.categorical[:, index], of_event)
        for index, feature in enumerate(spec.static_categorical):
            columns[feature.name] = (feature, events.static_categorical[:, index], self.theirs)
        if name not in columns:
            return set()
        feature, ids, mine = columns[name]
        gone = np.setdiff1d(ids[mine], ids[~mine])
        return {feature.categories[i - SPECIAL_TOKENS] for i in gone if i >= SPECIAL_TOKENS}


def hold(cache_dir: Path, needles: Needles) -> list[Held]:
    """Every store of a cache that is sound, with who is meant in it."""
    found = []
    for path in stores(cache_dir):
        try:
            store = open_store(path)
            ids = store.customer_ids()
        except (SeqmarketError, OSError):
            continue
        theirs = needles.are(ids)
        log = log_of(cache_dir, path)
        found.append(
            Held(
                store,
                theirs.to_numpy(),
                _digest(ids),
                _digest(ids.filter(~theirs)),
                None if log is None else _lexicon(log),
            )
        )
    return found


def erase_from_store(path: Path, needles: Needles, cache_dir: Path) -> tuple[int, bool]:
    """Encodes a store anew from its log, from which the customers have been erased before.

    Its split and encoding are the same; a category that only they had leaves the vocabulary. A
    store whose log is not there, or that cannot be encoded without them, is removed.

    Args:
        path: Its folder.
        needles: The names under which the customers may be stored.
        cache_dir: The cache that it is in.

    Returns:
        Number of customers that were removed from it, and whether a store is left.
    """
    try:
        theirs = int(needles.are(open_store(path).customer_ids()).sum())
    except (SeqmarketError, OSError):
        shutil.rmtree(path)
        return 0, False
    origin, log_path = read_origin(path), log_of(cache_dir, path)
    if log_path is None:
        if theirs:
            shutil.rmtree(path)
        return theirs, not theirs
    split = _split_settings(origin["split"])
    encoding = EncodingSettings.model_validate(origin["encoding"])
    about = read_about(log_path)
    target = path.with_name(
        cache_name(about["name"], store_key(about["keys"]["log"], split, encoding))
    )
    if target == path and not theirs:
        return 0, True
    if target != path:
        with holding(target):
            if not target.exists():
                if theirs:
                    _encode(target, log_path, split, encoding)
                else:
                    _link(path, target, {**origin, "log": log_path.name})
    shutil.rmtree(path)
    return theirs, target.exists()


def _split_settings(plain: Mapping[str, Any]) -> SplitSettings:
    """From their JSON, in which durations are written as ISO 8601 has them."""
    durations = {
        name: TypeAdapter(timedelta).validate_python(plain[name])
        for name in ("warm_up", "cutoff_every")
    }
    return SplitSettings.model_validate({**plain, **durations})


def _encode(target: Path, log_path: Path, split: SplitSettings, encoding: EncodingSettings) -> None:
    try:
        write_store(target, open_log(log_path), split, encoding)
    except SeqmarketError:
        return  # what is left does not fit the split; it will be said when it is asked for


def _link(path: Path, target: Path, origin: dict[str, object]) -> None:
    with building(target) as folder:
        for file in path.iterdir():
            if file.name == ORIGIN:
                write_json(folder / ORIGIN, origin)
            elif file.name != MANIFEST:
                try:
                    os.link(file, folder / file.name)
                except OSError:
                    shutil.copyfile(file, folder / file.name)


def _lexicon(log: Path) -> dict[str, tuple[str, ...]]:
    return {name: tuple(texts) for name, texts in read_about(log)["lexicon"].items()}


def _digest(ids: pl.Series) -> str:
    digest = hashlib.sha256()
    for piece in ids.to_frame().iter_slices(1 << 20):
        digest.update(piece.to_series().str.join("\n").item().encode() + b"\n")
    return digest.hexdigest()
