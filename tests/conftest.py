"""Fixtures shared by all tests: small, seeded, quick."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    import polars as pl

    from seqmarket.data.event_log import EventLog
    from seqmarket.data.sources.protocol import EventSource

# One thread, as the suite may run in several processes, and waiting threads would be in the way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_SMALL = [
    "data=synthetic",
    "data.n_customers=100",
    "data.encoding.max_length=32",
    "model.d_model=8",
    "training.max_epochs=2",
    "training.batch_size=16",
    "training.resamples=20",
    "training.threads=1",
    "tracking=off",
    "~model@baselines.gbdt",
    "~model@baselines.markov",
]


class FinishedRun(NamedTuple):
    """A run of `data=synthetic`, what the user typed, and the test metrics that it reported."""

    folder: Path
    overrides: list[str]
    metrics: dict[str, float]

    @property
    def model_file(self) -> Path:
        return self.folder / "checkpoints" / "model.ckpt"

    @property
    def places(self) -> list[str]:
        """Where it keeps its files, for commands that are told."""
        return [item for item in self.overrides if item.startswith("paths.")]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., FinishedRun]:
    """Trains with some overrides, in a folder of its own."""
    import yaml

    from seqmarket.cli.compose import load_plain
    from seqmarket.training.config import parse_config
    from seqmarket.training.run import run

    def train(*changes: str, drop: tuple[str, ...] = ()) -> FinishedRun:
        root = tmp_path_factory.mktemp("run")
        overrides = [item for item in _SMALL if not item.startswith(drop)]
        overrides += [f"paths.output_dir={root}", f"paths.cache_dir={root / 'cache'}", *changes]
        plain = load_plain(overrides)
        metrics = run(
            parse_config(plain),
            run_dir=root / "first",
            overrides=overrides,
            resolved_yaml=yaml.safe_dump(plain),
        )
        return FinishedRun(root / "first", overrides, metrics)

    return train


@pytest.fixture(scope="session")
def gru_run(trained: Callable[..., FinishedRun]) -> FinishedRun:
    """A deep model that was trained for two epochs."""
    return trained("model=gru")


@pytest.fixture(scope="session")
def logistic_run(trained: Callable[..., FinishedRun]) -> FinishedRun:
    """A run whose own model is a baseline, which has no weights in its checkpoint."""
    return trained("model=rfm_logistic", drop=("model.",))


@pytest.fixture(scope="session")
def read_log(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., EventLog]:
    """Reads a source as `LogSettings` of these keywords say, into a folder of its own."""
    from seqmarket.data.log_settings import LogSettings
    from seqmarket.data.prepare import Workshop, prepare_log

    def read(source: EventSource, **settings: Any) -> EventLog:
        place = Workshop(tmp_path_factory.mktemp("log"))
        return prepare_log(source, LogSettings.model_validate(settings), place, "training")

    return read


@pytest.fixture(scope="session")
def log_like(read_log: Callable[..., EventLog]) -> Callable[[EventLog, pl.DataFrame], EventLog]:
    """Another log with the customers and the observation of a given one, but these events."""
    from seqmarket.data.raw_log import RawLog
    from seqmarket.data.reading import RawPart
    from seqmarket.data.validation import EventSchema

    class Changed(NamedTuple):
        log: EventLog
        events: pl.DataFrame

        @property
        def name(self) -> str:
            return self.log.name

        def check(self) -> None:
            """Nothing can be missing."""

        def fingerprint(self) -> str:
            return "changed"

        def family(self) -> None:
            """It does not grow."""

        def open(self) -> RawLog:
            log = self.log
            schema = EventSchema(
                categorical=log.categorical,
                numeric=log.numeric,
                static_categorical=log.columns.static_codes,
                static_numeric=log.columns.static_numbers,
                purchase_event_types=log.purchase_event_types,
            )
            return RawLog(
                parts=(RawPart(self.events.lazy(), "changed"),),
                schema=schema,
                name=self.name,
                fingerprint=self.fingerprint(),
                customers=None if log.static is None else log.static.collect(),
                observed_until=log.observed_until,
            )

    return lambda log, events: read_log(Changed(log, events))
