"""A model that was recorded in MLflow is found by the id of its run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seqmarket.data.sealed import digest_file
from seqmarket.errors import SeqmarketError
from seqmarket.training.checkpoint import check_whole, save_atomically
from seqmarket.training.config import PathsConfig
from seqmarket.training.locate import find_model
from seqmarket.training.tracking.settings import TrackingSettings


def test_a_recorded_model_is_fetched_by_its_id(
    settings: TrackingSettings, client: Any, tmp_path: Path
) -> None:
    experiment = client.create_experiment("some", artifact_location=(tmp_path / "art").as_uri())
    run_id = client.create_run(experiment).info.run_id
    paths = PathsConfig(output_dir=tmp_path)
    with pytest.raises(SeqmarketError, match=f"no run '{run_id}' with the artifact"):
        find_model(run_id, paths, settings)
    (tmp_path / "model.ckpt").write_text("weights")
    client.log_artifact(run_id, str(tmp_path / "model.ckpt"), "checkpoints")
    assert find_model(run_id, paths, settings).read_text() == "weights"
    assert not list(find_model(run_id, paths, settings).parent.glob("*.sha256"))
    with pytest.raises(SeqmarketError, match="Run with id=0123456789abcdef not found") as caught:
        find_model("0123456789abcdef", paths, settings)
    assert caught.value.fix is not None
    assert "tracking.uri" in caught.value.fix


def test_a_model_that_was_damaged_in_mlflow_is_refused(
    settings: TrackingSettings, client: Any, tmp_path: Path
) -> None:
    experiment = client.create_experiment("some", artifact_location=(tmp_path / "art").as_uri())
    run_id = client.create_run(experiment).info.run_id
    save_atomically({"weights": [1, 2]}, tmp_path / "model.ckpt")
    for path in (tmp_path / "model.ckpt", digest_file(tmp_path / "model.ckpt")):
        client.log_artifact(run_id, str(path), "checkpoints")
    paths = PathsConfig(output_dir=tmp_path)
    check_whole(find_model(run_id, paths, settings))
    (logged,) = (tmp_path / "art").rglob("model.ckpt")
    logged.write_bytes(logged.read_bytes()[:-1] + b"?")
    with pytest.raises(SeqmarketError, match="the checkpoint is damaged"):
        check_whole(find_model(run_id, paths, settings))
