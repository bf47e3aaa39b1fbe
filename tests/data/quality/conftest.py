"""Small logs as shards, and statistics as plain containers that can be compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from seqmarket.data.quality.columns import ColumnRead, IdentifierPatterns
from seqmarket.data.quality.journeys import JourneyStats
from seqmarket.data.quality.profile import LogProfile
from seqmarket.data.quality.report import QualityReport
from seqmarket.data.quality.suspicions import suspicions
from seqmarket.data.shard import Lexicon, Shard

Row = tuple[str, datetime, str, str, float | None]
MakeShard = Callable[[Iterable[Row]], tuple[Shard, Lexicon]]


def as_plain(item: Any) -> Any:
    if dataclasses.is_dataclass(item):
        return {f.name: as_plain(getattr(item, f.name)) for f in dataclasses.fields(item)}
    if isinstance(item, dict):
        return {key: as_plain(value) for key, value in item.items()}
    return item.tolist() if isinstance(item, np.ndarray) else item


def shard_of(rows: Iterable[Row]) -> tuple[Shard, Lexicon]:
    """A shard with the texts channel, event_type and segment (of a customer), and value."""
    rows = sorted(rows, key=lambda row: (row[0], row[1]))
    columns = list(zip(*rows, strict=True)) or [()] * 5
    lexicon = {
        "channel": tuple(sorted(set(columns[2]))),
        "event_type": tuple(sorted(set(columns[3]))),
        "segment": ("a", "b"),
    }
    ids, length = np.unique(np.array(columns[0], dtype=str), return_counts=True)
    return (
        Shard(
            customer_id=pl.Series(ids.tolist(), dtype=pl.String),
            offsets=np.concatenate([[0], np.cumsum(length)]).astype(np.int64),
            time=np.array(
                [round(time.replace(tzinfo=UTC).timestamp() * 1e6) for time in columns[1]],
                dtype=np.int64,
            ),
            codes={
                name: np.array([lexicon[name].index(text) for text in column], dtype=np.int32)
                for name, column in (("channel", columns[2]), ("event_type", columns[3]))
            },
            numbers={"value": np.array([v if v is not None else np.nan for v in columns[4]])},
            static_codes={"segment": np.array([len(x) % 2 for x in ids], dtype=np.int32)},
            static_numbers={},
        ),
        lexicon,
    )


def report_of(rows: Sequence[Row], **changes: Any) -> QualityReport:
    """A report of a log in which some rows were lost in each way."""
    shard, lexicon = shard_of(rows)
    profile = LogProfile.of(JourneyStats.of(shard, lexicon), lexicon, ("purchase",))
    report = QualityReport(
        rows_in=len(rows),
        kept=len(rows),
        quarantined=0,
        dropped=0,
        duplicates=0,
        reasons={},
        quarantine_path=None,
        profile=profile,
        warnings=suspicions(profile),
        columns_read={"value": ColumnRead(len(rows), 0, 1.0, 2.0)},
        identifiers=IdentifierPatterns(len(rows), 0, 0),
    )
    return dataclasses.replace(report, **changes)


@pytest.fixture(scope="session")
def plain() -> Callable[[Any], Any]:
    return as_plain


@pytest.fixture(scope="session")
def make_shard() -> MakeShard:
    return shard_of


@pytest.fixture(scope="session")
def make_report() -> Callable[..., QualityReport]:
    return report_of
