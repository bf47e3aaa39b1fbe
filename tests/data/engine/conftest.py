"""Generated logs, as files, with all that makes their order and their numbers hard."""

from __future__ import annotations

import csv
import json
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

from seqmarket.data import store_writing as store_module
from seqmarket.data.encoding import encode_shard
from seqmarket.data.engine import build
from seqmarket.data.engine.read import PartTask, read_part
from seqmarket.data.log_settings import LogSettings
from seqmarket.data.prepare import Workshop, prepare_store
from seqmarket.data.settings import EncodingSettings, ResourceSettings, SplitSettings
from seqmarket.data.shard import Shard
from seqmarket.data.sources.files import FileSource
from seqmarket.data.store import SequenceStore

Row = dict[str, Any]

DAY = 86_400_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Leading zeros, spaces, several scripts, two forms of one letter, quotes and separators.
ODD_IDS = ["007", "7", "a b", " a", "客户", "é", "e\u0301", "🙂 9", 'O"Neil, jr', "x" * 41]
CHANNELS = ["web", "Web", "e-mail", "größe", "a,b", "0"]
EVENT_TYPES = ["purchase", "view", "click"]
CAMPAIGNS = [None, " ", "", "spring", "Spring", "z", "Äpfel", "007"]
AMOUNTS = [None, 0.0, -0.0, 0.1, 1.0, 2.5, 19.99, 5e-324, 1e-300, 1e39, 1e300]

TYPES: dict[str, Any] = {
    "customer_id": pl.String,
    "time": pl.Datetime("us"),
    "channel": pl.String,
    "event_type": pl.String,
    "value": pl.Float64,
    "cost": pl.Float64,
    "campaign": pl.String,
    "price": pl.Float64,
    "segment": pl.String,
    "age": pl.Float64,
    "rank": pl.Float64,
}


@dataclass
class Work:
    """What was done: the positions of the parts that were read, the events that were encoded."""

    parts: list[int] = field(default_factory=list)
    events: int = 0


class Journal:
    """Makes rows, writes them as files, and prepares stores of them."""

    @staticmethod
    def rows(
        seed: int,
        n: int,
        *,
        customers: int = 6,
        days: float = 30.0,
        start: int = 0,
        moments: int | None = None,
        changing: bool = False,
        negative: bool = False,
        plain: bool = False,
    ) -> list[Row]:
        """n rows of a few customers, with ties in time and repetitions.

        Args:
            seed: Of everything.
            n: Number of rows.
            customers: At most so many.
            days: They lie within so many.
            start: The first possible time, microseconds.
            moments: Number of different times; None: half as many as rows.
            changing: Whether features of customers change.
            negative: Whether values may be negative.
            plain: Without amounts beyond all measure.
        """
        rng = random.Random(seed)
        ids = [*ODD_IDS, *(f"c{i}" for i in range(customers))]
        ids = rng.sample(ids, min(customers, len(ids)))
        times = [start + int(rng.random() * days * DAY) for _ in range(moments or max(n // 2, 2))]
        times += [time // DAY * DAY for time in times[::4] if time // DAY * DAY >= start]
        amounts = [x for x in AMOUNTS if not plain or x is None or x == 0 or 0.1 <= x < 100]
        sign = (1, -1) if negative else (1,)

        def amount(signs: Sequence[int]) -> float | None:
            drawn = rng.choice(amounts) if rng.random() < 0.7 else rng.lognormvariate(2, 1)
            return None if drawn is None else rng.choice(signs) * drawn

        made: list[Row] = []
        for _ in range(n):
            if made and rng.random() < 0.15:
                again = dict(rng.choice(made))
                if rng.random() < 0.3:
                    again["rank"] = float(rng.randrange(3))
                made.append(again)
                continue
            customer = rng.choice(ids)
            feature = random.Random(rng.randrange(4) if changing else customer)
            made.append(
                {
                    "customer_id": customer,
                    "time": rng.choice(times),
                    "channel": rng.choice(CHANNELS),
                    "event_type": rng.choice(EVENT_TYPES),
                    "value": amount(sign),
                    "cost": amount((1,)) if seed % 3 else None,
                    "campaign": rng.choice(CAMPAIGNS),
                    "price": amount((1, -1)),
                    "segment": feature.choice([None, "gold", "silver", "Gold"]),
                    "age": feature.choice([None, 18.0, 40.0, 77.5]),
                    "rank": float(rng.randrange(3)),
                }
            )
        return made

    @staticmethod
    def write(folder: Path, files: Sequence[Sequence[Row]], suffix: str = "parquet") -> None:
        """Writes a file per sequence of rows, in the order of their names."""
        folder.mkdir(parents=True, exist_ok=True)
        there = len(list(folder.iterdir()))
        for index, rows in enumerate(files, start=there):
            path = folder / f"{index:03d}.{suffix}"
            if suffix == "csv":
                _write_csv(path, rows)
                continue
            columns = {name: [row[name] for row in rows] for name in TYPES}
            frame = pl.DataFrame(columns | {"time": pl.Series(columns["time"], dtype=pl.Int64)})
            frame = frame.cast(TYPES)
            if suffix == "parquet":
                frame.write_parquet(path)
            else:
                frame.write_ipc(path)

    @staticmethod
    def source(folder: Path, **options: Any) -> FileSource:
        """The files of a folder, with all their columns but `rank` declared."""
        declared = {
            "path": str(folder),
            "categorical": ("campaign",),
            "numeric": ("price",),
            "static_categorical": ("segment",),
            "static_numeric": ("age",),
        }
        return FileSource.model_validate(declared | options)

    @staticmethod
    def prepare(
        source: FileSource,
        cache: Path,
        *,
        settings: LogSettings | None = None,
        split: SplitSettings | None = None,
        encoding: EncodingSettings | None = None,
        shards: int | None = None,
        threads: int = 1,
    ) -> SequenceStore:
        """The store of a source."""
        return prepare_store(
            source,
            settings or LogSettings(),
            split or SplitSettings(),
            encoding or EncodingSettings(max_length=8),
            Workshop(cache, resources=ResourceSettings(shards=shards, threads=threads)),
        )

    @staticmethod
    @contextmanager
    def watched() -> Iterator[Work]:
        """Notes what is done in the meantime."""
        work = Work()

        def reading(task: PartTask, *rest: Any) -> Any:
            work.parts.append(task.index)
            return read_part(task, *rest)

        def encoding(shard: Shard, *rest: Any) -> Any:
            work.events += shard.n_events
            return encode_shard(shard, *rest)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(build, "read_part", reading)
            patched.setattr(store_module, "encode_shard", encoding)
            yield work

    @staticmethod
    def content(store: SequenceStore) -> tuple[str, dict[str, Any], dict[str, str]]:
        """Digest and report of a store, and the files of its log; a cache's folder is left out."""
        report = dict(store.report)
        aside = report["quarantine_path"]
        origin = json.loads((store.path / "origin.json").read_text())
        log = store.path.parent.parent / "logs" / origin["log"]
        files = json.loads((log / "manifest.json").read_text())["files"]
        report["quarantine_path"] = None if aside is None else Path(aside).name
        return store.fingerprint, report, {k: v for k, v in files.items() if k != "report.json"}


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(TYPES)
        for row in rows:
            moment = (EPOCH + timedelta(microseconds=row["time"])).replace(tzinfo=None)
            shown = row | {"time": moment.isoformat(sep=" ")}
            table.writerow("" if shown[name] is None else shown[name] for name in TYPES)


@pytest.fixture(scope="session")
def journal() -> type[Journal]:
    return Journal


@pytest.fixture(scope="session")
def plain() -> ModuleType:
    """The module beside this one: tests are no package, so it cannot be imported by name."""
    spec = spec_from_file_location("plain_engine", Path(__file__).with_name("plain_engine.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["plain_engine"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
