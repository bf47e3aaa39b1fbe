"""Stage 2, a shard from its runs to its files: arranged, cleaned, profiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.data.cleaning.rules import RuleCount, clean
from seqmarket.data.cleaning.settings import CleaningRule
from seqmarket.data.engine.arrange import Recoding, Statics, arrange
from seqmarket.data.engine.hashing import stable_hash
from seqmarket.data.engine.order import order_ties
from seqmarket.data.engine.shard_file import ShardColumns, ShardSize, write_shard
from seqmarket.data.engine.splice import as_piece, recode_shard, splice_shards
from seqmarket.data.engine.spool import RunSlice, read_run
from seqmarket.data.event_log import ARRANGED, CLEANED, EventLog, shard_name
from seqmarket.data.quality.journeys import JourneyStats
from seqmarket.data.shard import Lexicon, Shard


@dataclass(frozen=True)
class ShardTask:
    """What is to be done with a shard.

    Attributes:
        index: Its position.
        base: The log that is added to, and the recoding of its texts; None: there is none.
        runs: Where its rows are, each with the recoding of its texts.
        numbers: The columns of numbers of the runs.
        statics: Features of customers that are columns of the events.
        customers: The rows of its customers in the customers' table; None: there is none.
        lexicon: Of the log.
        rules: How it is cleaned.
        drop_repeats: Whether rows that repeat an earlier one are dropped.
        by_position: Whether events of the same time are ordered by their position.
        folder: Of the log that is built.
    """

    index: int
    base: tuple[EventLog, Recoding] | None
    runs: tuple[tuple[RunSlice, Recoding], ...]
    numbers: tuple[str, ...]
    statics: Statics
    customers: pl.DataFrame | None
    lexicon: Lexicon
    rules: tuple[CleaningRule, ...]
    drop_repeats: bool
    by_position: bool
    folder: Path


@dataclass(frozen=True)
class ShardResult:
    """What a shard turned out to hold.

    Attributes:
        arranged: Its size before cleaning.
        cleaned: Its size after.
        repeats: Number of rows that repeat an earlier one.
        first_repeat: Position in the log of the first of them, where rows carry theirs.
        changed: Feature of customers -> number of customers whose events disagree about it.
        rules: What each rule of cleaning did.
        columns: The names of its columns.
        added: Where a log is added to, hashes of the customers with rows in the runs.
    """

    arranged: ShardSize
    cleaned: ShardSize
    repeats: int
    first_repeat: float | None
    changed: Mapping[str, int]
    rules: tuple[RuleCount, ...]
    columns: ShardColumns
    added: NDArray[np.uint64]


def arrange_shard(task: ShardTask) -> tuple[ShardResult, JourneyStats]:
    """Puts a shard in order, cleans it and writes it; pure but for the files it writes.

    Where a log is added to, only customers with new events are put in order again.

    Returns:
        What it turned out to hold, and its profile after cleaning.
    """
    pieces = [
        # The last entry of a recoding is that of a null.
        read_run(part, {name: len(codes) - 1 for name, codes in to.items()}, task.numbers)
        for part, to in task.runs
    ]
    recodings = [recoding for _, recoding in task.runs]
    added = np.empty(0, dtype=np.uint64)
    old = None
    if task.base is not None:
        added = np.unique(np.concatenate([added, *(piece.hashes for piece in pieces)]))
        log, recoding = task.base
        old = log.arranged(task.index)
        pieces.append(as_piece(old, np.isin(stable_hash(old.customer_id), added), task.statics))
        recodings.append(recoding)
        old = recode_shard(old, recoding)
    found = arrange(
        pieces,
        recodings,
        task.statics,
        drop_repeats=task.drop_repeats,
        by_position=task.by_position,
    )
    shard = found.shard
    if task.customers is not None:
        shard = _with_features(shard, task.customers, task.lexicon)
    if old is not None:
        shard = splice_shards(old, shard, added)
    name = shard_name(task.index)
    arranged = write_shard(task.folder / ARRANGED / name, shard)
    cleaned = arranged
    counts: tuple[RuleCount, ...] = ()
    if task.rules:
        shard, counts = clean(shard, task.lexicon, task.rules, order_ties=order_ties)
        cleaned = write_shard(task.folder / CLEANED / name, shard)
    columns = ShardColumns(
        tuple(shard.codes),
        tuple(shard.numbers),
        tuple(shard.static_codes),
        tuple(shard.static_numbers),
    )
    result = ShardResult(
        arranged, cleaned, found.repeats, found.first_repeat, found.changed, counts, columns, added
    )
    return result, JourneyStats.of(shard, task.lexicon)


def _with_features(shard: Shard, customers: pl.DataFrame, lexicon: Lexicon) -> Shard:
    """The shard with the features of its customers; null where the table does not name one."""
    ids = shard.customer_id.alias("customer_id").to_frame()
    known = ids.join(customers, on="customer_id", how="left", maintain_order="left")
    codes, numbers = {}, {}
    for name in customers.columns[1:]:
        column = known[name]
        if column.dtype == pl.String:
            code = column.cast(pl.Enum(lexicon[name])).to_physical().cast(pl.Int32)
            codes[name] = code.fill_null(-1).to_numpy()
        else:
            numbers[name] = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
    return replace(shard, static_codes=codes, static_numbers=numbers)
