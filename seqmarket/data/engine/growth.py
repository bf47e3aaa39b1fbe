"""Logs that grow: a log of some parts is found, and only the other parts are read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from seqmarket.data.event_log import ABOUT, EventLog, open_log
from seqmarket.data.raw_log import RawLog
from seqmarket.data.reading import RawPart
from seqmarket.data.sealed import state
from seqmarket.errors import SeqmarketError


def find_base(logs: Path, raw: RawLog, family: str) -> EventLog | None:
    """The log with the most of these parts, if it can be added to.

    It cannot where that might not give what reading all parts gives: where rows were left out
    because they were in the future then, where times with an offset would meet times without, where
    values that disagree about a customer have not been kept, or where the rows that were put aside
    are damaged or no longer there.

    Args:
        logs: Folder of the validated logs.
        raw: The log that is wanted.
        family: See `Origin`; only logs of the same one are looked at.
    """
    digests = [part.digest for part in raw.parts]
    if not family or not all(digests):
        return None
    found = [
        (len(parts), path)
        for path, parts in _relatives(logs, family)
        if parts and _is_within(parts, digests, in_order=raw.ties == "position")
    ]
    for _, path in sorted(found, reverse=True):
        try:
            log = open_log(path)
        except SeqmarketError:
            continue  # a damaged log is not needed
        aside = log.report.quarantine_path
        if (
            not log.origin.changing_features
            and not any(reason.endswith("is in the future") for reason in log.report.reasons)
            and (aside is None or (aside.exists() and state(aside) != "damaged"))
        ):
            return log
    return None


def new_parts(known: Sequence[str], parts: Sequence[RawPart]) -> list[tuple[int, RawPart]]:
    """The parts that are not in a log, with their positions.

    Args:
        known: Digests of the log's parts.
        parts: All parts; one that occurs twice is new once more.
    """
    left = Counter(known)
    new = []
    for index, part in enumerate(parts):
        if left[part.digest]:
            left[part.digest] -= 1
        else:
            new.append((index, part))
    return new


def _relatives(logs: Path, family: str) -> Iterable[tuple[Path, list[str]]]:
    for about in sorted(logs.glob(f"[!.]*/{ABOUT}")):
        try:
            origin = json.loads(about.read_text())["origin"]
        except (OSError, ValueError, KeyError):
            continue
        if origin["family"] == family:
            yield about.parent, origin["parts"]


def _is_within(parts: Sequence[str], digests: Sequence[str], *, in_order: bool) -> bool:
    if in_order:
        return list(digests[: len(parts)]) == list(parts)
    return not Counter(parts) - Counter(digests)
