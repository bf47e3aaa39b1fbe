"""A comparison on the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from seqmarket.comparison.contest import Contest, TaskContest
from seqmarket.comparison.leaderboard import Leaderboard
from seqmarket.comparison.verdict import remarks, smallest, verdict
from seqmarket.metrics.resampling import Interval
from seqmarket.training.results import format_interval, format_number, main_metrics, metric_name

_WIDE = 100
_STYLES = {"better": "bold green", "worse": "bold red"}


def print_overview(contest: Contest) -> None:
    """Prints a table per task, the verdict, and what has to be known to weigh it."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=_WIDE, no_color=True, highlight=False)
    for name, task in contest.tasks.items():
        rows = f"{len(task.matched):,} rows of {task.matched.n_customers:,} customers"
        console.print(Text.assemble((name, "bold"), f": {rows}; compared with {task.reference}"))
        console.print(_table(contest, task))
        least = smallest(task, contest)
        console.print(f"{least}\n" if least else "", style="dim")
    console.print(Text(verdict(contest), style="bold"))
    for remark in remarks(contest):
        console.print(Text(remark, style="bold red" if remark.startswith("RESTRICTED") else "dim"))


def print_leaderboards(boards: Sequence[Leaderboard]) -> None:
    """Prints a table of all models for each set of terms."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=_WIDE, no_color=True, highlight=False)
    if len(boards) > 1:
        console.print(
            f"{len(boards)} tables, as the runs differ in log, split or labels", style="bold"
        )
    for board in boards:
        console.print(board.about, style="bold")
        if board.apart:
            console.print(f"differs from the first: {board.apart}", markup=False)
        for task in dict.fromkeys(task for task, _ in board.columns):
            heads, rows = board.cells([column for column in board.columns if column[0] == task])
            table = Table(box=box.HORIZONTALS, padding=(0, 1, 0, 0), pad_edge=False)
            for head in (task, *heads[1:]):
                table.add_column(head)
            for row in rows:
                table.add_row(*row)
            console.print(table)


def _table(contest: Contest, task: TaskContest) -> Table:
    table = Table(box=box.HORIZONTALS, padding=(0, 1, 0, 0), pad_edge=False)
    main = main_metrics(task.matched.task, task.matched.kind)
    for head in ("model", *map(metric_name, main), "difference", "p", "verdict"):
        table.add_column(head)
    for contender in task.members:
        values = [_value(task, contender, metric) for metric in main]
        challenge = task.challenge(contender, task.foremost)
        if challenge is None:
            table.add_row(_with_seeds(contender, task), *values, "reference", "", "")
            continue
        found = challenge.difference
        said = challenge.verdict(contest.level)
        table.add_row(
            _with_seeds(contender, task),
            *values,
            format_interval(Interval(found.estimate, found.low, found.high), signed=True),
            "" if math.isnan(challenge.adjusted) else format_number(challenge.adjusted),
            Text(said, style=_STYLES.get(said, "")),
        )
    return table


def _with_seeds(contender: str, task: TaskContest) -> str:
    seeds = len(task.members[contender])
    return f"{contender} ({seeds} seeds)" if seeds > 1 else contender


def _value(task: TaskContest, contender: str, metric: str) -> str:
    return format_number(task.interval(contender, metric).estimate)
