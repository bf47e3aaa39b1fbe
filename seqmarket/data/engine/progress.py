"""How far a long stage has come: a bar on a terminal, plain lines with rates elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

log = logging.getLogger(__name__)

Advance = Callable[[int], None]
"""Told of every so many rows or events that are done."""

Progress = Callable[[str, int | None], AbstractContextManager[Advance]]
"""Begins a stage, of so many rows or events if that is known."""

_LINE_EVERY = 10.0


@contextmanager
def silent(stage: str, total: int | None) -> Iterator[Advance]:
    """Says nothing."""
    yield lambda _: None


def bars(console: Console) -> Progress:
    """A bar per stage, with the rate and the time left."""

    @contextmanager
    def show(stage: str, total: int | None) -> Iterator[Advance]:
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description:<8}"),
            BarColumn(),
            TextColumn("{task.completed:>13,.0f} events  {task.fields[rate]:>14}"),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        began = time.monotonic()
        with Bars(*columns, console=console) as bar:
            task = bar.add_task(stage, total=total, rate="")

            def advance(n: int) -> None:
                done = bar.tasks[0].completed + n
                bar.update(task, advance=n, rate=_rate(int(done), time.monotonic() - began))

            yield advance

    return show


@contextmanager
def lines(stage: str, total: int | None) -> Iterator[Advance]:
    """A line in the log every ten seconds, and none for a stage that takes less."""
    began = spoken = time.monotonic()
    done = 0

    def advance(n: int) -> None:
        nonlocal done, spoken
        done += n
        now = time.monotonic()
        if now - spoken < _LINE_EVERY:
            return
        spoken = now
        left = ""
        if total is not None and done:
            seconds = (total - done) / done * (now - began)
            left = f" of {total:,}, {timedelta(seconds=round(max(seconds, 0)))} left"
        log.info("%s: %s events%s, %s", stage, f"{done:,}", left, _rate(done, now - began))

    yield advance


def _rate(done: int, seconds: float) -> str:
    return f"{done / max(seconds, 1e-9):,.0f} events/s"
