"""The final table: on a terminal, as plain text, as Markdown and as rows for a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from seqmarket.metrics.resampling import Interval
from seqmarket.training.results import (
    HIGHER_IS_BETTER,
    TaskResult,
    format_interval,
    format_number,
    gain_of_ensemble,
    main_metrics,
    metric_name,
    standings,
)

_BEST = "*"
_WIDE = 100


@dataclass(frozen=True)
class FinalTable:
    """One table per task and what it says: a renderable for a rich console.

    The best value of each column is bold and carries a star, which plain text keeps. On a console
    narrower than 100 columns the intervals stand below their estimates.
    """

    results: Sequence[TaskResult]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yields tables and lines of text."""
        for result in self.results:
            yield Text.assemble((result.task, "bold"), ": ", caption(result))
            yield _table(result, " " if options.max_width >= _WIDE else "\n")
            for style, sentence in _sentences(result):
                yield Text(sentence, style=style)
            yield Text("")
        yield Text(f"{_BEST} best of its column. {_reading_aid(self.results)}", style="dim")


def print_summary(results: Sequence[TaskResult]) -> None:
    """Prints the table to standard output: in colour on a terminal, else plain, 100 wide."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDE, no_color=True)
    console.print(FinalTable(results))


def to_text(results: Sequence[TaskResult], width: int = _WIDE) -> str:
    """The same as plain text, without colour or control characters."""
    console = Console(file=StringIO(), width=width, force_terminal=False, no_color=True)
    with console.capture() as capture:
        console.print(FinalTable(results))
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def to_markdown(results: Sequence[TaskResult]) -> str:
    """The same as Markdown, the best value of each column in bold."""
    blocks = []
    for result in results:
        metrics = result.metrics
        best = {metric: result.best(metric) for metric in metrics}
        lines = [
            "| model | " + " | ".join(metric_name(metric) for metric in metrics) + " |",
            "|---" * (len(metrics) + 1) + "|",
        ]
        for model in result.models:
            cells = [
                f"**{cell}**" if best[metric] == model else cell
                for metric in metrics
                for cell in [_cell(result, model, metric)]
            ]
            lines.append(f"| {model} | " + " | ".join(cells) + " |")
        standing = [f"- {sentence}" for _, sentence in _sentences(result)]
        heading = f"**{result.task}**: {caption(result)}"
        blocks.append("\n".join([heading, "", *lines, "", *standing]))
    return "\n\n".join([*blocks, f"Bold: best of its column. {_reading_aid(results)}"]) + "\n"


def to_rows(results: Sequence[TaskResult]) -> list[dict[str, Any]]:
    """One flat row per task, model and metric, of plain values; a NaN becomes None.

    Keys: task, kind, model, metric, estimate, low, high, best, difference, difference_low,
    difference_high (own model minus this one; None for itself), n_rows, n_customers, base_rate.
    """
    rows = []
    for result in results:
        best = {metric: result.best(metric) for metric in result.metrics}
        for model, values in result.models.items():
            for metric, value in values.items():
                difference = result.differences.get(model, {}).get(metric)
                rows.append(
                    {
                        "task": result.task,
                        "kind": result.kind,
                        "model": model,
                        "metric": metric,
                        **_plain(value, ("estimate", "low", "high")),
                        "best": best[metric] == model,
                        **_plain(difference, ("difference", "difference_low", "difference_high")),
                        "n_rows": result.n_rows,
                        "n_customers": result.n_customers,
                        "base_rate": result.base_rate,
                    }
                )
    return rows


def caption(result: TaskResult) -> str:
    """How much data the numbers of a task rest on, and of when."""
    parts = [f"{result.n_rows:,} rows of {result.n_customers:,} customers"]
    if result.base_rate is not None:
        parts.append(f"{result.n_positives:,} positive ({result.base_rate:.1%})")
    if result.period is not None:
        first, last = result.period
        parts.append(f"{first:%Y-%m-%d} to {last:%Y-%m-%d}")
    return ", ".join(parts)


def _table(result: TaskResult, before_interval: str) -> Table:
    table = Table(box=box.HORIZONTALS, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("model", no_wrap=True)
    for metric in result.metrics:
        table.add_column(metric_name(metric))
    best = {metric: result.best(metric) for metric in result.metrics}
    for model in result.models:
        cells = [Text(model, style="bold cyan" if model == result.model else "")]
        for metric in result.metrics:
            estimate, space, interval = _cell(result, model, metric).partition(" ")
            won = best[metric] == model
            text = estimate + _BEST * won + (before_interval + interval if space else "")
            cells.append(Text(text, style="bold green" if won else ""))
        table.add_row(*cells)
    return table


def _sentences(result: TaskResult) -> list[tuple[str, str]]:
    """How the run's own model stands, each with a style."""
    found = [
        ("green" if standing.at_or_above else "yellow", standing.sentence(result.model))
        for standing in standings(result)
    ]
    found = found or [("", f"{result.model} was not compared with any baseline.")]
    gain = gain_of_ensemble(result)
    return [*found, ("", gain)] if gain else found


def _reading_aid(results: Sequence[TaskResult]) -> str:
    metrics = dict.fromkeys(metric for result in results for metric in result.metrics)
    lower = ", ".join(metric_name(metric) for metric in metrics if not HIGHER_IS_BETTER[metric])
    return f"In brackets 95 % intervals over customers. Lower is better: {lower}."


def _cell(result: TaskResult, model: str, metric: str) -> str:
    value = result.models[model].get(metric)
    if value is None:
        return "-"
    if metric in main_metrics(result.task, result.kind):
        return format_interval(value)
    return format_number(value.estimate)


def _plain(value: Interval | None, names: tuple[str, str, str]) -> dict[str, float | None]:
    numbers = (value.estimate, value.low, value.high) if value is not None else (math.nan,) * 3
    return {
        name: number if math.isfinite(number) else None
        for name, number in zip(names, numbers, strict=True)
    }
