"""The stages on a local Ray of two workers: the same digest, the same mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seqmarket.data.log_settings import LogSettings
from seqmarket.data.prepare import Workshop, prepare_store
from seqmarket.data.settings import EncodingSettings, ResourceSettings, SplitSettings
from seqmarket.data.store import SequenceStore
from seqmarket.errors import SeqmarketError


def on_ray(source: Any, cache: Path, **settings: Any) -> SequenceStore:
    return prepare_store(
        source,
        LogSettings.model_validate(settings),
        SplitSettings(),
        EncodingSettings(max_length=8),
        Workshop(cache, engine="ray", resources=ResourceSettings(shards=3, threads=2)),
    )


@pytest.fixture
def two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ray.init` starts two workers on this machine, whatever it has."""
    ray = pytest.importorskip("ray")
    init = ray.init

    def small(**options: Any) -> Any:
        return init(**options, num_cpus=2, include_dashboard=False)

    monkeypatch.setattr(ray, "init", small)


@pytest.mark.slow
@pytest.mark.usefixtures("two_workers")
def test_the_digest_is_that_of_threads(journal: Any, tmp_path: Path) -> None:
    journal.write(tmp_path / "log", [journal.rows(seed, 300, customers=40) for seed in range(3)])
    source = journal.source(tmp_path / "log")
    there = journal.prepare(source, tmp_path / "threads", shards=5)
    assert on_ray(source, tmp_path / "ray").fingerprint == there.fingerprint
    journal.write(tmp_path / "log", [journal.rows(9, 100, customers=50)])
    grown = on_ray(source, tmp_path / "ray")
    assert grown.fingerprint == journal.prepare(source, tmp_path / "all").fingerprint


@pytest.mark.slow
@pytest.mark.usefixtures("two_workers")
def test_a_mistake_in_the_log_is_told_as_it_is_by_threads(journal: Any, tmp_path: Path) -> None:
    rows = journal.rows(1, 50)
    journal.write(tmp_path / "log", [[*rows, rows[0] | {"channel": None}]], "csv")
    source = journal.source(tmp_path / "log")
    with pytest.raises(SeqmarketError, match="'channel' is missing") as here:
        journal.prepare(source, tmp_path / "threads")
    with pytest.raises(SeqmarketError, match="'channel' is missing") as there:
        on_ray(source, tmp_path / "ray")
    assert str(there.value) == str(here.value)
    source = journal.source(tmp_path / "log", numeric=("campaign",), categorical=())
    with pytest.raises(SeqmarketError) as inside:  # raised within a task
        on_ray(source, tmp_path / "ray")
    with pytest.raises(SeqmarketError) as outside:
        journal.prepare(source, tmp_path / "threads")
    assert str(inside.value) == str(outside.value)


@pytest.mark.slow
@pytest.mark.usefixtures("two_workers")
def test_a_full_disk_is_told_as_it_is_by_threads(tmp_path: Path) -> None:
    from seqmarket.data.engine.ray_executor import RayExecutor, joined

    def full(_: int) -> None:
        raise OSError(28, "No space left on device", "somewhere")

    with joined(None), pytest.raises(OSError, match="No space left") as found:
        list(RayExecutor().shards(full, [1, 2], "order", [1, 1]))
    assert (found.value.errno, found.value.filename) == (28, "somewhere")


def test_an_address_without_a_cluster_is_refused(journal: Any, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    journal.write(tmp_path / "log", [journal.rows(1, 20)])
    workshop = Workshop(tmp_path, "ray", ResourceSettings(address="127.0.0.1:1"))
    with pytest.raises(SeqmarketError, match="the Ray cluster cannot be joined"):
        prepare_store(
            journal.source(tmp_path / "log"),
            LogSettings(),
            SplitSettings(),
            EncodingSettings(),
            workshop,
        )


def test_without_ray_the_message_says_how_to_get_it(
    journal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    journal.write(tmp_path / "log", [journal.rows(1, 20)])
    with pytest.raises(SeqmarketError, match=r"pip install 'seqmarket\[ray\]'"):
        on_ray(journal.source(tmp_path / "log"), tmp_path)
