"""The encoded store: flat, memory-mapped columns, written once and found again by their key.

A store is a folder. Its name is the digest of everything that shapes it: the log's content, the
settings of the gate, split and encoding, and the version of this format. Its manifest holds the
SHA-256 of every file, and the digest of those is the store's fingerprint.

Here it is opened, which needs neither Polars nor the gate; `store_writing` writes it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqmarket.data.files import damaged, digest_of, map_array, read_manifest, verify
from seqmarket.data.splits import Split
from seqmarket.schema import EventArrays, SequenceSpec

if TYPE_CHECKING:
    import polars as pl

    from seqmarket.data.gate.record import GateRecord

FORMAT = 5
ABOUT, REPORT, ORIGIN = "about.json", "report.json", "origin.json"
_NOT_CONTENT = (REPORT, ORIGIN)
"""Where rejected rows were put, or which files the log was in, makes no other store."""
ARRAYS = tuple(EventArrays.__dataclass_fields__)


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
        gate: What its log was admitted by; None: it was opened by its path, which does not tell.
    """

    path: Path
    name: str
    spec: SequenceSpec
    events: EventArrays
    split: Split
    observed_until: int
    fingerprint: str
    report: dict[str, Any]
    gate: GateRecord | None = None

    def customer_ids(self) -> pl.Series:
        """(C,) the customers' own identifiers, for output tables only; never logged."""
        from seqmarket.data.texts import from_bytes  # Polars and PyArrow, for this alone

        return from_bytes(
            np.load(self.path / "customer_id_offsets.npy"),
            np.load(self.path / "customer_id_bytes.npy"),
        ).alias("customer_id")


def open_store(path: Path, *, verified: bool = False) -> SequenceStore:
    """Opens a store after checking every file against the manifest.

    Args:
        path: Its folder.
        verified: Whether it has just been written, and need not be checked.

    Raises:
        SeqmarketError: If a file is missing, or not the one that was written.
    """
    try:
        manifest = read_manifest(path) if verified else verify(path, "encoded store")
        arrays = {name: map_array(path / f"{name}.npy") for name in ARRAYS}
        about = json.loads((path / ABOUT).read_text())
        report = json.loads((path / REPORT).read_text())
        folds = path / "customer_fold.npy"
        customer_fold = np.load(folds) if folds.exists() else None
        return SequenceStore(
            path=path,
            name=about["name"],
            spec=SequenceSpec.from_dict(about["spec"]),
            events=EventArrays(**arrays),
            split=Split.from_dict(about["split"], customer_fold),
            observed_until=about["observed_until"],
            fingerprint=content_fingerprint(manifest),
            report=report,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, "encoded store", str(error)) from error


def content_fingerprint(manifest: dict[str, str]) -> str:
    """Of the content alone."""
    return digest_of(
        {name: digest for name, digest in manifest.items() if name not in _NOT_CONTENT}
    )
