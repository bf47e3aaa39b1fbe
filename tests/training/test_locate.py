"""Which checkpoint a run means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from seqmarket.errors import SeqmarketError
from seqmarket.training.config import PathsConfig
from seqmarket.training.locate import find_model, find_run
from seqmarket.training.tracking.settings import TrackingSettings


def checkpoint(folder: Path, *names: str, age: float = 0) -> None:
    (folder / "checkpoints").mkdir(parents=True)
    for name in names:
        file = folder / "checkpoints" / f"{name}.ckpt"
        file.touch()
        moment = file.stat().st_mtime - age
        os.utime(file, (moment, moment))


def find(run: str | Path, output_dir: Path) -> Path:
    tracking = TrackingSettings(root=str(output_dir))
    return find_model(str(run), PathsConfig(output_dir=output_dir), tracking)


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        (("last",), "last"),
        (("last", "best"), "best"),
        (("last", "best", "model"), "model"),
    ],
)
def test_the_most_finished_checkpoint_of_a_folder(
    tmp_path: Path, there: tuple[str, ...], chosen: str
) -> None:
    checkpoint(tmp_path / "a", *there)
    wanted = tmp_path / "a" / "checkpoints" / f"{chosen}.ckpt"
    assert find(tmp_path / "a", tmp_path) == wanted
    assert find(tmp_path / "a" / "checkpoints", tmp_path) == wanted
    assert find(tmp_path / "a" / "checkpoints" / "last.ckpt", tmp_path).name == "last.ckpt"


def test_the_last_run_is_the_newest_that_has_finished(tmp_path: Path) -> None:
    with pytest.raises(SeqmarketError, match="no run has finished yet"):
        find("last", tmp_path)
    checkpoint(tmp_path / "runs" / "b", "model", "best", age=100)
    checkpoint(tmp_path / "runs" / "c", "model", "best", age=200)
    checkpoint(tmp_path / "runs" / "d", "best", age=10)  # still being trained
    assert find("last", tmp_path).parents[1].name == "b"


def test_an_unknown_run_leaves_no_database(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SeqmarketError, match="no model yet"):
        find(tmp_path / "empty", tmp_path)
    with pytest.raises(SeqmarketError, match="no MLflow database"):
        find("0123456789abcdef", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.parametrize("run", ["runs/nothing", "runs\\nothing", "nothing.ckpt"])
def test_what_looks_like_a_path_is_not_looked_for_in_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: str
) -> None:
    monkeypatch.delattr("seqmarket.training.locate.download_artifact")
    with pytest.raises(SeqmarketError, match="there is no such file or run folder"):
        find(run, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "place", ["", "checkpoints", "checkpoints/model.ckpt", "tracking/artifacts/checkpoints"]
)
def test_the_folder_of_a_run_whatever_names_it(tmp_path: Path, place: str) -> None:
    run = tmp_path / "run"
    checkpoint(run, "model")
    checkpoint(run / "tracking" / "artifacts", "model")
    (run / "tracking" / "run.json").touch()
    tracking = TrackingSettings(root=str(tmp_path))
    found = find_run(str(run / place), PathsConfig(output_dir=tmp_path), tracking)
    assert (found.folder, found.mlflow_id) == (run, None)


def test_a_checkpoint_alone_is_in_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.ckpt").touch()
    tracking = TrackingSettings(root=str(tmp_path))
    found = find_run(str(tmp_path / "mine.ckpt"), PathsConfig(), tracking)
    assert found.folder == tmp_path
