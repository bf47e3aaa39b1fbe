"""A raw log becomes a validated one: read, gated, scattered, put in order, cleaned, written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.data.cleaning.rules import extend_lexicon
from seqmarket.data.cleaning.settings import check_rules
from seqmarket.data.engine.arrange import Recoding, Statics
from seqmarket.data.engine.executor import Executor
from seqmarket.data.engine.growth import new_parts
from seqmarket.data.engine.hashing import shard_of, stable_hash
from seqmarket.data.engine.read import NOTHING, PartResult, PartTask, position_of, read_part
from seqmarket.data.engine.reporting import join_quarantine, make_report
from seqmarket.data.engine.resources import chunk_rows, shard_count
from seqmarket.data.engine.shard_stage import ShardResult, ShardTask, arrange_shard
from seqmarket.data.engine.spool import Run
from seqmarket.data.event_log import (
    ABOUT,
    ARRANGED,
    CATEGORIES,
    CLEANED,
    REPORT,
    EventLog,
    Origin,
    write_categories,
)
from seqmarket.data.files import building, removing, write_json
from seqmarket.data.gate.gate import Gate
from seqmarket.data.log_settings import LogSettings
from seqmarket.data.quality.gate_report import GateReport
from seqmarket.data.quality.journeys import JourneyStats
from seqmarket.data.raw_log import RawLog
from seqmarket.data.reading import count_rows
from seqmarket.data.settings import ResourceSettings
from seqmarket.data.shard import Lexicon
from seqmarket.data.splits import to_datetime
from seqmarket.data.validation import Converter, EventSchema, offence, reason_text
from seqmarket.errors import SeqmarketError


class CannotGrowError(Exception):
    """Reading the new parts alone would give something else, or its shards would be too large."""


@dataclass(frozen=True)
class Built:
    """What was made beside the log itself.

    Attributes:
        added: Where a log was added to, of each shard the hashes of the customers with new rows.
    """

    added: tuple[NDArray[np.uint64], ...]


def build_log(
    raw: RawLog,
    settings: LogSettings,
    gate: Gate,
    path: Path,
    *,
    executor: Executor,
    resources: ResourceSettings,
    quarantine_path: Path,
    family: str = "",
    keys: Mapping[str, Any] | None = None,
    base: EventLog | None = None,
) -> Built:
    """Reads a raw log into a folder, written beside and renamed when it is complete.

    Args:
        raw: The log as its source gives it.
        settings: What is checked and mended.
        gate: Who is admitted.
        path: The folder; its lock is held and nothing is there.
        executor: What the stages run on.
        resources: What they may use.
        quarantine_path: Parquet file for rows that are put aside; written only if there are any.
        family: See `Origin`.
        keys: What the log and its family are found by, for an erasure that changes them.
        base: A log of some of the parts, which the others are added to.

    Raises:
        SeqmarketError: The log breaks a rule under the policy `error`, cannot be read, or holds no
            event.
        CannotGrowError: With `base`, only the whole log says which times are at fault, or more
            shards are needed than it has.
    """
    texts, numbers = _columns(raw)
    shown = {name: raw.names.get(name, name) for name in ("customer_id", *raw.schema.features)}
    gate.check_features(shown.pop("customer_id"), shown.values())
    check_rules(settings.cleaning, texts=texts, numbers=numbers)
    with building(path) as folder:
        scratch = folder / "scratch"
        folders = (scratch, folder / ARRANGED, *([folder / CLEANED] if settings.cleaning else []))
        for subfolder in folders:
            subfolder.mkdir()
        read, n_shards = _read(raw, settings, gate, scratch, executor, resources, base)
        customers = None if raw.customers is None else gate.admit_table(raw.customers)[0]
        lexicon = extend_lexicon(_lexicon(read.runs, customers, base), settings.cleaning)
        tasks = _shard_tasks(raw, settings, read.runs, customers, lexicon, n_shards, folder, base)
        events = [sum(int(run.events[index]) for run in read.runs) for index in range(n_shards)]
        results, journeys = _arrange(executor.shards(arrange_shard, tasks, "order", events))
        _refuse_repeats(raw, settings, results)
        observed_until = _observed_until(raw, results)
        files = list(read.quarantine)
        if base is not None and base.report.quarantine_path is not None:
            files.insert(0, base.report.quarantine_path)
        if files:
            join_quarantine(files, quarantine_path)
        with removing(scratch):
            report = make_report(
                raw,
                settings,
                read,
                results,
                journeys,
                lexicon,
                quarantine_path if files else None,
                base,
            )
            origin = Origin(
                family,
                tuple(part.digest for part in raw.parts),
                read.with_offset + (base.origin.with_offset if base else 0),
                read.without_offset + (base.origin.without_offset if base else 0),
                any(n for result in results for n in result.changed.values()),
            )
            about = {
                "name": raw.name,
                "fingerprint": raw.fingerprint,
                "columns": results[0].columns.to_dict(),
                "lexicon": {name: list(values) for name, values in lexicon.items()},
                "purchase_event_types": list(raw.schema.purchase_event_types),
                "observed_until": observed_until.isoformat(),
                "sizes": [asdict(result.cleaned) for result in results],
                "cleaned": bool(settings.cleaning),
                "origin": asdict(origin),
                "keys": keys,
                "gate": GateReport.of(gate).to_dict(),
            }
            write_json(folder / ABOUT, about)
            write_json(folder / REPORT, report.to_dict())
            write_categories(folder / CATEGORIES, journeys.categories)
    return Built(tuple(result.added for result in results))


def _of_events(raw: RawLog) -> EventSchema:
    """What the log declares of its events: features of a table of customers are no columns."""
    if raw.customers is None:
        return raw.schema
    return replace(raw.schema, static_categorical=(), static_numeric=())


def _columns(raw: RawLog) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of text and of numbers of an event, features of customers left out."""
    schema = raw.schema
    return ("channel", "event_type", *schema.categorical), ("value", "cost", *schema.numeric)


def _read(
    raw: RawLog,
    settings: LogSettings,
    gate: Gate,
    folder: Path,
    executor: Executor,
    resources: ResourceSettings,
    base: EventLog | None,
) -> tuple[PartResult, int]:
    """The first stage; once more where only the whole log says which times are at fault."""
    texts, numbers = _columns(raw)
    parts = list(enumerate(raw.parts))
    if base is not None:
        parts = new_parts(base.origin.parts, raw.parts)
    rows = [count_rows(part) for _, part in parts]
    total = sum(count for count in rows if count is not None)
    known = 0 if base is None else sum(size.events for size in base.sizes)
    n_shards = shard_count(resources, known + total, len(texts) + len(numbers))
    if base is not None:
        if n_shards > 2 * len(base.sizes) and resources.shards is None:
            raise CannotGrowError
        n_shards = len(base.sizes)
    converter = Converter(
        _of_events(raw),
        raw.times,
        not_after=settings.validation.not_after or datetime.now(UTC),
        allow_negative_value=raw.allow_negative_value,
        names=raw.names,
    )

    def run(converter: Converter) -> PartResult:
        tasks = [
            PartTask(
                part=part,
                index=index,
                converter=converter,
                gate=gate,
                positions=raw.ties == "position" or settings.validation.duplicates == "error",
                policy=settings.validation.policy,
                chunk_rows=chunk_rows(resources, 1 + len(texts), 1 + len(numbers)),
                n_shards=n_shards,
                folder=folder,
            )
            for index, part in parts
        ]
        known = total if None not in rows else None
        return reduce(PartResult.merge, executor.parts(read_part, tasks, known), NOTHING)

    read = run(converter)
    if base is not None:
        origin = base.origin
        if (read.with_offset or origin.with_offset) and (
            read.without_offset or origin.without_offset
        ):
            raise CannotGrowError
    elif read.with_offset and read.without_offset:
        # Times with an offset among times without one: the fewer are at fault.
        fewer = read.with_offset < read.without_offset
        for file in folder.iterdir():
            file.unlink()
        read = run(replace(converter, zoned_is_broken=fewer))
    if read.first_broken is not None and settings.validation.policy == "error":
        part, row, rule = read.first_broken
        raise offence(raw.parts[part], row, rule, sum(read.broken.values()) - 1, raw.names)
    if not read.runs and base is None:
        raise _no_event(raw, read)
    return read, n_shards


def _no_event(raw: RawLog, read: PartResult) -> SeqmarketError:
    where = raw.parts[0].label if len(raw.parts) == 1 else f"{len(raw.parts)} files"
    if read.refused:
        reasons = ", ".join(f"{count:,} x {reason}" for reason, count in read.refused.items())
        return SeqmarketError(
            f"the privacy gate admits no event: {reasons}",
            where=where,
            fix="see data.privacy and data.identity",
        )
    if not read.broken:
        return SeqmarketError("the log holds no event", where=where)
    commonest = max(read.broken, key=lambda rule: (read.broken[rule], rule))
    return SeqmarketError(
        f"the log holds no event: {sum(read.broken.values()):,} of {read.rows:,} rows break a "
        f"rule, most of them this one: {reason_text(commonest, raw.names)}",
        where=where,
        fix="data.validation.policy=error names the first such row, and what mends it",
    )


def _lexicon(runs: Sequence[Run], customers: pl.DataFrame | None, base: EventLog | None) -> Lexicon:
    """The distinct texts of every text column, sorted: they depend on no order of rows or runs."""
    texts: dict[str, list[pl.Series]] = defaultdict(list)
    if base is not None:
        for name, known in _as_series(base.lexicon).items():
            texts[name].append(known)
    for run in runs:
        for name, values in run.texts.items():
            texts[name].append(values)
    if customers is not None:
        for name in customers.columns[1:]:
            if customers[name].dtype == pl.String:
                texts[name].append(customers[name].drop_nulls())
    return {
        name: tuple(pl.concat([values.alias(name) for values in all_of_them]).unique().sort())
        for name, all_of_them in texts.items()
    }


def _shard_tasks(
    raw: RawLog,
    settings: LogSettings,
    runs: Sequence[Run],
    customers: pl.DataFrame | None,
    lexicon: Lexicon,
    n_shards: int,
    folder: Path,
    base: EventLog | None,
) -> Iterator[ShardTask]:
    texts = _as_series(lexicon)
    recodings = [_recoding(run.texts, texts) for run in runs]
    older = None if base is None else (base, _recoding(_as_series(base.lexicon), texts))
    own = _of_events(raw)
    tables: list[pl.DataFrame | None] = [None] * n_shards
    if customers is not None:
        owner = shard_of(stable_hash(customers["customer_id"]), n_shards)
        tables = [customers.filter(pl.Series(owner == index)) for index in range(n_shards)]
    # One after the other: each names its stretch of every run, and all of them would be many.
    for index in range(n_shards):
        yield ShardTask(
            index=index,
            base=older,
            runs=tuple((run.shard(index), to) for run, to in zip(runs, recodings, strict=True)),
            numbers=runs[0].numbers if runs else (),
            statics=Statics(own.static_categorical, own.static_numeric),
            customers=tables[index],
            lexicon=lexicon,
            rules=settings.cleaning,
            drop_repeats=settings.validation.duplicates != "keep",
            by_position=raw.ties == "position",
            folder=folder,
        )


def _as_series(lexicon: Lexicon) -> dict[str, pl.Series]:
    return {name: pl.Series(texts, dtype=pl.String) for name, texts in lexicon.items()}


def _recoding(texts: Mapping[str, pl.Series], lexicon: Mapping[str, pl.Series]) -> Recoding:
    return {
        name: np.append(lexicon[name].search_sorted(values).to_numpy(), -1).astype(np.int32)
        for name, values in texts.items()
    }


def _arrange(
    shards: Iterator[tuple[ShardResult, JourneyStats]],
) -> tuple[list[ShardResult], JourneyStats]:
    """What the shards turned out to hold; profiles are added up as they come, not to hold all."""
    results, journeys = [], None
    for result, profile in shards:
        results.append(result)
        journeys = profile if journeys is None else journeys.merge(profile)
    if journeys is None:
        raise ValueError("a log has at least one shard")
    return results, journeys


def _refuse_repeats(raw: RawLog, settings: LogSettings, results: Sequence[ShardResult]) -> None:
    found = [result.first_repeat for result in results if result.first_repeat is not None]
    if not found or settings.validation.duplicates != "error":
        return
    more = sum(result.repeats for result in results) - 1
    index, row = position_of(min(found))
    part = raw.parts[index]
    raise SeqmarketError(
        "a row repeats another one in every declared column"
        + (f"; {more:,} further {'does' if more == 1 else 'do'}" if more else ""),
        where=f"{part.label}, {part.unit} {part.place([row])[0]}",
        fix="data.validation.duplicates=drop drops such rows, and counts them; keep keeps them",
    )


def _observed_until(raw: RawLog, results: Sequence[ShardResult]) -> datetime:
    sizes = [result.cleaned for result in results if result.cleaned.events]
    if not sizes:
        raise SeqmarketError(
            "the rules of cleaning leave no event",
            where="data.cleaning",
            fix="look at what each rule drops: data.cleaning=[] leaves all of them out",
        )
    last = to_datetime(max(size.last_time for size in sizes))
    if raw.observed_until is not None and raw.observed_until <= last:
        raise SeqmarketError(
            f"events lie at or after the end of the observation, {raw.observed_until}",
            where="data.observed_until",
            fix=f"set it later than the last event ({last}), or leave it null",
        )
    return raw.observed_until or last + timedelta(microseconds=1)
