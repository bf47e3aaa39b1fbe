"""The table at the end of the command: a row per method, a column per channel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from seqmarket.attribution.replay import EVERYTHING
from seqmarket.attribution.report import Report
from seqmarket.attribution.summary import ORGANIC

_WIDE = 100
_PER_CELL = 9


@dataclass(frozen=True)
class Overview:
    """Shares of the channels by method, for a rich console.

    The channels with the largest shares are shown, as many as the console has room for.
    """

    report: Report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yields the table and lines of text."""
        channels = self.report.channels
        truth = self.report.attributed.truth
        sizes = (
            channels.filter(pl.col("channel") != ORGANIC)
            .group_by("channel", maintain_order=True)
            .agg(size=pl.col("share").abs().fill_nan(0).mean())
            .sort("size", descending=True, maintain_order=True)
        )
        methods = channels["method"].unique(maintain_order=True).to_list()
        room = options.max_width - max(map(len, methods)) - 10 - 8 * (truth is not None)
        names = sizes["channel"].to_list()
        shown, used = [], 0
        for name in names:
            used += max(len(name), 5) + 2
            if used > room:
                break
            shown.append(name)
        table = Table(box=box.HORIZONTALS, padding=(0, 1, 0, 0), pad_edge=False)
        table.add_column("method", no_wrap=True)
        for name in [*shown, "organic", *(["error"] if truth is not None else [])]:
            table.add_column(Text(name), justify="right", no_wrap=True)
        errors = self._errors()
        for method in methods:
            rows = channels.filter(pl.col("method") == method)
            share = dict(rows.select("channel", "share").iter_rows())
            credit = dict(rows.select("channel", "credit").iter_rows())
            total = rows["credit"].sum()
            cells = [_cell(share.get(name)) for name in shown]
            cells.append(_cell(credit[ORGANIC] / total if total else None))
            table.add_row(method, *cells, *([errors[method]] if truth is not None else []))
        if truth is not None:
            worth = dict(truth.channels.select("channel", "shapley").iter_rows())
            total = sum(worth.values())
            cells = [_cell(worth.get(name, 0.0) / total if total else None) for name in shown]
            cells.append(_cell(truth.organic / truth.expected if truth.expected else None))
            table.add_section()
            table.add_row(Text("truth", style="bold"), *cells, "")
        yield table
        more = len(names) - len(shown)
        left = f" Smaller channels that are not shown: {more}." if more else ""
        error = " Error: mean absolute, of the shares." if truth is not None else ""
        yield Text(
            "Channels: share of the credit of all touches, where that is above 0. Organic: share "
            f"of the conversions that no touch is credited with.{error}{left}",
            style="dim",
        )
        yield from map(Text, self._without_truth())

    def _without_truth(self) -> Iterator[str]:
        """A line for each check, of all methods."""
        checks = self.report.attributed.checks
        if "faithfulness" in checks:
            gains = checks["faithfulness"].select("method", "gain").sort("gain", descending=True)
            each = ", ".join(f"{method} {gain:+.1%}" for method, gain in gains.iter_rows())
            yield f"Lost of what the model expects without the top touches, over chance: {each}."
        if "holdout" in checks:
            agrees = checks["holdout"].group_by("method", maintain_order=True)
            counts = agrees.agg(pl.col("agrees").sum(), pl.len()).iter_rows()
            each = ", ".join(f"{method} {agree}/{number}" for method, agree, number in counts)
            yield f"Credit within the bounds of the hold-out: {each}."
        if "replay" in checks:
            yield from _replayed(checks["replay"])
        if "stability" in checks:
            moves = checks["stability"].select("method", "lost_20").drop_nulls().iter_rows()
            each = ", ".join(f"{method} {moved:.3f}" for method, moved in moves)
            yield f"Change of shares without a fifth of the touches: {each}."

    def _errors(self) -> dict[str, str]:
        if self.report.truth is None:
            return {}
        scores = self.report.truth.select("method", "share_error").iter_rows()
        return {method: f"{error:.3f}" if math.isfinite(error) else "-" for method, error in scores}


def print_overview(report: Report) -> None:
    """Prints the table to standard output: in colour on a terminal, else plain, 100 wide."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDE, no_color=True)
    console.print(Overview(report))


def _replayed(replay: pl.DataFrame) -> Iterator[str]:
    """What the middle one of the budgets would have bought, where that is known."""
    known = replay.filter(pl.col("incremental").is_not_null())
    budgets = known.filter(pl.col("method") != EVERYTHING)["budget"].unique().sort()
    if len(budgets):
        budget = budgets[len(budgets) // 2]
        rows = known.filter((pl.col("budget") == budget) & (pl.col("method") != EVERYTHING))
        rows = rows.sort("incremental", descending=True, maintain_order=True)
        alike = rows.group_by("incremental", maintain_order=True).agg("method")
        each = "; ".join(f"{', '.join(names)} {bought:,.0f}" for bought, names in alike.iter_rows())
        yield f"Purchases that {budget:.0%} of the money would have added, by credit: {each}."


def _cell(share: float | None) -> Text:
    if share is None or not math.isfinite(share):
        return Text("-")
    return Text(f"{share:.1%}", style="red" if share < 0 else "")
