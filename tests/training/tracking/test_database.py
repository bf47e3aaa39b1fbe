from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqmarket.errors import SeqmarketError
from seqmarket.training.tracking import database
from seqmarket.training.tracking.database import artifact_root, prepare_database, resolve_uri
from seqmarket.training.tracking.settings import TrackingSettings

RUN_IN_A_PROCESS = """
import sys
from pathlib import Path
from seqmarket.training.tracking import TrackingSettings, open_run
root, number, points = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
settings = TrackingSettings(root=str(root), experiment="shared")
with open_run(settings, root / number, name=number, description="") as run:
    for step in range(points):
        run.log_metrics({f"m{i}": float(step) for i in range(30)}, step)
        run.set_tags({"step": step})
print(run.run_id if run._is_online else "offline", end="")
"""


def test_the_embedded_database_has_an_absolute_address(tmp_path: Path) -> None:
    assert resolve_uri(None, tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    assert resolve_uri("sqlite:///sub/my.db", tmp_path) == f"sqlite:///{tmp_path}/sub/my.db"
    assert resolve_uri("sqlite:////abs/my.db", tmp_path) == "sqlite:////abs/my.db"
    assert resolve_uri("http://host:5000/", tmp_path) == "http://host:5000"


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "localhost:5000", "sqlite://"])
def test_what_cannot_be_an_address_is_the_users_mistake(uri: str, tmp_path: Path) -> None:
    with pytest.raises(SeqmarketError) as error:
        resolve_uri(uri, tmp_path)
    assert error.value.where == "tracking.uri"


def test_artifacts_lie_beside_a_database_and_a_server_decides_itself() -> None:
    assert artifact_root("sqlite:////abs/my.db") == Path("/abs/mlartifacts")
    assert artifact_root("http://host") is None


def test_an_existing_database_is_left_alone(
    template_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mlflow.db"
    shutil.copyfile(template_database, path)
    before = path.read_bytes()
    monkeypatch.setattr(database, "_migrate", lambda *_: pytest.fail("migrated again"))

    prepare_database(f"sqlite:///{path}")

    assert path.read_bytes() == before


def test_a_database_half_made_by_a_killed_process_is_made_anew(
    template_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep" / "mlflow.db"

    def die_half_way(beside: Path, _: Path) -> None:
        beside.write_bytes(template_database.read_bytes()[:5000])
        raise KeyboardInterrupt

    def copy(beside: Path, _: Path) -> None:
        assert not beside.exists()
        shutil.copyfile(template_database, beside)

    monkeypatch.setattr(database, "_migrate", die_half_way)
    with pytest.raises(KeyboardInterrupt):
        prepare_database(f"sqlite:///{path}")
    assert not path.exists()

    monkeypatch.setattr(database, "_migrate", copy)
    prepare_database(f"sqlite:///{path}")
    assert path.read_bytes() == template_database.read_bytes()


def _run_four(
    start_script: Callable[..., subprocess.Popen[str]], root: Path, points: int
) -> list[str]:
    processes = [start_script(RUN_IN_A_PROCESS, str(root), str(i), str(points)) for i in range(4)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0], outputs
    return [out for out, _ in outputs]


@pytest.mark.slow
def test_four_processes_that_meet_a_fresh_database_all_succeed(
    start_script: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    run_ids = _run_four(start_script, tmp_path, points=1)

    assert len(set(run_ids)) == 4
    assert "offline" not in run_ids
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        rows = connection.execute("select status, experiment_id from runs").fetchall()
    connection.close()
    assert rows == [("FINISHED", 1)] * 4


@pytest.mark.slow
def test_four_processes_write_to_one_database_without_losing_a_point(
    start_script: Callable[..., subprocess.Popen[str]], settings: TrackingSettings, client: Any
) -> None:
    run_ids = _run_four(start_script, Path(settings.root), points=40)

    assert "offline" not in run_ids
    for run_id in run_ids:
        assert len(client.get_metric_history(run_id, "m29")) == 40
