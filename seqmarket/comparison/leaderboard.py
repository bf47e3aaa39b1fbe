"""All models of some runs in one table: deep ones and baselines, with intervals and seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from seqmarket.comparison.changes import costs
from seqmarket.comparison.contenders import Contender, grouped, named
from seqmarket.comparison.recorded import RecordedRun
from seqmarket.comparison.terms import find_obstacles
from seqmarket.errors import SeqmarketError, did_you_mean
from seqmarket.metrics.resampling import Interval
from seqmarket.training.results import (
    HIGHER_IS_BETTER,
    format_interval,
    format_number,
    main_metrics,
    metric_name,
)
from seqmarket.training.tracking.record import write_atomic

BEGIN, END = "<!-- leaderboard:begin -->", "<!-- leaderboard:end -->"
"""Marks in a Markdown file, between which `update` puts the table."""


@dataclass(frozen=True)
class Leaderboard:
    """Models that were evaluated under the same terms.

    Attributes:
        about: The log and the test period.
        models: Who is in it.
        columns: Task and metric.
        apart: How its terms differ from those of the first table, in words.
    """

    about: str
    models: Sequence[Contender]
    columns: Sequence[tuple[str, str]]
    apart: str = ""

    def value(self, model: Contender, task: str, metric: str) -> Interval | None:
        """The mean over the model's seeds, and of their intervals over customers."""
        found = [
            row
            for run in model.runs
            for row in run.results
            if (row["task"], row["model"], row["metric"]) == (task, model.model, metric)
        ]
        if not found:
            return None
        return Interval(*(_mean([row[name] for row in found]) for name in _BOUNDS))

    def spread(self, model: Contender, task: str, metric: str) -> float:
        """Standard deviation over the model's seeds; 0 for one."""
        values = pl.Series(
            [
                row["estimate"]
                for run in model.runs
                for row in run.results
                if (row["task"], row["model"], row["metric"]) == (task, model.model, metric)
            ],
            dtype=pl.Float64,
        )
        found = values.std()
        return found if isinstance(found, float) else 0.0

    def table(self) -> pl.DataFrame:
        """One row per model, task and metric."""
        rows = []
        for model in self.models:
            for task, metric in self.columns:
                value = self.value(model, task, metric)
                if value is not None:
                    rows.append(
                        {
                            "about": self.about,
                            "apart": self.apart,
                            "model": model.name,
                            "seeds": len(model.runs),
                            "task": task,
                            "metric": metric,
                            "estimate": value.estimate,
                            "low": value.low,
                            "high": value.high,
                            "seed_sd": self.spread(model, task, metric),
                            "fit": costs(model)[0],
                        }
                    )
        return pl.DataFrame(rows, infer_schema_length=None)

    def ranked(self, task: str, metric: str) -> list[Contender]:
        """Those who have the metric, the best first."""
        sign = -1.0 if HIGHER_IS_BETTER[metric] else 1.0
        values = {model.name: self.value(model, task, metric) for model in self.models}
        known = {
            name: sign * value.estimate
            for name, value in values.items()
            if value is not None and math.isfinite(value.estimate)
        }
        return sorted(
            (model for model in self.models if model.name in known),
            key=lambda model: known[model.name],
        )

    def cells(
        self, columns: Sequence[tuple[str, str]], mark: str = ""
    ) -> tuple[list[str], list[list[str]]]:
        """Heads and rows as text; models that answer none of the columns are left out.

        Args:
            columns: Some of the columns; the first one decides the order.
            mark: What stands around the best of each column.
        """
        tasks = dict.fromkeys(task for task, _ in columns)
        heads = [
            "model",
            *(
                f"{task} {metric_name(m)}" if len(tasks) > 1 else metric_name(m)
                for task, m in columns
            ),
            "fit",
        ]
        order = dict.fromkeys(model.name for column in columns for model in self.ranked(*column))
        by_name = {model.name: model for model in self.models}
        best = {column: next(iter(self.ranked(*column)), None) for column in columns}
        rows = [
            [
                _title(by_name[name]),
                *(self._cell(by_name[name], column, mark, best[column]) for column in columns),
                costs(by_name[name])[0],
            ]
            for name in order
        ]
        return heads, rows

    def _cell(
        self, model: Contender, column: tuple[str, str], mark: str, best: Contender | None
    ) -> str:
        value = self.value(model, *column)
        if value is None:
            return ""
        text = format_interval(value)
        spread = self.spread(model, *column)
        text += f" ±{format_number(spread)}" if spread >= _SMALLEST_SPREAD else ""
        return f"{mark}{text}{mark}" if model is best else text


_BOUNDS = ("estimate", "low", "high")
_SMALLEST_SPREAD = 0.0005
"""What three digits show."""


def leaderboards(
    runs: Sequence[RecordedRun], columns: Sequence[str] | None = None
) -> list[Leaderboard]:
    """The tables of some runs, one for each log, split and definition of the labels.

    Args:
        runs: The runs.
        columns: As ``task/metric``; None: the main metrics of every task.

    Raises:
        SeqmarketError: No run has such a metric.
    """
    tables: list[list[RecordedRun]] = []
    for run in runs:
        fitting = (table for table in tables if all(_same_terms(run, other) for other in table))
        table = next(fitting, None)
        if table is None:
            tables.append([run])
        else:
            table.append(run)
    boards = [_leaderboard(table, columns) for table in tables]
    return [replace(board, apart=_apart(boards[0], board)) for board in boards]


def _apart(first: Leaderboard, board: Leaderboard) -> str:
    a, b = (table.models[0] for table in (first, board))
    if a.runs[0].terms["customers"] != b.runs[0].terms["customers"]:
        return "other customers"
    return "; ".join(find_obstacles([a, b]).texts)


def _same_terms(run: RecordedRun, other: RecordedRun) -> bool:
    a, b = run.terms, other.terms
    return all(a[part] == b[part] for part in ("log", "customers", "split")) and all(
        a["labels"][task]["rule"] == b["labels"][task]["rule"]
        for task in a["labels"].keys() & b["labels"].keys()
    )


def _leaderboard(runs: Sequence[RecordedRun], columns: Sequence[str] | None) -> Leaderboard:
    pairs = [(run, model) for run in runs for model in run.models]
    kinds = {row["task"]: row["kind"] for run in runs for row in run.results}
    known = {(row["task"], row["metric"]): None for run in runs for row in run.results}
    chosen = [
        (task, metric)
        for task, kind in kinds.items()
        for metric in main_metrics(task, kind)
        if (task, metric) in known
    ]
    if columns is not None:
        chosen = [_column(column, known) for column in columns]
    first, last = runs[0].terms["split"]["periods"]["test"]
    about = f"{runs[0].terms['log']['name']}, test {first[:10]} to {last[:10]}"
    return Leaderboard(about, named(_models(pairs)), chosen)


def _models(pairs: Sequence[tuple[RecordedRun, str]]) -> list[Contender]:
    """As of a comparison, but seeds of one model are one line also where there is no other."""
    found = grouped(pairs)
    first = found[0]
    if len(first.kin) > len(first.runs):
        return [Contender(first.model, first.model, first.kin, first.kin)]
    return found


def _column(column: str, known: dict[tuple[str, str], None]) -> tuple[str, str]:
    task, _, metric = column.partition("/")
    if (task, metric) not in known:
        raise SeqmarketError(
            f"no run has a metric '{column}'",
            where="--columns",
            fix=did_you_mean(column, ["/".join(item) for item in known]),
        )
    return task, metric


def _title(model: Contender) -> str:
    return f"{model.name} ({len(model.runs)} seeds)" if _has_seeds(model) else model.name


def _has_seeds(model: Contender) -> bool:
    return model.is_network and len(model.runs) > 1


def _mean(values: Sequence[Any]) -> float:
    known = [math.nan if value is None else float(value) for value in values]
    return sum(known) / len(known)


def to_markdown(boards: Sequence[Leaderboard]) -> str:
    """The tables as Markdown; the best of each column is bold."""
    blocks = []
    for board in boards:
        heads, rows = board.cells(board.columns, mark="**")
        lines = [_line(heads), "|---" * len(heads) + "|", *map(_line, rows)]
        apart = f" (differs from the first: {board.apart})" if board.apart else ""
        blocks.append("\n".join([f"{board.about}{apart}:", "", *lines]))
    return "\n\n".join(blocks) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def update(path: Path, boards: Sequence[Leaderboard]) -> None:
    """Puts the tables between the marks of a Markdown file.

    Raises:
        SeqmarketError: The file has no such marks.
    """
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SeqmarketError(
            "there is no place for the leaderboard in this file",
            where=str(path),
            fix=f"put the lines {BEGIN} and {END} where it is to stand",
        )
    new = f"{before}{BEGIN}\n\n{to_markdown(boards)}\n{END}{after}"
    write_atomic(path, new.encode())


def to_json(boards: Sequence[Leaderboard]) -> str:
    """The tables as JSON, for other programs."""
    return json.dumps(to_frame(boards).to_dicts(), indent=1)


def to_frame(boards: Sequence[Leaderboard]) -> pl.DataFrame:
    """The tables below each other; `about` and `apart` say which is which."""
    return pl.concat([board.table() for board in boards], how="vertical_relaxed")
