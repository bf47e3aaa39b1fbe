from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from seqmarket.errors import SeqmarketError
from seqmarket.training.tracking import sync
from seqmarket.training.tracking.settings import TrackingSettings
from seqmarket.training.tracking.tracked_run import TrackedRun, open_run


def _log_everything(run: TrackedRun) -> None:
    run.log_params({"lr": 0.1})
    run.set_tags({"stage": "fit"})
    run.log_metrics({"loss": 1.0}, 1)
    run.log_metrics({"loss": 0.5}, 2)
    run.log_dataset("shop", "abc", "shop.csv", {"rows": 3}, "training")
    run.log_text("text", "folder/a.txt")


@pytest.fixture
def offline_run(tmp_path: Path) -> Path:
    """A run that never reached MLflow."""
    settings = TrackingSettings(uri="http://127.0.0.1:9", connect_timeout=1)
    with open_run(settings, tmp_path / "run", name="lstm", description="about") as run:
        _log_everything(run)
    return tmp_path / "run"


def _contents(client: Any, run_id: str) -> dict[str, Any]:
    run = client.get_run(run_id)
    return {
        "info": (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time),
        "params": run.data.params,
        "tags": run.data.tags,
        "loss": [(p.step, p.value, p.timestamp) for p in client.get_metric_history(run_id, "loss")],
        "inputs": [item.dataset.to_dictionary() for item in run.inputs.dataset_inputs],
        "artifacts": [file.path for file in client.list_artifacts(run_id, "folder")],
    }


def test_a_run_that_never_reached_mlflow_is_sent_in_full(
    offline_run: Path, settings: TrackingSettings, client: Any
) -> None:
    run_id = sync(offline_run, f"sqlite:///{settings.root}/mlflow.db")

    contents = _contents(client, run_id)
    about = json.loads((offline_run / "tracking" / "run.json").read_text())
    status = json.loads((offline_run / "tracking" / "status.json").read_text())
    assert contents["info"] == ("lstm", "FINISHED", about["start_time"], status["end_time"])
    assert contents["params"] == {"lr": "0.1"}
    assert contents["tags"]["stage"] == "fit"
    assert contents["tags"]["mlflow.note.content"] == "about"
    assert [point[:2] for point in contents["loss"]] == [(1, 1.0), (2, 0.5)]
    assert [item["name"] for item in contents["inputs"]] == ["shop"]
    assert contents["artifacts"] == ["folder/a.txt"]


def test_a_second_sync_changes_nothing(
    offline_run: Path, settings: TrackingSettings, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{settings.root}/mlflow.db"
    run_id = sync(offline_run, uri)
    before = _contents(client, run_id)
    for method in ("log_batch", "log_inputs", "log_artifact", "set_terminated", "create_run"):
        monkeypatch.setattr(MlflowClient, method, lambda *_, **__: pytest.fail("sent again"))

    assert sync(offline_run, uri) == run_id
    assert _contents(client, run_id) == before


def test_a_sync_that_forgot_what_it_sent_still_doubles_nothing(
    offline_run: Path, settings: TrackingSettings, client: Any
) -> None:
    """The case of a sync that was killed before it could note anything."""
    uri = f"sqlite:///{settings.root}/mlflow.db"
    run_id = sync(offline_run, uri)
    before = _contents(client, run_id)
    (offline_run / "tracking" / "mirrors.json").unlink()

    assert sync(offline_run, uri) == run_id
    assert _contents(client, run_id) == before


def test_a_run_that_lost_mlflow_half_way_is_completed(
    settings: TrackingSettings, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionResetError("gone")

    with open_run(settings, tmp_path / "run", name="lstm", description="") as run:
        run.log_metrics({"loss": 2.0}, 0)
        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, "log_batch", fail)
            _log_everything(run)
    assert client.get_run(run.run_id).info.status == "RUNNING"

    assert sync(tmp_path / "run") == run.run_id  # to the address of the run itself

    contents = _contents(client, run.run_id)
    assert contents["info"][1] == "FINISHED"
    assert [point[:2] for point in contents["loss"]] == [(0, 2.0), (1, 1.0), (2, 0.5)]
    assert contents["params"] == {"lr": "0.1"}
    assert contents["artifacts"] == ["folder/a.txt"]


def test_one_run_can_be_sent_to_two_places(
    offline_run: Path, settings: TrackingSettings, template_database: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.db"
    shutil.copyfile(template_database, other)
    first = sync(offline_run, f"sqlite:///{settings.root}/mlflow.db")
    second = sync(offline_run, f"sqlite:///{other}")
    assert first != second
    assert sync(offline_run, f"sqlite:///{settings.root}/mlflow.db") == first


def test_a_server_that_is_not_there_is_reported(offline_run: Path) -> None:
    with pytest.raises(SeqmarketError, match="MLflow failed") as error:
        sync(offline_run, timeout=1)
    assert error.value.where == "http://127.0.0.1:9"


def test_a_folder_without_a_record_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SeqmarketError, match="not the record of a run"):
        sync(tmp_path)
