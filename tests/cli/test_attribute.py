"""`attribute` from the outside: what is said, written and recorded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

QUICK = ["attribution=[last,linear]", "resamples=20"]


@pytest.fixture(scope="module")
def simulated(trained):
    """A run on a world whose truth is known."""
    return trained(
        "model=rfm_logistic",
        "data=simulator",
        "data.n_customers=150",
        "task=purchase",
        "task.purchase.active_by=event",
        drop=("data", "model."),
    )


@pytest.fixture
def run(gru_run, tmp_path: Path) -> Path:
    """A run of its own, to add to."""
    return Path(shutil.copytree(gru_run.folder, tmp_path / "run"))


def test_a_run_is_attributed_beside_its_files(seqmarket, run: Path) -> None:
    code, out, err = seqmarket(["attribute", str(run), *QUICK])
    assert code == 0, err
    folder = run / "attribution" / "test"
    assert f"tables and plots: {folder}" in out
    assert "conversions" in out.splitlines()[0]
    assert "last 0.0 s" in out
    assert "organic" in out
    assert pl.read_parquet(folder / "channels.parquet")["method"].unique().sort().to_list() == [
        "last",
        "linear",
    ]
    assert f"added to {run / 'tracking'}" in out
    artifacts = run / "tracking" / "artifacts" / "attribution" / "test"
    assert (artifacts / "plots" / "shares.png").is_file()
    points = (run / "tracking" / "metrics.jsonl").read_text()
    assert "attribution/test/linear/organic_share" in points


def test_the_run_is_named_either_way_and_once(seqmarket, run: Path) -> None:
    again = [*QUICK, "output=found", "fold=validation"]
    assert seqmarket(["attribute", f"run_id={run}", *again]).code == 0
    assert Path("found/about.json").is_file()
    about = json.loads(Path("found/about.json").read_text())
    assert about["settings"]["fold"] == "validation"
    code, _, err = seqmarket(["attribute", str(run), f"run_id={run}", *again])
    assert (code, "named twice" in err) == (2, True)
    code, _, err = seqmarket(["attribute", *again])
    assert (code, "no run is named" in err) == (2, True)


def test_the_copy_among_the_artifacts_is_the_same_run(seqmarket, run: Path) -> None:
    copy = run / "tracking" / "artifacts" / "checkpoints" / "model.ckpt"
    assert seqmarket(["attribute", str(copy), *QUICK]).code == 0
    assert (run / "attribution" / "test" / "about.json").is_file()


def test_a_simulated_log_shows_its_truth(seqmarket, simulated) -> None:
    code, out, err = seqmarket(["attribute", str(simulated.folder), *QUICK, "output=found"])
    assert code == 0, err
    assert "truth" in out
    truth = pl.read_csv("found/truth.csv")
    assert sorted(truth["method"]) == ["last", "linear"]
    replay = pl.read_csv("found/replay.csv").filter(budget=0.5)
    assert replay["incremental"].null_count() == 0
    assert set(replay["method"]) == {"last", "linear", "truth", "uniform", "proportional"}
    # The journeys that suit the log: visits and registrations are no touches.
    about = json.loads(Path("found/about.json").read_text())
    assert about["settings"]["journeys"]["touches"]["event_type"] == ["touch"]
    points = (simulated.folder / "tracking" / "metrics.jsonl").read_text()
    assert "attribution/test/last/share_error" in points


def test_the_truth_of_all_purchases_is_not_held_against_the_first(seqmarket, simulated) -> None:
    first = ["output=first", "attribution=last", "journeys.conversions=first"]
    code, out, err = seqmarket(["attribute", str(simulated.folder), *first])
    assert code == 0, err
    assert "the truth is not compared: it is of all purchases" in out
    assert not Path("first/truth.csv").exists()


def test_chosen_journeys_come_before_those_of_the_log(seqmarket, simulated) -> None:
    some = ["output=all", "attribution=last", "journeys=default"]
    assert seqmarket(["attribute", str(simulated.folder), *some]).code == 0
    about = json.loads(Path("all/about.json").read_text())
    assert about["settings"]["journeys"]["touches"]["event_type"] == []
    some = ["output=some", "attribution=last", "journeys.lookback=3d"]
    assert seqmarket(["attribute", str(simulated.folder), *some]).code == 0
    about = json.loads(Path("some/about.json").read_text())
    assert about["settings"]["journeys"]["lookback"] == "P3D"
    assert about["settings"]["journeys"]["touches"]["event_type"] == ["touch"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["attribution=lst"], "did you mean 'last'?"),
        (["attribution.last.x=1"], "there is no setting 'attribution.last.x'"),
        (["fold=tst"], "fold: expected"),
        (["journeys.touches.channel=[post]"], "where: journeys.touches.channel"),
        (["data=files"], "there is no setting 'data'"),
        (["--fold", "test"], "neither an option of attribute nor an override"),
        (["output=."], "there is something else already"),
        (["output=/proc/no/such"], "cannot write"),
    ],
)
def test_mistakes_are_told_before_the_work(seqmarket, gru_run, more: list[str], said: str) -> None:
    Path("mine.txt").write_text("mine")
    code, out, err = seqmarket(["attribute", str(gru_run.folder), "attribution=last", *more])
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert "0.0 s" not in out


def test_a_run_that_is_not_there_is_told(seqmarket) -> None:
    code, _, err = seqmarket(["attribute", "no/such/run"])
    assert code == 2
    assert "there is no such file or run folder" in err


def test_a_changed_log_is_refused(seqmarket, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seqmarket.data.sources.synthetic import SyntheticJourneys

    monkeypatch.setattr(SyntheticJourneys, "fingerprint", lambda self: "other")
    before = SyntheticJourneys.open

    def fewer(self):
        return before(self.model_copy(update={"n_customers": 90}))

    monkeypatch.setattr(SyntheticJourneys, "open", fewer)
    code, _, err = seqmarket(["attribute", str(run), *QUICK])
    assert code == 2
    assert "changed" in err
    assert not (run / "attribution").exists()
