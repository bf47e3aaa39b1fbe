"""The stages as tasks on a Ray cluster: the same pure functions, hence the same digest.

Everything that tasks hand on lies in files, so the cache and the log itself must be on a file
system that all machines see.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from seqmarket.data.engine.executor import PartFunction
from seqmarket.data.engine.progress import Progress, silent
from seqmarket.errors import SeqmarketError

Task = TypeVar("Task")
Result = TypeVar("Result")

_PATIENCE = 10.0
"""Seconds that a cluster is given to answer."""


class RayExecutor:
    """Tasks on the cluster that this process has joined; see `joined`.

    Args:
        progress: Shows how far it has come.
    """

    def __init__(self, progress: Progress = silent) -> None:
        self._progress = progress

    def parts(
        self, function: PartFunction[Task, Result], tasks: Sequence[Task], rows: int | None
    ) -> list[Result]:
        """See `Executor`. One task per part: many files of middling size divide the work best."""
        done_per_part = None if rows is None else rows // max(len(tasks), 1)

        def read(task: Task) -> Result:
            return function(task, 1, lambda _: None)

        return list(self._run(read, tasks, "read", rows, [done_per_part or 0] * len(tasks)))

    def shards(
        self,
        function: Callable[[Task], Result],
        tasks: Iterable[Task],
        stage: str,
        events: Sequence[int],
    ) -> Iterator[Result]:
        """See `Executor`."""
        yield from self._run(function, tasks, stage, sum(events), events)

    def _run(
        self,
        function: Callable[[Task], Result],
        tasks: Iterable[Task],
        stage: str,
        total: int | None,
        sizes: Sequence[int],
    ) -> Iterator[Result]:
        import ray

        # A task that fails says so at once: what it says is for the user, not for a second try.
        remote = ray.remote(max_retries=2, retry_exceptions=False)(function)
        references = [remote.remote(task) for task in tasks]
        size_of = dict(zip(references, sizes, strict=True))
        with self._progress(stage, total) as advance:
            waiting = list(references)
            while waiting:
                ready, waiting = ray.wait(waiting)
                try:
                    ray.get(ready)
                except ray.exceptions.RayTaskError as error:
                    raise _cause(error) from error
                advance(sum(size_of[reference] for reference in ready))
        for reference in references:
            result: Result = ray.get(reference)
            yield result


@contextmanager
def joined(address: str | None) -> Iterator[None]:
    """Joins a cluster, or starts one on this machine, and leaves it at the end.

    Args:
        address: As `ray.init` takes it; None: RAY_ADDRESS, else this machine.

    Raises:
        SeqmarketError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
    except ImportError as error:
        raise SeqmarketError(
            "data.engine=ray needs Ray, which is not installed",
            where="data.engine",
            fix="pip install 'seqmarket[ray]', or data.engine=local",
        ) from error
    try:
        _look_for(address or os.environ.get("RAY_ADDRESS", ""))
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (OSError, ValueError, RuntimeError) as error:
        raise SeqmarketError(
            f"the Ray cluster cannot be joined: {str(error).splitlines()[0]}",
            where="data.resources.address",
            fix="start one with `ray start --head`, or leave the address null for this machine",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _look_for(address: str) -> None:
    """Sees whether anyone answers at ``host:port``: Ray itself tries for many minutes.

    Raises:
        OSError: Nobody does.
    """
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()


def _cause(error: Any) -> Exception:
    cause = error.cause
    return cause if isinstance(cause, SeqmarketError | OSError) else error
