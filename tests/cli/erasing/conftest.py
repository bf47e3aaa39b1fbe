"""A small run on a log with twenty planted customers, and all that it leaves."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from seqmarket.cli.compose import load_plain
from seqmarket.cli.main import main
from seqmarket.training.config import parse_config

PLANTED = [f"planted-{number:04d}-x" for number in range(20)]
THEIRS = [f"gadget-of-{number:04d}" for number in range(20)] + ["carrier-pigeon"]
CHANNELS, DEVICES = ("web", "mail", "store"), ("phone", "desktop")


def planted_log() -> pl.DataFrame:
    """Each planted customer has a device of their own, and the first one a channel."""
    random = np.random.default_rng(0)
    rows: list[tuple[Any, ...]] = []
    for number, customer in enumerate([*PLANTED, *(f"customer-{n:04d}" for n in range(60))]):
        days = np.append(random.uniform(0, 240, 24), random.uniform(0, 120))
        for event, day in enumerate(days):
            time = datetime(2024, 1, 1) + timedelta(days=float(day))
            channel = CHANNELS[random.integers(3)]
            device = DEVICES[random.integers(2)]
            if customer in PLANTED and event % 3 == 0:
                device = THEIRS[number]
                channel = THEIRS[-1] if number == 0 else channel
            bought = random.random() < 0.3
            value = round(float(random.uniform(1, 99)), 2) if bought else None
            rows.append((customer, time, channel, "purchase" if bought else "touch", value, device))
        if number % 10 == 0:
            rows.append((customer, None, "web", "touch", None, "phone"))  # to be put aside
    names = ["customer_id", "time", "channel", "event_type", "value", "device"]
    return pl.DataFrame(rows, schema=names, orient="row")


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A log, a run on it with MLflow beside, predictions written elsewhere, and a copy of all."""
    import yaml

    from seqmarket.training.run import run

    root = tmp_path_factory.mktemp("shop")
    planted_log().write_parquet(root / "log.parquet")
    (root / "who.txt").write_text("".join(f"{customer}\n" for customer in PLANTED))
    data = [
        "data=files",
        f"data.path={root / 'log.parquet'}",
        "data.categorical=[device]",
        "data.validation.policy=quarantine",
        "data.split.train_fraction=0.6",
        "data.split.validation_fraction=0.2",
        f"data.privacy.ledger={root / 'erasures.jsonl'}",
        f"paths.output_dir={root / 'out'}",
        f"paths.cache_dir={root / 'cache'}",
        f"tracking.root={root}",
    ]
    model = [
        "model=transformer",
        "model.d_model=16",
        "debug=fast",
        "training.threads=1",
        "~model@baselines.gbdt",
        "~model@baselines.markov",
    ]
    plain = load_plain([*data, *model])
    run_dir = root / "out" / "run"
    run(parse_config(plain), run_dir=run_dir, overrides=model, resolved_yaml=yaml.safe_dump(plain))
    scores = root / "elsewhere" / "scores.parquet"
    assert main(["predict", str(run_dir), "--output", str(scores), *data[-3:]]) == 0
    places = ["cache", "out", "mlartifacts", "elsewhere", "mlflow.db"]
    saved = root / "saved"
    saved.mkdir()
    for name in places:
        copy(root / name, saved / name)
    return SimpleNamespace(
        root=root,
        data=data,
        run_dir=run_dir,
        places=places,
        saved=saved,
        planted=PLANTED,
        theirs=THEIRS,
        ids=ids_of,
    )


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


@pytest.fixture
def place(shop: SimpleNamespace) -> SimpleNamespace:
    """The shop as it was before any erasure."""
    for ledger in shop.root.glob("erasures*"):
        ledger.unlink()
    for name in shop.places:
        if name.endswith(".db"):  # MLflow keeps it open
            with (
                closing(sqlite3.connect(shop.saved / name)) as saved,
                closing(sqlite3.connect(shop.root / name)) as database,
            ):
                saved.backup(database)
        else:
            shutil.rmtree(shop.root / name)
            copy(shop.saved / name, shop.root / name)
    return shop


@pytest.fixture
def erase(
    place: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    def command(*more: str) -> tuple[int, str]:
        also = ["--also", str(place.root / "elsewhere")]
        customers = [] if more else ["--customers", str(place.root / "who.txt")]
        code = main(["erase", *customers, *also, *place.data, *more])
        return code, capsys.readouterr().out

    return command


def ids_of(root: Path) -> list[str]:
    from seqmarket.data.store import open_store

    (path,) = (root / "cache" / "stores").glob("[!.]*")
    return open_store(path).customer_ids().to_list()


@pytest.fixture
def copies_elsewhere() -> Callable[[SimpleNamespace], None]:
    """As if the run had been sent to a server as well, and its artifacts to a bucket."""

    def pretend(place: SimpleNamespace) -> None:
        mirrors = place.run_dir / "tracking" / "mirrors.json"
        known = json.loads(mirrors.read_text())
        mirrors.write_text(
            json.dumps({**known, "http://who:secret@127.0.0.1:9": {"run_id": "abc"}})
        )
        with sqlite3.connect(place.root / "mlflow.db") as database:
            database.execute("UPDATE runs SET artifact_uri = 's3://bucket/artifacts'")

    return pretend
