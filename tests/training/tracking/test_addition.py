"""What is found out later: added to a run that has ended, wherever the run is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from seqmarket.training.tracking.addition import add_to_mlflow, add_to_run
from seqmarket.training.tracking.owner import Owner
from seqmarket.training.tracking.record import RunRecord
from seqmarket.training.tracking.settings import TrackingSettings
from seqmarket.training.tracking.sync import sync
from seqmarket.training.tracking.tracked_run import open_run

PLACE = "attribution/test"
METRICS = {"attribution/test/linear/organic_share": 0.25}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "found"
    (folder / "plots").mkdir(parents=True)
    (folder / "channels.csv").write_text("channel\n")
    (folder / "plots" / "shares.png").write_bytes(b"png")
    return folder


def ended(settings: TrackingSettings, folder: Path) -> Path:
    with open_run(settings, folder, name="a", description="about it") as tracked:
        tracked.log_metrics({"test/loss": 1.0})
    return folder


def artifacts(client: Any, run_id: str) -> list[str]:
    found = [item.path for item in client.list_artifacts(run_id, PLACE)]
    return found + [item.path for item in client.list_artifacts(run_id, f"{PLACE}/plots")]


def in_mlflow(client: Any, run_id: str) -> None:
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert METRICS.items() <= run.data.metrics.items()
    assert f"{PLACE}/channels.csv" in artifacts(client, run_id)
    assert f"{PLACE}/plots/shares.png" in artifacts(client, run_id)


def test_a_run_with_a_folder_has_it_in_its_record_and_in_mlflow(
    settings: TrackingSettings, client: Any, tmp_path: Path, files: Path
) -> None:
    run_dir = ended(settings, tmp_path / "run")
    anew = TrackingSettings()  # the run knows where it was recorded
    said = add_to_run(run_dir, anew, files, PLACE, METRICS)
    run_id = said.removeprefix("added to the MLflow run ")
    in_mlflow(client, run_id)
    record = RunRecord(run_dir / "tracking")
    assert record.status == "FINISHED"
    assert f"{PLACE}/plots/shares.png" in record.artifacts()
    assert record.history()["attribution/test/linear/organic_share"] == {0: 0.25}
    assert client.get_run(run_id).data.metrics["test/loss"] == 1.0


def test_a_run_of_mlflow_alone_has_it_there(
    settings: TrackingSettings, client: Any, tmp_path: Path, files: Path
) -> None:
    with open_run(settings, tmp_path / "run", name="a", description="") as tracked:
        pass
    assert tracked.run_id is not None
    said = add_to_mlflow(tracked.run_id, settings, files, PLACE, METRICS)
    assert said == f"added to the MLflow run {tracked.run_id}"
    in_mlflow(client, tracked.run_id)


def test_a_server_that_is_not_there_costs_nothing(
    settings: TrackingSettings, client: Any, tmp_path: Path, files: Path
) -> None:
    run_dir = ended(settings, tmp_path / "run")
    away = settings.model_copy(update={"uri": "http://127.0.0.1:9", "connect_timeout": 1.0})
    said = add_to_run(run_dir, away, files, PLACE, METRICS)
    assert "failed" in said
    assert f"seqmarket sync {run_dir}" in said
    assert f"{PLACE}/channels.csv" in RunRecord(run_dir / "tracking").artifacts()
    in_mlflow(client, sync(run_dir))
    assert "everything is kept in" in add_to_mlflow("some", away, files, PLACE, METRICS)


def test_a_password_is_not_said(tmp_path: Path, files: Path) -> None:
    away = TrackingSettings(uri="http://me:secret@127.0.0.1:9", connect_timeout=1.0)
    assert "secret" not in add_to_mlflow("some", away, files, PLACE, METRICS)


def test_without_mlflow_the_record_has_it(tmp_path: Path, files: Path) -> None:
    off = TrackingSettings(enabled=False, root=str(tmp_path))
    run_dir = ended(off, tmp_path / "run")
    assert add_to_run(run_dir, off, files, PLACE, METRICS) == f"added to {run_dir / 'tracking'}"
    assert not (tmp_path / "mlflow.db").exists()
    assert add_to_mlflow("some", off, files, PLACE, METRICS) == "not added to MLflow: tracking=off"


def test_a_run_that_is_still_going_on_is_left_alone(tmp_path: Path, files: Path) -> None:
    off = TrackingSettings(enabled=False)
    run_dir = ended(off, tmp_path / "run")
    init = Owner(Owner.current().host, 1, float(psutil.Process(1).create_time()))
    status = {"status": "RUNNING", "end_time": None, "owner": init.to_dict()}
    (run_dir / "tracking" / "status.json").write_text(json.dumps(status))
    assert "still going on" in add_to_run(run_dir, off, files, PLACE, METRICS)
    assert RunRecord(run_dir / "tracking").artifacts() == {}


def test_a_checkpoint_alone_has_no_record(tmp_path: Path, files: Path) -> None:
    said = add_to_run(tmp_path, TrackingSettings(), files, PLACE, METRICS)
    assert said == "not added to a record: the run has none"
