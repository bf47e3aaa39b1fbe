"""The encoded store: flat, memory-mapped columns, written once and found again by their key.

A store is a folder. Its name is the digest of everything that shapes it: the log's content, the
settings of validation, split and encoding, and the version of this format. Its manifest holds the
SHA-256 of every file, and the digest of those is the store's fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from seqmarket.data.encoding import customers_of, encode_events, fit_spec, static_frame
from seqmarket.data.event_log import EventLog
from seqmarket.data.settings import EncodingSettings, SplitSettings, ValidationSettings
from seqmarket.data.sources.protocol import EventSource
from seqmarket.data.splits import Split, make_split, to_microseconds
from seqmarket.errors import SeqmarketError
from seqmarket.schema import EventArrays, SequenceSpec

FORMAT = 4
_REPORT = "report.json"
_ARRAYS = tuple(EventArrays.__dataclass_fields__)


@dataclass(frozen=True)
class SequenceStore:
    """An opened store.

    Attributes:
        path: Its folder.
        name: Name of the data source.
        spec: Vocabularies, scalings and sizes, fitted on the training period.
        events: The encoded events, memory-mapped and read-only.
        split: Periods, and the customers' folds where customers are divided too.
        observed_until: Exclusive end of the observation, microseconds.
        fingerprint: SHA-256 over the encoded content.
        report: The quality report of the log, as plain containers.
    """

    path: Path
    name: str
    spec: SequenceSpec
    events: EventArrays
    split: Split
    observed_until: int
    fingerprint: str
    report: dict[str, Any]

    def customer_ids(self) -> pl.Series:
        """(C,) the customers' own identifiers, for output tables only; never logged."""
        return pl.read_parquet(self.path / "customers.parquet")["customer_id"]


def prepare_store(
    source: EventSource,
    *,
    validation: ValidationSettings,
    split: SplitSettings,
    encoding: EncodingSettings,
    cache_dir: Path,
) -> SequenceStore:
    """Opens the store of these data and settings, encoding the log first if there is none yet.

    Raises:
        SeqmarketError: If the log breaks a rule, or a cached store is damaged.
    """
    settings = {
        "format": FORMAT,
        "source": source.fingerprint(),
        "validation": validation.model_dump(mode="json"),
        "split": split.model_dump(mode="json"),
        "encoding": encoding.model_dump(mode="json"),
    }
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    path = cache_dir / "stores" / f"{source.name}-{key[:16]}"
    if not path.exists():
        log = source.read(validation, cache_dir / "quarantine")
        write_store(path, log, split, encoding)
    return open_store(path)


def write_store(
    path: Path, log: EventLog, split: SplitSettings, encoding: EncodingSettings
) -> None:
    """Encodes a log into a folder, written beside and renamed when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_name(f".{path.name}-{os.getpid()}")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    try:
        _encode(building, log, split, encoding)
        manifest = {file.name: _sha256(file) for file in sorted(building.iterdir())}
        _write_json(building / "manifest.json", manifest)
        for file in (*building.iterdir(), building):
            _fsync(file)
        try:
            building.rename(path)
        except OSError:
            # Another process finished the same store first; by its name it is the same.
            if not path.exists():
                raise
        _fsync(path.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def open_store(path: Path) -> SequenceStore:
    """Opens a store after checking every file against the manifest.

    Raises:
        SeqmarketError: If a file is missing, or not the one that was written.
    """
    try:
        manifest: dict[str, str] = json.loads((path / "manifest.json").read_text())
        damaged = [name for name, digest in manifest.items() if _sha256(path / name) != digest]
        if damaged:
            raise _damaged(path, f"{damaged[0]} is not the file that was written")
        arrays = {name: np.load(path / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
        about = json.loads((path / "about.json").read_text())
        report = json.loads((path / _REPORT).read_text())
        folds = path / "customer_fold.npy"
        customer_fold = np.load(folds) if folds.exists() else None
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    return SequenceStore(
        path=path,
        name=about["name"],
        spec=SequenceSpec.from_dict(about["spec"]),
        events=EventArrays(**arrays),
        split=Split.from_dict(about["split"], customer_fold),
        observed_until=about["observed_until"],
        fingerprint=_fingerprint(manifest),
        report=report,
    )


def _damaged(path: Path, detail: str) -> SeqmarketError:
    return SeqmarketError(
        f"the encoded store is damaged: {detail}",
        where=str(path),
        fix="delete that folder and run again; the log itself is not affected",
    )


def _encode(
    folder: Path, log: EventLog, split_settings: SplitSettings, settings: EncodingSettings
) -> None:
    frame = log.frame.collect()
    customers = customers_of(frame)
    split = make_split(customers, log.observed_until, split_settings)
    spec = fit_spec(log, frame, customers, split, settings)
    arrays = encode_events(frame, static_frame(log, customers), spec)
    for name in _ARRAYS:
        np.save(folder / f"{name}.npy", getattr(arrays, name))
    if split.customer_fold is not None:
        np.save(folder / "customer_fold.npy", split.customer_fold)
    customers.select("customer_id").write_parquet(folder / "customers.parquet")
    about = {
        "name": log.name,
        "spec": spec.to_dict(),
        "split": split.to_dict(),
        "observed_until": to_microseconds(log.observed_until),
    }
    _write_json(folder / "about.json", about)
    _write_json(folder / _REPORT, log.report.to_dict())


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True))


def _fingerprint(manifest: dict[str, str]) -> str:
    """Of the content alone: where rejected rows were put, as the report says, is not part of it."""
    content = {name: digest for name, digest in manifest.items() if name != _REPORT}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
