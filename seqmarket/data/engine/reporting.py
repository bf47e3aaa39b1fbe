"""The quality report of a log, from what its parts and shards turned out to hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from seqmarket.data.cleaning.rules import merge_counts
from seqmarket.data.engine.read import PartResult, merged
from seqmarket.data.engine.shard_stage import ShardResult
from seqmarket.data.event_log import EventLog
from seqmarket.data.files import writing_tables
from seqmarket.data.log_settings import LogSettings
from seqmarket.data.quality.columns import ColumnStats
from seqmarket.data.quality.journeys import JourneyStats
from seqmarket.data.quality.profile import LogProfile
from seqmarket.data.quality.report import QualityReport
from seqmarket.data.quality.suspicions import suspicions
from seqmarket.data.quality.wording import customers
from seqmarket.data.raw_log import RawLog
from seqmarket.data.sealed import write_sealed
from seqmarket.data.shard import Lexicon
from seqmarket.data.validation import reason_text


def make_report(
    raw: RawLog,
    settings: LogSettings,
    read: PartResult,
    shards: Sequence[ShardResult],
    journeys: JourneyStats,
    lexicon: Lexicon,
    quarantine_path: Path | None,
    base: EventLog | None,
) -> QualityReport:
    """Accounts for every row, and profiles what was kept.

    Args:
        raw: The log as its source gave it.
        settings: How it was read.
        read: The first stage.
        shards: The second.
        journeys: Their profiles, merged.
        lexicon: Of the log.
        quarantine_path: Where quarantined rows are, if there are any.
        base: The log that was added to.
    """
    rows, repeats = read.rows, sum(shard.repeats for shard in shards)
    reasons = Counter({reason_text(rule, raw.names): n for rule, n in read.broken.items()})
    refused, columns, identifiers = Counter(read.refused), read.columns, read.identifiers
    if base is not None:
        earlier = base.report
        rows, repeats = rows + earlier.rows_in, repeats + earlier.duplicates
        reasons, refused = reasons + Counter(earlier.reasons), refused + Counter(earlier.refused)
        columns = merged(ColumnStats(earlier.columns_read), columns)
        identifiers = merged(earlier.identifiers, identifiers)
    broken = sum(reasons.values())
    quarantined = broken if settings.validation.policy == "quarantine" else 0
    profile = LogProfile.of(journeys, lexicon, raw.schema.purchase_event_types)
    changed = {
        name: sum(shard.changed.get(name, 0) for shard in shards)
        for name in (*raw.schema.static_categorical, *raw.schema.static_numeric)
    }
    warnings = [
        *suspicions(profile, reasons=reasons, identifiers=identifiers),
        *(
            f"'{column}' is a static feature and changes for {customers(n)} customers; the value "
            "at the first event counts"
            for column, n in changed.items()
            if n
        ),
    ]
    return QualityReport(
        rows_in=rows,
        kept=sum(shard.cleaned.events for shard in shards),
        quarantined=quarantined,
        dropped=broken - quarantined,
        duplicates=repeats if settings.validation.duplicates == "drop" else 0,
        reasons=_by_number(reasons),
        quarantine_path=quarantine_path if quarantined else None,
        profile=profile,
        warnings=tuple(warnings),
        refused=_by_number(refused),
        cleaned=merge_counts([shard.rules for shard in shards]),
        columns_read={} if columns is None else dict(columns.columns),
        identifiers=identifiers,
    )


def _by_number(counts: Mapping[str, int]) -> dict[str, int]:
    """The largest first, ties in alphabetical order."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def join_quarantine(files: Sequence[Path], path: Path) -> None:
    """Makes one file of the files of quarantined rows, whole or not at all, and its digest.

    The caller holds the lock of the log.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing_tables():
        rows = pl.concat([pl.scan_parquet(file) for file in files], how="diagonal")
        write_sealed(path, rows.sink_parquet)
