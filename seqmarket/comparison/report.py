"""What is left behind of a comparison: a page, tables and figures, whole or not at all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from seqmarket.comparison.changes import changes
from seqmarket.comparison.checks import Check, check_table, checklist
from seqmarket.comparison.contest import Contest, result_table
from seqmarket.comparison.figures import figures
from seqmarket.comparison.page import render_page
from seqmarket.comparison.slices import slice_table
from seqmarket.comparison.verdict import remarks, verdict
from seqmarket.data.spreadsheet import write_csv
from seqmarket.data.whole_folder import replacing
from seqmarket.training.tracking.environment import environment_tags

ABOUT, PAGE = "about.json", "report.html"
MARKS = (ABOUT, PAGE)
"""Files by which the folder of a comparison is known."""


@dataclass(frozen=True)
class Report:
    """The tables, figures and the page of a comparison.

    Attributes:
        contest: The comparison.
    """

    contest: Contest

    @cached_property
    def slices(self) -> tuple[pl.DataFrame, int]:
        """See `slice_table`."""
        return slice_table(self.contest)

    @cached_property
    def checks(self) -> list[Check]:
        """See `checklist`."""
        return checklist(self.contest)

    def tables(self) -> dict[str, pl.DataFrame]:
        """By file name."""
        contenders = self.contest.contenders
        names = [contender.name for contender in contenders]
        rows = [
            {"group": group, "key": key, **dict(zip(names, values, strict=True))}
            for group, key, values in changes(contenders)
        ]
        columns = dict.fromkeys(("group", "key", *names), pl.String)
        return {
            "results": result_table(self.contest),
            "slices": self.slices[0],
            "changes": pl.DataFrame(rows, schema=columns),
            "checks": check_table(self.checks),
        }

    def about(self) -> dict[str, Any]:
        """What was compared with what, and what came of it, for other programs."""
        contest = self.contest
        return {
            "verdict": verdict(contest),
            "remarks": list(remarks(contest)),
            "restricted": list(contest.matching.obstacles),
            "level": contest.level,
            "resamples": contest.n_resamples,
            "contenders": [
                {
                    "name": contender.name,
                    "model": contender.model,
                    "runs": [
                        {"name": run.name, "record": run.key, "seed": run.seed}
                        for run in contender.runs
                    ],
                }
                for contender in contest.contenders
            ],
            "tasks": {
                name: {
                    "metric": task.foremost,
                    "reference": task.reference,
                    "verdicts": {
                        c.contender: c.verdict(contest.level)
                        for c in task.challenges
                        if c.metric == task.foremost and c.contender in contest.challengers
                    },
                }
                for name, task in contest.tasks.items()
            },
            "environment": environment_tags(),
        }

    def write(self, folder: Path) -> None:
        """Writes everything into a folder; an earlier comparison there is replaced.

        Raises:
            SeqmarketError: The folder holds something else.
            OSError: The system does not let us.
        """
        with replacing(folder, MARKS) as beside:
            page = render_page(self.contest, *self.slices, self.checks)
            (beside / PAGE).write_text(page, encoding="utf-8")
            for name, table in self.tables().items():
                table.write_parquet(beside / f"{name}.parquet")
                write_csv(table, beside / f"{name}.csv")
            (beside / "plots").mkdir()
            for name, figure in figures(self.contest):
                figure.savefig(beside / "plots" / f"{name}.png", bbox_inches="tight")
            text = json.dumps(self.about(), indent=1, ensure_ascii=False)
            (beside / ABOUT).write_text(text, encoding="utf-8")
