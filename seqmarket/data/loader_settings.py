"""What can be set about batches and the processes that load them; a part of `conf/training/`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from seqmarket.data.settings import Settings


def _not_by_fork(value: Any) -> Any:
    if value == "fork":
        raise ValueError(
            "'fork' is refused, as Polars, which reads the log, hangs in forked processes; "
            "use forkserver or spawn"
        )
    return value


WorkerStart = Annotated[Literal["forkserver", "spawn"], BeforeValidator(_not_by_fork)]
"""How loader processes are started."""


class LoaderSettings(Settings):
    """How journeys are put into batches, and who loads them.

    Attributes:
        batch_size: Journeys per step.
        batch_tokens: Most events per step, padding included (or one longer journey), in place of
            `batch_size`; null: by `batch_size`.
        length_pool: Batches among which journeys are sorted by length; 1: batches are random.
        eval_tokens: Most events, padding included, in one batch of an evaluation.
        num_workers: Processes that load training batches; 0: the training process itself, which is
            the fastest on a CPU. No influence on the result.
        worker_start: How these processes are started: `forkserver` or `spawn`.
        prefetch: Batches that each of them keeps ready.
    """

    batch_size: int = Field(16, ge=1)
    batch_tokens: int | None = Field(None, ge=1)
    length_pool: int = Field(50, ge=1)
    eval_tokens: int = Field(32_768, ge=1)
    num_workers: int = Field(0, ge=0)
    worker_start: WorkerStart = "forkserver"
    prefetch: int = Field(4, ge=1)
