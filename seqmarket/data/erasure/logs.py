"""Validated logs without some customers: as if the source had never named them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import timedelta
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqmarket.data.engine.arrange import Recoding
from seqmarket.data.engine.shard_file import ShardSize, read_shard, write_shard
from seqmarket.data.engine.splice import recode_shard
from seqmarket.data.erasure.caches import holding, key_id, new_keys, read_about
from seqmarket.data.erasure.needles import Needles
from seqmarket.data.event_log import (
    ABOUT,
    ARRANGED,
    CATEGORIES,
    CLEANED,
    REPORT,
    EventLog,
    open_log,
    shard_name,
    write_categories,
)
from seqmarket.data.files import MANIFEST, building, write_json
from seqmarket.data.gate.ledger import Erased
from seqmarket.data.gate.reasons import ERASED, REASONS
from seqmarket.data.quality.journeys import JourneyStats
from seqmarket.data.quality.profile import LogProfile
from seqmarket.data.quality.report import QualityReport
from seqmarket.data.quality.suspicions import suspicions
from seqmarket.data.shard import Lexicon, Shard
from seqmarket.data.splits import to_datetime
from seqmarket.errors import SeqmarketError


def erase_from_log(
    path: Path, needles: Needles, erased: Erased | None, known_key: str | None = None
) -> int:
    """Makes a log anew without some customers, where it will be found; the old one is removed.

    Texts that only they had leave the lexicon, so codes shift; the profile in the report is that
    of the others. A log that cannot be made anew is removed: it is damaged, holds nobody else, or
    does not say what it is found by. Killed at any moment, it can be called again.

    Whether a log under another key holds them is not known: it is left as it is, under a name that
    no gate that knows of the erasure finds.

    Args:
        path: Its folder.
        needles: The names under which the customers may be stored.
        erased: Everyone whose data were erased.
        known_key: Id of the key of the pseudonyms among the names; None: there are none.

    Returns:
        Number of customers that were removed from it.
    """
    try:
        log = open_log(path)
    except SeqmarketError:
        shutil.rmtree(path)
        return 0
    shards = [log.arranged(index).customer_id for index in range(len(log.sizes))]
    theirs = sum(int(needles.are(ids).sum()) for ids in shards)
    if not theirs and key_id(path) not in (None, known_key):
        return 0
    about = read_about(path)
    keys = new_keys(about, path.name, erased)
    if keys is None or (theirs and keys.name == path.name):
        # Nothing to find it by, or customers under a name that was not known before.
        shutil.rmtree(path)
    elif keys.name != path.name:
        target = path.with_name(keys.name)
        with holding(target), suppress(_NobodyIsLeftError):
            if not target.exists():
                with building(target) as folder:
                    changes = _rewrite(log, folder, needles) if theirs else _link(log, folder)
                    write_json(folder / ABOUT, {**about, **changes, **keys.about})
        shutil.rmtree(path)
    return theirs


class _NobodyIsLeftError(Exception):
    """The log holds no other customer."""


def _stages(log: EventLog) -> tuple[str, ...]:
    return (ARRANGED, CLEANED) if log.cleaned else (ARRANGED,)


def _link(log: EventLog, folder: Path) -> dict[str, Any]:
    """The same files, by a link where the file system knows them."""
    for file in log.path.rglob("*"):
        name = file.relative_to(log.path)
        if file.is_dir():
            (folder / name).mkdir()
        elif name.name not in (ABOUT, MANIFEST):
            try:
                os.link(file, folder / name)
            except OSError:
                shutil.copyfile(file, folder / name)
    return {}


def _rewrite(log: EventLog, folder: Path, needles: Needles) -> dict[str, Any]:
    lexicon, recoding = _lexicon_of_others(log, needles)
    sizes: list[ShardSize] = []
    profiles: list[JourneyStats] = []
    for stage in _stages(log):
        (folder / stage).mkdir()
        sizes, profiles = [], []
        for index, shard in _others(log, stage, needles):
            recoded = recode_shard(shard, recoding)
            sizes.append(write_shard(folder / stage / shard_name(index), recoded))
            profiles.append(JourneyStats.of(recoded, lexicon))
    if not any(size.events for size in sizes):
        raise _NobodyIsLeftError
    journeys = reduce(JourneyStats.merge, profiles)
    profile = LogProfile.of(journeys, lexicon, log.purchase_event_types)
    write_categories(folder / CATEGORIES, journeys.categories)
    write_json(folder / REPORT, _report(log.report, profile).to_dict())
    last = max(size.last_time for size in log.sizes if size.events)
    observed_until = log.observed_until
    if observed_until == to_datetime(last) + timedelta(microseconds=1):
        # It was set by the last event, which may have been theirs.
        last = max(size.last_time for size in sizes if size.events)
        observed_until = to_datetime(last) + timedelta(microseconds=1)
    return {
        "lexicon": {name: list(texts) for name, texts in lexicon.items()},
        "sizes": [asdict(size) for size in sizes],
        "observed_until": observed_until.isoformat(),
    }


def _others(log: EventLog, stage: str, needles: Needles) -> Iterator[tuple[int, Shard]]:
    """Each shard, without the customers."""
    for index in range(len(log.sizes)):
        shard = read_shard(log.path / stage / shard_name(index), log.columns)
        theirs = needles.are(shard.customer_id)
        if theirs.any():
            shard = shard.keep(np.repeat(~theirs.to_numpy(), np.diff(shard.offsets)))
        yield index, shard


def _lexicon_of_others(log: EventLog, needles: Needles) -> tuple[Lexicon, Recoding]:
    """The texts that the others have, before or after cleaning, and the recoding to them."""
    used: Mapping[str, NDArray[np.bool_]] = {
        name: np.zeros(len(texts) + 1, dtype=np.bool_) for name, texts in log.lexicon.items()
    }
    for stage in _stages(log):
        for _, shard in _others(log, stage, needles):
            for name, codes in (*shard.codes.items(), *shard.static_codes.items()):
                used[name][codes] = True  # a null marks the last place
    lexicon, recoding = {}, {}
    for name, texts in log.lexicon.items():
        kept = used[name][:-1]
        lexicon[name] = tuple(text for text, stays in zip(texts, kept, strict=True) if stays)
        place = np.where(kept, np.cumsum(kept) - 1, -1)
        recoding[name] = np.append(place, -1).astype(np.int32)
    return lexicon, recoding


def _report(report: QualityReport, profile: LogProfile) -> QualityReport:
    """The account of the rows with the erased ones among the refused, and a new profile.

    The extremes of the columns as they were read are left out: they may be the customers'.
    """
    reason = REASONS[ERASED]
    gone = report.kept - profile.events
    return replace(
        report,
        kept=profile.events,
        refused={**report.refused, reason: report.refused.get(reason, 0) + gone},
        profile=profile,
        warnings=suspicions(profile, reasons=report.reasons, identifiers=report.identifiers),
        columns_read={
            name: replace(column, low=None, high=None)
            for name, column in report.columns_read.items()
        },
    )
