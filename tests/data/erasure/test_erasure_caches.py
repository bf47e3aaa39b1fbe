"""Logs and stores without some customers are those that the source gives without them."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from seqmarket.data.cleaning.settings import CapRate
from seqmarket.data.erasure import logs as erasing_logs
from seqmarket.data.erasure import stores as erasing_stores
from seqmarket.data.erasure.caches import logs, stores
from seqmarket.data.erasure.logs import erase_from_log
from seqmarket.data.erasure.needles import Needles
from seqmarket.data.erasure.stores import erase_from_store, hold
from seqmarket.data.erasure.tables import erase_quarantine, erase_rows
from seqmarket.data.event_log import open_log
from seqmarket.data.files import read_manifest
from seqmarket.data.gate.ledger import Ledger
from seqmarket.data.gate.reasons import ERASED, REASONS
from seqmarket.data.gate.settings import PrivacySettings
from seqmarket.data.log_settings import LogSettings
from seqmarket.data.prepare import Workshop, prepare_store
from seqmarket.data.settings import EncodingSettings, ResourceSettings, SplitSettings
from seqmarket.data.sources.files import FileSource
from seqmarket.data.store import SequenceStore, open_store

WHO = ["c-03", "c-11", "c-27"]
NEEDLES = Needles(WHO)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    random = np.random.default_rng(3)
    rows = []
    for number in range(40):
        for event in range(12):
            day = float(random.integers(0, 100)) + event / 100
            channel = f"only-{number}" if number in (3, 11) and event == 5 else "web"
            rows.append((f"c-{number:02d}", datetime(2024, 1, 1) + timedelta(days=day), channel))
    # The last event of all is one of theirs, so the end of the observation changes.
    rows.append((WHO[0], datetime(2024, 6, 1), "web"))
    table = pl.DataFrame(rows, schema=["customer_id", "time", "event_type"], orient="row")
    table.write_parquet(tmp_path / "log.parquet")
    names = [f"c-{number:02d}" for number in range(45)]
    features = pl.DataFrame({"customer_id": names, "town": [f"town of {name}" for name in names]})
    features.write_parquet(tmp_path / "customers.parquet")
    return tmp_path


def prepare(home: Path, *, cleaning: bool = False, ledger: str = "ledger.jsonl") -> SequenceStore:
    source = FileSource(
        path=str(home / "log.parquet"),
        columns={"channel": None},  # type: ignore[arg-type]
        customers_path=str(home / "customers.parquet"),
        static_categorical=("town",),
        purchase_event_types=("web",),
    )
    rules = (CapRate(rule="cap_rate", events_per_day=1),) if cleaning else ()
    privacy = PrivacySettings(ledger=str(home / ledger))
    workshop = Workshop(home / "cache", resources=ResourceSettings(shards=3, threads=1))
    return prepare_store(
        source,
        LogSettings(cleaning=rules, privacy=privacy),
        SplitSettings(warm_up="7d"),  # type: ignore[arg-type]
        EncodingSettings(),
        workshop,
    )


def erase(home: Path) -> tuple[list[int], list[tuple[int, bool]]]:
    ledger = Ledger(home / "ledger.jsonl")
    ledger.enter(WHO, len(WHO))
    cache, erased = home / "cache", ledger.erased()
    from_logs = [erase_from_log(path, NEEDLES, erased) for path in logs(cache)]
    return from_logs, [erase_from_store(path, NEEDLES, cache) for path in stores(cache)]


@pytest.mark.parametrize("cleaning", [False, True])
def test_without_them_it_is_what_the_source_gives(home: Path, cleaning: bool) -> None:
    before = prepare(home, cleaning=cleaning)
    assert erase(home) == ([3], [(3, True)])
    cache = home / "cache"
    (path,), (store,) = logs(cache), stores(cache)
    log = open_log(path)
    assert not set(log.frame.collect()["customer_id"]) & set(WHO)
    assert log.lexicon["event_type"] == ("web",)
    assert not any(f"town of {name}" in log.lexicon["town"] for name in WHO)
    assert log.observed_until < datetime(2024, 6, 1).astimezone()
    report = log.report
    refused = report.refused[REASONS[ERASED]]
    assert report.rows_in == report.kept + report.duplicates + refused + sum(
        count.events_dropped for count in report.cleaned
    )
    content = {name: read_manifest(path)[name] for name in read_manifest(path) if "/" in name}
    found = prepare(home, cleaning=cleaning)
    assert (found.path, found.fingerprint != before.fingerprint) == (store, True)
    shutil.rmtree(cache)
    again = prepare(home, cleaning=cleaning)
    assert (again.path, again.fingerprint) == (found.path, found.fingerprint)
    assert {name: read_manifest(logs(cache)[0])[name] for name in content} == content


def test_what_they_are_not_in_is_only_found_under_another_name(home: Path) -> None:
    table = pl.read_parquet(home / "log.parquet")
    table.filter(~pl.col("customer_id").is_in(WHO)).write_parquet(home / "log.parquet")
    before = prepare(home)
    name, fingerprint = before.path.name, before.fingerprint
    assert erase(home) == ([0], [(0, True)])
    (store,) = stores(home / "cache")
    assert store.name != name
    again = prepare(home)
    assert (again.path, again.fingerprint) == (store, fingerprint)


def test_without_its_log_a_store_is_removed_if_they_are_in_it(home: Path) -> None:
    prepare(home)
    shutil.rmtree(home / "cache" / "logs")
    assert erase(home) == ([], [(3, False)])
    assert stores(home / "cache") == []


def test_a_log_of_nobody_else_and_a_damaged_one_are_removed(home: Path) -> None:
    prepare(home)
    (path,) = logs(home / "cache")
    everyone = Needles(f"c-{number:02d}" for number in range(40))
    assert erase_from_log(path, everyone, Ledger(home / "none").erased()) == 40
    assert logs(home / "cache") == []
    shutil.rmtree(home / "cache")
    store = prepare(home).path
    (path,) = logs(home / "cache")
    with (path / "about.json").open("a") as file:
        file.write(" ")
    with (store / "time.npy").open("ab") as file:
        file.write(b"0")
    assert erase(home) == ([0], [(0, False)])
    assert [*logs(home / "cache"), *stores(home / "cache")] == []


def test_who_only_they_had_in_common_leaves_every_vocabulary(home: Path) -> None:
    prepare(home)
    cache, ledger = home / "cache", Ledger(home / "ledger.jsonl")
    (old,) = hold(cache, NEEDLES)
    spec = {"event_type": old.store.spec.event_type.categories}
    assert old.number == 3
    # Before the log is without them, nothing is gone from it; the store alone tells the same.
    assert old.gone(spec) == {"event_type": set()}
    ledger.enter(WHO, 3)
    (path,) = logs(cache)
    erase_from_log(path, NEEDLES, ledger.erased())
    (held,) = hold(cache, NEEDLES)
    assert held.gone(spec) == {"event_type": {"only-3", "only-11"}}
    shutil.rmtree(cache / "logs")
    (held,) = hold(cache, NEEDLES)
    assert held.lexicon is None
    assert held.gone(spec) == {"event_type": {"only-3", "only-11"}}
    assert held.ids_digest != held.remaining_digest


class Killed(BaseException):
    pass


@pytest.mark.parametrize("step", ["write_shard", "write_json", "shutil.rmtree", "write_store"])
def test_killed_in_the_middle_it_goes_on(
    home: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    prepare(home)
    module = erasing_stores if step == "write_store" else erasing_logs

    def dies(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(f"{module.__name__}.{step}", dies)
        with pytest.raises(Killed):
            erase(home)
    erase(home)
    (path,), (store,) = logs(home / "cache"), stores(home / "cache")
    assert not set(open_store(store).customer_ids()) & set(WHO)
    assert prepare(home).path == store
    left = [item.name for item in (home / "cache").rglob(".*") if "building" in item.name]
    assert left == []
    assert open_log(path).n_customers == 37


def test_tables_lose_their_rows_and_nothing_else(tmp_path: Path) -> None:
    table = pl.DataFrame({"customer_id": ["c-03", "c-033", "x"], "score": [0.25, 0.5, 0.75]})
    table = table.with_columns(pl.col("customer_id").cast(pl.Categorical).alias("copy"))
    table.write_parquet(tmp_path / "a.parquet")
    table.write_csv(tmp_path / "b.csv", separator=";")
    (tmp_path / "c.txt").write_text("c-03")
    for name in ("a.parquet", "b.csv"):
        assert erase_rows(tmp_path / name, NEEDLES) == 1
        assert erase_rows(tmp_path / name, NEEDLES) == 0
    assert erase_rows(tmp_path / "c.txt", NEEDLES) == 0
    kept = pl.read_parquet(tmp_path / "a.parquet")
    assert kept.drop("copy").equals(table.drop("copy")[1:])
    assert kept["copy"].dtype == pl.String
    assert (tmp_path / "b.csv").read_text().splitlines() == [
        "customer_id;score;copy",
        "c-033;0.5;c-033",
        "x;0.75;x",
    ]


def test_rows_put_aside_go_wherever_the_identifier_slipped_to(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = pl.DataFrame(
        {
            "reason": ["c-03"] * 4,
            "customer_id": ["x", None, "c-11", "y"],
            "channel": ["web", "seen by planted-0001", "web", "c-27"],
        }
    )
    rows.write_parquet(path)
    needles = Needles([*WHO, "planted-0001"])
    assert erase_quarantine(path, needles) == 3
    assert pl.read_parquet(path)["customer_id"].to_list() == ["x"]
    assert erase_quarantine(path, Needles(["x"])) == 1
    assert pl.read_parquet(path).shape == (0, 3)
