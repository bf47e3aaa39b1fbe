"""From an event log to an encoded store, shard by shard."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.data.encoding import encode_shard
from seqmarket.data.engine.columns import ColumnFiles, Place
from seqmarket.data.engine.executor import Executor, LocalExecutor
from seqmarket.data.engine.fitting import TrainingCounts, count_training, fit_spec
from seqmarket.data.engine.hashing import stable_hash
from seqmarket.data.engine.shard_file import ShardSize
from seqmarket.data.engine.splice import plan_splice, splice_arrays
from seqmarket.data.event_log import EventLog
from seqmarket.data.files import building, map_array, write_array, write_json
from seqmarket.data.quality.unseen import unseen_categories
from seqmarket.data.settings import EncodingSettings, SplitSettings
from seqmarket.data.shard import POSITION, Shard
from seqmarket.data.splits import Split, make_split, to_microseconds
from seqmarket.data.store import ABOUT, ARRAYS, ORIGIN, REPORT
from seqmarket.data.texts import from_bytes
from seqmarket.errors import SeqmarketError
from seqmarket.schema import EventArrays, SequenceSpec


def write_store(
    path: Path,
    log: EventLog,
    split: SplitSettings,
    encoding: EncodingSettings,
    executor: Executor | None = None,
    grown: Growth | None = None,
) -> None:
    """Encodes a log into a folder, written beside and renamed when it is complete.

    Args:
        path: The folder; nothing must be there.
        log: The validated log.
        split: How the log is divided.
        encoding: How events become ids and numbers.
        executor: What shards are worked on with; None: one after the other, here.
        grown: An older store of the same settings, made of the log that this one was added to.

    Raises:
        SeqmarketError: The split does not fit the log, or no event lies in the training period.
    """
    run = executor or LocalExecutor()
    with building(path) as folder:
        made = _make_split(log, split)
        scratch = folder / "scratch"
        scratch.mkdir()
        events = [size.events for size in log.sizes]
        places = list(
            accumulate(log.sizes, lambda at, size: at.after(size), initial=Place(0, 0, 0))
        )
        tasks = [
            (log, index, made.periods["train"].end, fold, scratch, place.events)
            for index, (fold, place) in enumerate(
                zip(_taking_part(log, made), places, strict=False)
            )
        ]
        counts = reduce(TrainingCounts.merge, run.shards(count_one, tasks, "fit", events))
        if not counts.events:
            raise SeqmarketError(
                f"no event lies in the training period ({made.periods['train']})",
                where="data.split",
                fix="move data.split.train_end, or choose another data.split.kind",
            )
        spec = fit_spec(counts, log.lexicon, log.columns, log.purchase_event_types, encoding)
        shutil.rmtree(scratch)
        files = ColumnFiles.create(folder, spec, places[-1])
        old = None if grown is None or grown.spec != spec else grown
        encodings = [
            (log, index, spec, files, place, None if old is None else old.shard(index))
            for index, place in enumerate(places[:-1])
        ]
        deque(run.shards(encode_one, encodings, "encode", events), maxlen=0)
        if made.customer_fold is not None:
            with (folder / "customer_fold.npy").open("wb") as file:
                write_array(file, made.customer_fold)
        about = {
            "name": log.name,
            "spec": spec.to_dict(),
            "split": made.to_dict(),
            "observed_until": to_microseconds(log.observed_until),
        }
        origin = {
            "log": log.path.name,
            "split": split.model_dump(mode="json"),
            "encoding": encoding.shaping_a_store(),
            "key_id": log.key_id,
        }
        write_json(folder / ABOUT, about)
        write_json(folder / ORIGIN, origin)
        report = log.report
        if split.kind != "cohort":
            static = (*log.columns.static_codes, *log.columns.static_numbers)
            train_end = made.periods["train"].end
            unseen = unseen_categories(log.categories(), static, log.lexicon, train_end)
            report = replace(report, unseen=unseen)
        write_json(folder / REPORT, report.to_dict())


@dataclass(frozen=True)
class Growth:
    """An older store, and what has been added to the log that it was made of.

    Attributes:
        store: Folder of the older store.
        spec: Its spec.
        sizes: Of the shards of the older log.
        added: Of each shard, hashes of the customers with new events.
    """

    store: Path
    spec: SequenceSpec
    sizes: tuple[ShardSize, ...]
    added: tuple[NDArray[np.uint64], ...]

    def shard(self, index: int) -> GrownShard:
        """One shard of it."""
        place = reduce(Place.after, self.sizes[:index], Place(0, 0, 0))
        return GrownShard(self.store, place, self.sizes[index], self.added[index])


@dataclass(frozen=True)
class GrownShard:
    """A shard of an older store: where it is, and what has been added to it."""

    store: Path
    place: Place
    size: ShardSize
    added: NDArray[np.uint64]

    def read(self) -> tuple[EventArrays, pl.Series]:
        """The encoded events and the identifiers of its customers."""
        end = self.place.after(self.size)
        events = slice(self.place.events, end.events)
        customers = slice(self.place.customers, end.customers)

        def column(name: str) -> NDArray[Any]:
            return map_array(self.store / f"{name}.npy")

        offsets = column("offsets")[customers.start : customers.stop + 1] - events.start
        columns = {
            name: column(name)[customers if name.startswith("static_") else events]
            for name in ARRAYS
            if name != "offsets"
        }
        bounds = column("customer_id_offsets")[customers.start : customers.stop + 1]
        content = column("customer_id_bytes")[bounds[0] : bounds[-1]]
        return EventArrays(offsets=offsets, **columns), from_bytes(bounds - bounds[0], content)


def count_one(task: tuple[EventLog, int, int, Any, Path, int]) -> TrainingCounts:
    """What one shard holds of the training period; a pure function of its task."""
    log, index, train_end, taking_part, folder, first_event = task
    shard = log.shard(index)
    return count_training(shard, log.lexicon, train_end, taking_part, folder, first_event)


def encode_one(
    task: tuple[EventLog, int, SequenceSpec, ColumnFiles, Place, GrownShard | None],
) -> None:
    """Encodes a shard to its place in the store; a pure function of its task.

    Where it has grown, only customers with new events are encoded, the others are copied.
    """
    log, index, spec, files, place, grown = task
    shard = log.shard(index)
    if grown is None:
        arrays = encode_shard(shard, log.lexicon, spec)
    else:
        is_new = np.isin(stable_hash(shard.customer_id), grown.added)
        new = shard.keep(np.repeat(is_new, np.diff(shard.offsets)))
        old, old_ids = grown.read()
        splice = plan_splice(old_ids, old.offsets, new.customer_id, new.offsets, grown.added)
        arrays = splice_arrays(old, encode_shard(new, log.lexicon, spec), splice)
    files.write(arrays, shard.customer_id, place)


def _make_split(log: EventLog, settings: SplitSettings) -> Split:
    def table(shard: Shard) -> pl.DataFrame:
        first = shard.offsets[:-1]
        columns = {"customer_id": shard.customer_id, "first_time": shard.time[first]}
        if POSITION in shard.numbers:
            columns["position"] = np.minimum.reduceat(shard.numbers[POSITION], first)
        return pl.DataFrame(columns)

    def customers() -> pl.DataFrame:
        return pl.concat(map(table, log.shards()))

    first = min(size.first_time for size in log.sizes if size.events)
    return make_split(first, log.observed_until, settings, customers)


def _taking_part(log: EventLog, split: Split) -> Iterator[Any]:
    """Of each shard: (c,) which customers are in the training fold, None for all of them."""
    if split.customer_fold is None:
        yield from [None] * len(log.sizes)
        return
    inside = split.customers("train", log.n_customers)
    first = 0
    for size in log.sizes:
        yield inside[first : first + size.customers]
        first += size.customers
