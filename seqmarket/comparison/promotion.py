"""Whether a model may take the champion's place: what the comparisons of its run say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqmarket.comparison.report import ABOUT, PAGE
from seqmarket.errors import SeqmarketError

LEVEL = 0.95
"""At which a comparison must test: a higher one hides losses, a lower one finds gains."""

LEAST_RESAMPLES = 1_000


@dataclass(frozen=True)
class Entrant:
    """One of the two.

    Attributes:
        called: For the user.
        record: What tells its run from every other one (`RecordedRun.key`).
        model: The model that its run trained.
        tasks: What that model answers.
    """

    called: str
    record: str
    model: str
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class KeptComparison:
    """A comparison among the artifacts of a run.

    Attributes:
        place: The folder of its artifacts.
        about: What it was, see `Report.about`.
    """

    place: str
    about: Mapping[str, Any]

    @property
    def page(self) -> str:
        """Path of the report among the artifacts."""
        return f"{self.place}/{PAGE}"

    @property
    def verdict(self) -> str:
        """In words."""
        return str(self.about["verdict"])

    @property
    def shortcoming(self) -> str:
        """Why it does not count; empty: it does."""
        if self.about["restricted"]:
            return "it was restricted to the rows that runs on different terms share"
        if self.about["level"] != LEVEL:
            return f"it tested at {self.about['level']:.1%} and not at {LEVEL:.0%}"
        if self.about["resamples"] < LEAST_RESAMPLES:
            return f"it has {self.about['resamples']} resamples, fewer than {LEAST_RESAMPLES:,}"
        tests = sum(map(bool, _values(self.about)))
        # The smallest p-value that so many resamples can give, corrected for all the tests.
        if tests * 2 / (self.about["resamples"] + 1) >= 1 - LEVEL:
            return f"its {self.about['resamples']:,} resamples cannot decide {tests} tests"
        return ""

    def verdicts(self, candidate: Entrant, champion: Entrant) -> dict[str, str]:
        """What it says of the candidate against the champion, by task.

        Empty: it is about others. Several seeds of one model may stand for either.
        """
        own, base = self._name_of(candidate), self._name_of(champion)
        return {
            task: found["verdicts"][own]
            for task, found in self.about["tasks"].items()
            if found["reference"] == base and found["verdicts"].get(own)
        }

    def _name_of(self, entrant: Entrant) -> str | None:
        """A baseline beside the entrant's run is not the entrant."""
        for contender in self.about["contenders"]:
            records = [run["record"] for run in contender["runs"]]
            if entrant.record in records and contender["model"] == entrant.model:
                return str(contender["name"])
        return None


def _values(about: Mapping[str, Any]) -> list[str]:
    return [said for task in about["tasks"].values() for said in task["verdicts"].values()]


def read_comparisons(folder: Path) -> list[KeptComparison]:
    """The comparisons below the artifacts of a run; what cannot be read is none.

    Args:
        folder: Of the artifacts, or of a copy of some.
    """
    found = []
    for path in sorted(folder.glob(f"comparisons/*/{ABOUT}")):
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue
        needed = {"verdict", "restricted", "level", "resamples", "contenders", "tasks"}
        if isinstance(about, dict) and needed <= about.keys():
            found.append(KeptComparison(path.parent.relative_to(folder).as_posix(), about))
    return found


def evidence(
    candidate: Entrant, champion: Entrant, kept: Sequence[KeptComparison]
) -> KeptComparison | None:
    """The comparison of the two that counts; None: there is none."""
    about_both = (item for item in kept if item.verdicts(candidate, champion))
    return next((item for item in about_both if not item.shortcoming), None)


def check_promotion(
    candidate: Entrant, champion: Entrant, kept: Sequence[KeptComparison], command: str
) -> KeptComparison:
    """The comparison that lets the candidate take the champion's place.

    It must have been made without restriction, so that log, split, labels and rows are the same,
    and say that the candidate is better somewhere or worse nowhere. Where several count, none may
    say otherwise: nobody chooses the kindest.

    Args:
        candidate: Who wants the place.
        champion: Who has it.
        kept: The comparisons of the candidate's run.
        command: What makes the comparison that is missing.

    Raises:
        SeqmarketError: There is no such comparison, or it speaks against the candidate.
    """
    lost = [task for task in champion.tasks if task not in candidate.tasks]
    openly = 'or say why it may be all the same: --without-comparison "REASON"'
    if lost:
        raise SeqmarketError(
            f"{candidate.called} does not answer {', '.join(lost)}, as the champion does",
            where=champion.called,
            fix=f"train it on the same tasks, {openly}",
        )
    about_both = [item for item in kept if item.verdicts(candidate, champion)]
    counting = [item for item in about_both if not item.shortcoming]
    if not counting:
        problems = "; ".join(f"{item.place}: {item.shortcoming}" for item in about_both)
        said = f"; one that does not count: {problems}" if problems else ""
        raise SeqmarketError(
            f"{candidate.called} was not compared with the present champion{said}",
            where=champion.called,
            fix=f"run  {command}  and promote it then, {openly}",
        )
    for item in counting:
        verdicts = item.verdicts(candidate, champion).values()
        if "worse" in verdicts and "better" not in verdicts:
            raise SeqmarketError(
                f"{candidate.called} is worse than the present champion: {item.verdict}",
                where=item.page,
                fix=f"keep the champion, {openly}",
            )
    return counting[0]
