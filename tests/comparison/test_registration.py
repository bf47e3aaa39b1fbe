"""The registry from the outside: versions, aliases, what is refused, what is left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqmarket.comparison.registration import register
from seqmarket.errors import SeqmarketError
from seqmarket.training.config import PathsConfig
from seqmarket.training.locate import find_run
from seqmarket.training.tracking.addition import add_to_run
from seqmarket.training.tracking.connection import load_mlflow
from seqmarket.training.tracking.database import prepare_database
from seqmarket.training.tracking.record import RunRecord
from seqmarket.training.tracking.registry import Registry
from seqmarket.training.tracking.settings import TrackingSettings
from seqmarket.training.tracking.tracked_run import open_run

NAME = "seqmarket-made"


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    prepare_database(f"sqlite:///{path}")
    return path


@pytest.fixture
def tracking(empty_database: Path, tmp_path: Path) -> TrackingSettings:
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    return TrackingSettings(root=str(tmp_path))


@pytest.fixture
def paths(tmp_path: Path) -> PathsConfig:
    return PathsConfig(output_dir=tmp_path / "outputs", cache_dir=tmp_path / "cache")


@pytest.fixture
def client(tracking: TrackingSettings) -> Any:
    load_mlflow(database=True)
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{tracking.root}/mlflow.db")


@pytest.fixture
def run(tracking: TrackingSettings, tmp_path: Path) -> Callable[..., Path]:
    """A finished run with what is read of it."""

    def make(model: str, *, enabled: bool = True, status: str = "FINISHED") -> Path:
        folder = tmp_path / f"run-{model}"
        settings = tracking.model_copy(update={"enabled": enabled})
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints" / "model.ckpt").write_bytes(b"weights")
        results = [
            {"task": task, "model": name, "metric": "auroc", "estimate": 0.8}
            for task in ("churn", "purchase")
            for name in (model, "majority")
        ]
        with open_run(settings, folder, name=f"{model}-made", description="") as tracked:
            tracked.set_tags(
                {"seqmarket.model": model, "seqmarket.data_fingerprint": "f" * 64}
                | {"seqmarket.git_commit": "a" * 40, "seqmarket.git_dirty": "true"}
            )
            tracked.log_text("seed: 1", "config.yaml")
            tracked.log_text(json.dumps(results), "results/metrics.json")
            tracked.log_text(json.dumps({"log": {"name": "made"}}), "results/terms.json")
            tracked.log_artifact(folder / "checkpoints" / "model.ckpt", "checkpoints")
        return folder

    return make


@pytest.fixture
def compared(tmp_path: Path) -> Callable[..., None]:
    """Adds to a run what `compare CHAMPION RUN` would."""

    def add(champion: Path, run: Path, tracking: TrackingSettings, said: str, **changes) -> None:
        contenders = [
            {
                "name": folder.name,
                "model": record.tags["seqmarket.model"],
                "runs": [{"record": record.about["identity"]}],
            }
            for folder in (champion, run)
            for record in [RunRecord(folder / "tracking")]
        ]
        about = {
            "verdict": f"{run.name} is {said}.",
            "restricted": [],
            "level": 0.95,
            "resamples": 2_000,
            "contenders": contenders,
            "tasks": {"churn": {"reference": champion.name, "verdicts": {run.name: said}}},
            **changes,
        }
        files = tmp_path / "compared"
        files.mkdir(exist_ok=True)
        (files / "about.json").write_text(json.dumps(about))
        add_to_run(run, tracking, files, f"comparisons/{champion.name}", {})

    return add


def aliases(client: Any) -> dict[str, str]:
    return {key: str(value) for key, value in client.get_registered_model(NAME).aliases.items()}


def test_a_challenger_is_a_version_with_its_facts(run, paths, tracking, client) -> None:
    done = register(str(run("gru")), paths, tracking)
    assert aliases(client) == {"challenger": "1"}
    version = client.get_model_version_by_alias(NAME, "challenger")
    assert version.source == f"runs:/{version.run_id}/checkpoints"
    assert version.tags["seqmarket.run"] == version.run_id
    assert version.tags["seqmarket.data_fingerprint"] == "f" * 64
    assert version.tags["seqmarket.git_commit"] == "a" * 40
    assert version.tags["seqmarket.tasks"] == "churn, purchase"
    assert version.description.startswith("**gru** on made: churn, purchase.")
    assert "uncommitted changes" in "\n".join(done.said)
    again = register(str(run("lstm")), paths, tracking)
    assert again.version.number == "2"
    assert aliases(client) == {"challenger": "2"}


def test_a_run_has_one_version_however_it_is_named(run, paths, tracking, client) -> None:
    folder = run("gru")
    first = register(str(folder), paths, tracking)
    by_id = register(first.version.run_id, paths, tracking)
    by_name = register("gru-made", paths, tracking)
    by_alias = register(f"models:/{NAME}@challenger", paths, tracking)
    assert {done.version.number for done in (first, by_id, by_name, by_alias)} == {"1"}
    assert "registered before" in by_id.said[0]
    found = find_run(f"models:/{NAME}@challenger", paths, tracking)
    assert found.model_file.read_bytes() == b"weights"
    assert found.mlflow_id == first.version.run_id


def test_the_first_champion_needs_no_comparison_and_is_told_so(run, paths, tracking) -> None:
    folder = str(run("gru"))
    done = register(folder, paths, tracking, alias="champion")
    assert "nobody to compare it with" in "\n".join(done.said)
    again = register(folder, paths, tracking, alias="champion")
    assert "the champion already" in again.said[0]


def test_a_champion_that_changed_meanwhile_is_not_replaced(
    run, paths, tracking, client, monkeypatch
) -> None:
    """Somebody else promotes between the check and the promotion."""
    old, new, other = (register(str(run(m)), paths, tracking) for m in ("gru", "lstm", "tcn"))
    register(old.version.run_id, paths, tracking, alias="champion")
    describe = Registry.describe

    def slowly(self, version, *facts) -> None:
        self.point(other.version, "champion")
        describe(self, version, *facts)

    monkeypatch.setattr(Registry, "describe", slowly)
    with pytest.raises(SeqmarketError, match="changed meanwhile: it is version 3"):
        register(
            new.version.run_id, paths, tracking, alias="champion", without_comparison="in haste"
        )
    assert aliases(client)["champion"] == "3"


def test_promotion_without_a_comparison_is_refused_and_leaves_nothing(
    run, paths, tracking, client
) -> None:
    register(str(run("gru")), paths, tracking, alias="champion")
    wanted = str(run("lstm"))
    with pytest.raises(SeqmarketError, match="was not compared") as refused:
        register(wanted, paths, tracking, alias="champion")
    assert f"seqmarket compare models:/{NAME}@champion {wanted}  " in str(refused.value.fix)
    assert aliases(client) == {"champion": "1"}
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 1


def test_a_comparison_promotes_and_stays_with_the_version(
    run, compared, paths, tracking, client
) -> None:
    old, new = run("gru"), run("lstm")
    register(str(old), paths, tracking, alias="champion")
    register(str(new), paths, tracking)
    compared(old, new, tracking, "better")
    done = register(str(new), paths, tracking, alias="champion")
    assert aliases(client) == {"champion": "2", "former": "1"}
    version = client.get_model_version(NAME, "2")
    assert version.tags["seqmarket.verdict"] == "run-lstm is better."
    report = f"runs:/{version.run_id}/comparisons/run-gru/report.html"
    assert version.tags["seqmarket.comparison"] == report
    assert version.tags["seqmarket.promoted_over"] == "1"
    assert report in version.description
    assert "former champion: version 1 of seqmarket-made" in done.said


@pytest.mark.parametrize(
    ("said", "changes", "why"),
    [
        ("worse", {}, "is worse than the present champion: run-lstm is worse"),
        ("better", {"restricted": ["rows of churn"]}, "restricted to the rows"),
    ],
)
def test_a_comparison_that_speaks_against_or_does_not_count(
    run, compared, paths, tracking, client, said, changes, why
) -> None:
    old, new = run("gru"), run("lstm")
    register(str(old), paths, tracking, alias="champion")
    compared(old, new, tracking, said, **changes)
    with pytest.raises(SeqmarketError, match=why):
        register(str(new), paths, tracking, alias="champion")
    assert aliases(client) == {"champion": "1"}


def test_the_open_way_round_is_kept_with_the_version_until_it_is_not_needed(
    run, compared, paths, tracking, client
) -> None:
    old, new = run("gru"), run("lstm")
    register(str(old), paths, tracking, alias="champion")
    done = register(
        str(new), paths, tracking, alias="champion", without_comparison="the old one is broken"
    )
    assert "promoted WITHOUT a comparison" in "\n".join(done.said)
    tags = client.get_model_version(NAME, "2").tags
    assert tags["seqmarket.without_comparison"] == "the old one is broken"
    # Back again: the former champion is compared like anybody else.
    compared(new, old, tracking, "no difference")
    register(f"models:/{NAME}@former", paths, tracking, alias="champion")
    assert aliases(client) == {"champion": "1", "former": "2"}
    register(str(new), paths, tracking)
    assert "seqmarket.without_comparison" not in client.get_model_version(NAME, "2").tags


def test_a_comparison_made_while_mlflow_was_away_is_sent_first(
    run, compared, paths, tracking, client
) -> None:
    old, new = run("gru"), run("lstm")
    register(str(old), paths, tracking, alias="champion")
    compared(old, new, tracking.model_copy(update={"enabled": False}), "better")
    register(str(new), paths, tracking, alias="champion")
    assert aliases(client)["champion"] == "2"


def test_a_run_that_mlflow_does_not_know_says_how_to_send_it(run, paths, tracking, client) -> None:
    folder = run("gru", enabled=False)
    with pytest.raises(SeqmarketError, match="MLflow does not know this run") as refused:
        register(str(folder), paths, tracking)
    assert refused.value.fix == f"seqmarket sync {folder}"
    with pytest.raises(SeqmarketError, match="tracking is off") as off:
        register(str(folder), paths, tracking.model_copy(update={"enabled": False}))
    assert "seqmarket sync" in str(off.value.fix)


def test_a_run_in_the_bin_is_not_registered(run, paths, tracking, client) -> None:
    folder = run("gru")
    state = next(iter(json.loads((folder / "tracking" / "mirrors.json").read_text()).values()))
    client.delete_run(state["run_id"])
    with pytest.raises(SeqmarketError, match="the run is DELETED in MLflow"):
        register(str(folder), paths, tracking)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "a/b"}, "'a/b' cannot name a registered model"),
        ({"alias": "boss"}, "there is no alias 'boss'"),
        ({"without_comparison": "why not"}, "a reason is needed to promote"),
        ({"without_comparison": " ", "alias": "champion"}, "a reason is needed to promote"),
    ],
)
def test_mistakes_come_before_any_work(paths, tracking, options, said) -> None:
    with pytest.raises(SeqmarketError, match=said):
        register("nowhere/at/all", paths, tracking, **options)
