"""`register` and `leaderboard` from the outside, on MLflow's own registry."""

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


def test_from_challenger_to_champion(seqmarket, sent) -> None:
    first = seqmarket(["register", sent["gru"]])
    assert first.code == 0, first.err
    assert first.out.startswith("seqmarket-synthetic version 1 is challenger: ")
    first = seqmarket(["register", sent["gru"], "--alias", "champion"])
    assert "version 1 is champion" in first.out
    assert "as the first champion" in first.out

    refused = seqmarket(["register", sent["logistic"], "--alias", "champion"])
    assert refused.code == 2
    assert "was not compared with the present champion on the same rows" in refused.err
    command = f"compare models:/seqmarket-synthetic@champion {sent['logistic']}"
    assert f"seqmarket {command}" in refused.err

    compared = seqmarket([*command.split(), "--resamples", "200"])
    assert compared.code == 0, compared.err
    about = json.loads(next(Path(sent["logistic"]).rglob("about.json")).read_text())
    worse = {said for task in about["tasks"].values() for said in task["verdicts"].values()}
    promoted = seqmarket(["register", sent["logistic"], "--alias", "champion"])
    if "worse" in worse and "better" not in worse:
        assert "worse than the champion" in promoted.err
    else:
        assert "compared with version 1: " in promoted.out
    forced = seqmarket(
        ["register", sent["logistic"], "--alias", "champion", "--without-comparison", "it is small"]
    )
    assert "without a comparison: it is small" in forced.out
    back = seqmarket(["register", sent["gru"], "--alias", "champion"])
    assert back.code == 2


def test_a_run_that_mlflow_does_not_know_is_told_how_to_send_it(seqmarket, sent, gru_run) -> None:
    outcome = seqmarket(["register", str(gru_run.folder)])
    assert outcome.code == 2
    assert "this run is not in this MLflow" in outcome.err
    assert "seqmarket sync" in outcome.err


def test_a_promotion_without_a_reason_is_refused(seqmarket, sent) -> None:
    outcome = seqmarket(
        ["register", sent["gru"], "--alias", "champion", "--without-comparison", " "]
    )
    assert outcome.code == 2
    assert "a reason is needed" in outcome.err


def test_the_leaderboard_of_the_experiment(seqmarket, sent, tmp_path: Path) -> None:
    outcome = seqmarket(["leaderboard", "--markdown", "board.md", "--json", "board.json"])
    assert outcome.code == 0, outcome.err
    assert "synthetic, test" in outcome.out
    rows = json.loads((tmp_path / "board.json").read_text())
    assert {"gru", "rfm_logistic", "majority"} <= {row["model"] for row in rows}
    assert (tmp_path / "board.md").read_text().count("\n| gru |") == 1
    assert seqmarket(["leaderboard", "--experiment", "none"]).code == 2
