"""Whether a model may become the champion: what its comparison with the present one says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from seqmarket.comparison.recorded import RecordedRun
from seqmarket.comparison.report import ABOUT
from seqmarket.errors import SeqmarketError

COMPARISONS = "comparisons"
"""Where a run's comparisons are among its artifacts."""

_OPPOSITE = {"better": "worse", "worse": "better", "no difference": "no difference"}


@dataclass(frozen=True)
class Evidence:
    """A comparison of a candidate with the champion.

    Attributes:
        place: Its folder among the candidate's artifacts.
        verdicts: What the candidate is at each task that was tested, beside the champion.
        sentence: The verdict of the comparison in words.
    """

    place: str
    verdicts: Mapping[str, str]
    sentence: str

    @property
    def speaks_against(self) -> bool:
        """Whether the candidate is worse somewhere and better nowhere."""
        said = set(self.verdicts.values())
        return "worse" in said and "better" not in said


def check_promotion(candidate: RecordedRun, champion: str, command: str) -> Evidence:
    """The evidence that lets a candidate take the champion's place.

    Args:
        candidate: Its run, with its comparisons.
        champion: The key of the champion's run.
        command: What compares the two.

    Raises:
        SeqmarketError: There is no comparison of the two on the same rows, or it speaks against
            the candidate.
    """
    found = list(evidence(candidate, champion))
    if not found:
        raise SeqmarketError(
            "the candidate was not compared with the present champion on the same rows",
            where=candidate.called,
            fix=f'{command}; or promote it all the same with --without-comparison "REASON"',
        )
    newest = found[-1]
    if newest.speaks_against:
        worse = ", ".join(task for task, said in newest.verdicts.items() if said == "worse")
        raise SeqmarketError(
            f"the comparison says that the candidate is worse than the champion ({worse}), and "
            "better nowhere",
            where=f"{candidate.called}, {newest.place}",
            fix='promote it all the same with --without-comparison "REASON"',
        )
    return newest


def evidence(candidate: RecordedRun, champion: str) -> Iterator[Evidence]:
    """Every comparison of a candidate with a champion, the newest last.

    One that was restricted to common rows does not count: its runs were asked different things.
    """
    files = (candidate.folder / COMPARISONS).glob(f"*/{ABOUT}")
    for path in sorted(files, key=lambda path: path.stat().st_mtime_ns):
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        own, other = (_contender(about, key) for key in (candidate.key, champion))
        if about["restricted"] or own is None or other is None or own == other:
            continue
        verdicts = {
            task: said
            for task, facts in about["tasks"].items()
            if (said := _verdict(facts, own, other)) is not None
        }
        if verdicts:
            place = path.parent.relative_to(candidate.folder).as_posix()
            yield Evidence(place, verdicts, str(about["verdict"]))


def _contender(about: Mapping[str, Any], key: str) -> str | None:
    """Who stands for what a run trained."""
    for contender in about["contenders"]:
        if contender.get("is_own") and any(run["record"] == key for run in contender["runs"]):
            return str(contender["name"])
    return None


def _verdict(facts: Mapping[str, Any], own: str, other: str) -> str | None:
    if facts["reference"] == other:
        said = facts["verdicts"].get(own)
    elif facts["reference"] == own:
        said = _OPPOSITE.get(facts["verdicts"].get(other, ""))
    else:
        return None
    return None if said is None else str(said)
