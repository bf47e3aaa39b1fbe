"""`leaderboard` from the outside, on runs that MLflow has."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from seqmarket.training.tracking.database import prepare_database
from seqmarket.training.tracking.mirror import MlflowMirror
from seqmarket.training.tracking.record import RunRecord


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    prepare_database(f"sqlite:///{path}")
    return path


@pytest.fixture
def sent(gru_run, logistic_run, template, tmp_path: Path) -> dict[str, str]:
    """Two runs in an MLflow database; those that they are copies of stay as they are."""
    shutil.copyfile(template, tmp_path / "mlflow.db")
    folders = {}
    for name, run in (("gru", gru_run), ("logistic", logistic_run)):
        folders[name] = str(shutil.copytree(run.folder, tmp_path / name))
        record = RunRecord(Path(folders[name]) / "tracking")
        MlflowMirror(record, f"sqlite:///{tmp_path / 'mlflow.db'}", 10).push()
    return folders


def test_the_leaderboard_of_the_experiment(seqmarket, sent, tmp_path: Path) -> None:
    outcome = seqmarket(["leaderboard", "--markdown", "board.md", "--json", "board.json"])
    assert outcome.code == 0, outcome.err
    assert "synthetic, test" in outcome.out
    rows = json.loads((tmp_path / "board.json").read_text())
    assert {"gru", "rfm_logistic", "majority"} <= {row["model"] for row in rows}
    assert (tmp_path / "board.md").read_text().count("\n| gru |") == 1
    assert seqmarket(["leaderboard", "--experiment", "none"]).code == 2
