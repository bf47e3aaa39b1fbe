"""The validated event log: the only form in which data enters the house.

It lies on disk in shards of customers, so that it may be larger than memory; `frame` gives it as
the one table that it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.datatypes import DataTypeClass

from seqmarket.data.engine.shard_file import ShardColumns, ShardSize, read_shard
from seqmarket.data.files import damaged, verify
from seqmarket.data.parsing import UTC_TIME
from seqmarket.data.quality import QualityReport
from seqmarket.data.quality.counts import CategoryCounts
from seqmarket.data.shard import ORDER, POSITION, Lexicon, Shard

ABOUT, REPORT, CATEGORIES = "about.json", "report.json", "categories.npz"
ARRANGED, CLEANED = "arranged", "cleaned"


@dataclass(frozen=True)
class Origin:
    """Where a log came from, so that a log with more parts can be made by adding those.

    Attributes:
        family: Digest of all that shapes the log but its parts; empty: nothing can be added.
        parts: Digests of the content of its parts, in their order.
        with_offset: Number of times that carried an offset of their own.
        without_offset: Number of times that did not.
        changing_features: Whether events of a customer disagree about a feature of the customer, of
            which the log keeps the first value only.
    """

    family: str
    parts: tuple[str, ...]
    with_offset: int
    without_offset: int
    changing_features: bool


@dataclass(frozen=True)
class EventLog:
    """A validated log of events, and what is known about it.

    Attributes:
        path: Its folder.
        name: Name of the log in reports and runs.
        fingerprint: SHA-256 of the source's content and of its settings that shape the log.
        columns: The columns beyond customer and time.
        lexicon: The distinct texts of every text column.
        purchase_event_types: Event types that count as a purchase.
        observed_until: End of the observation, exclusive, UTC.
        sizes: Of each shard.
        cleaned: Whether rules of `data.cleaning` were applied.
        report: How the log was read.
        origin: Where it came from.
        key_id: Which key its pseudonyms are under; None: it holds identifiers.
    """

    path: Path
    name: str
    fingerprint: str
    columns: ShardColumns
    lexicon: Lexicon
    purchase_event_types: tuple[str, ...]
    observed_until: datetime
    sizes: tuple[ShardSize, ...]
    cleaned: bool
    report: QualityReport
    origin: Origin
    key_id: str | None = None

    @property
    def categorical(self) -> tuple[str, ...]:
        """Extra categorical features of an event."""
        return self.columns.codes[2:]

    @property
    def numeric(self) -> tuple[str, ...]:
        """Extra numeric features of an event."""
        return tuple(name for name in self.columns.numbers[2:] if name not in (ORDER, POSITION))

    @property
    def n_customers(self) -> int:
        """Number of customers."""
        return sum(size.customers for size in self.sizes)

    def shard(self, index: int) -> Shard:
        """Reads one shard."""
        folder = self.path / (CLEANED if self.cleaned else ARRANGED)
        return read_shard(folder / shard_name(index), self.columns)

    def arranged(self, index: int) -> Shard:
        """Reads one shard as it was before the rules of cleaning."""
        return read_shard(self.path / ARRANGED / shard_name(index), self.columns)

    def shards(self) -> Iterator[Shard]:
        """Reads one shard after the other."""
        return map(self.shard, range(len(self.sizes)))

    def categories(self) -> dict[str, CategoryCounts]:
        """Column of text -> how often, by whom and since when each of its texts occurs."""
        columns = self.columns
        with np.load(self.path / CATEGORIES) as saved:
            counts = {}
            for name in (*columns.codes, *columns.static_codes):
                events, customers, first = saved[f"text {name}"]
                nulls = int(saved[f"nulls {name}"])
                counts[name] = CategoryCounts(events, customers, first, nulls)
            return counts

    @property
    def frame(self) -> pl.LazyFrame:
        """The log as one table, read shard by shard when it is collected.

        `EVENT_COLUMNS` (customer_id String, time Datetime("us", "UTC"), channel String, event_type
        String, value Float64, cost Float64), then the categorical (String) and numeric (Float64)
        features. Ordered by the hash of the customer, then time; only value, cost and the features
        may be null.
        """
        text = ("channel", "event_type", *self.categorical)
        schema: dict[str, pl.DataType | DataTypeClass] = {
            "customer_id": pl.String,
            "time": UTC_TIME,
            "channel": pl.String,
            "event_type": pl.String,
            "value": pl.Float64,
            "cost": pl.Float64,
            **dict.fromkeys(self.categorical, pl.String),
            **dict.fromkeys(self.numeric, pl.Float64),
        }

        def table(index: int) -> pl.DataFrame:
            shard = self.shard(index)
            events = {
                "customer_id": shard.customer_id.gather(shard.customer),
                "time": pl.Series(shard.time).cast(UTC_TIME),
                **{name: _texts(shard.codes[name], self.lexicon[name]) for name in text},
                **{
                    name: _numbers(shard.numbers[name]) for name in ("value", "cost", *self.numeric)
                },
            }
            return pl.DataFrame(events).select(*schema)

        return pl.concat(
            pl.defer(partial(table, index), schema=schema) for index in range(len(self.sizes))
        )

    @property
    def static(self) -> pl.LazyFrame | None:
        """customer_id and the customers' features, a row per customer; None if there are none."""
        columns = self.columns
        names = (*columns.static_codes, *columns.static_numbers)
        if not names:
            return None

        def table(shard: Shard) -> pl.DataFrame:
            texts = {
                n: _texts(shard.static_codes[n], self.lexicon[n]) for n in columns.static_codes
            }
            numbers = {n: _numbers(shard.static_numbers[n]) for n in columns.static_numbers}
            return pl.DataFrame({"customer_id": shard.customer_id, **texts, **numbers})

        return pl.concat(table(shard) for shard in self.shards()).lazy()


def write_categories(path: Path, categories: Mapping[str, CategoryCounts]) -> None:
    """Writes what `EventLog.categories` reads."""
    arrays: dict[str, NDArray[np.int64]] = {}
    for name, counts in categories.items():
        arrays[f"text {name}"] = np.stack([counts.events, counts.customers, counts.first])
        arrays[f"nulls {name}"] = np.array(counts.nulls)
    np.savez(path, allow_pickle=False, **arrays)


def shard_name(index: int) -> str:
    """The name of a shard's file."""
    return f"{index:05d}.shard"


def open_log(path: Path, *, verified: bool = False) -> EventLog:
    """Opens a log after checking every file against the manifest.

    Args:
        path: Its folder.
        verified: Whether it has just been written, and need not be checked.

    Raises:
        SeqmarketError: If a file is missing, or not the one that was written.
    """
    if not verified:
        verify(path, "validated log")
    try:
        about: dict[str, Any] = json.loads((path / ABOUT).read_text())
        report = QualityReport.from_dict(json.loads((path / REPORT).read_text()))
        return EventLog(
            path=path,
            name=about["name"],
            fingerprint=about["fingerprint"],
            columns=ShardColumns.from_dict(about["columns"]),
            lexicon={name: tuple(texts) for name, texts in about["lexicon"].items()},
            purchase_event_types=tuple(about["purchase_event_types"]),
            observed_until=datetime.fromisoformat(about["observed_until"]),
            sizes=tuple(ShardSize(**size) for size in about["sizes"]),
            cleaned=about["cleaned"],
            report=report,
            origin=Origin(**{**about["origin"], "parts": tuple(about["origin"]["parts"])}),
            key_id=about["gate"].get("key_id"),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, "validated log", str(error)) from error


def _texts(codes: Any, texts: tuple[str, ...]) -> pl.Series:
    return pl.Series(texts, dtype=pl.String).gather(pl.Series(codes).replace(-1, None))


def _numbers(values: Any) -> pl.Series:
    return pl.Series(values).fill_nan(None)
