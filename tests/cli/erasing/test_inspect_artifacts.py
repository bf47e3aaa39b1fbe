"""What `inspect` shows of the copies in MLflow, and what it cannot look at."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from seqmarket.cli.main import main


def held_of(place: SimpleNamespace, customer: str) -> dict[str, Any]:
    """What `inspect` writes."""
    output = place.root / "held.json"
    assert main(["inspect", "--customer", customer, "--output", str(output), *place.data]) == 0
    found: dict[str, Any] = json.loads(output.read_text())
    output.unlink()
    return found


def check_artifacts_are_shown(place: SimpleNamespace) -> None:
    artifacts = sorted((place.root / "mlartifacts").rglob("predictions.parquet"))
    assert artifacts
    shown = {
        item["place"]: item["rows"] for item in held_of(place, place.planted[0])["predictions"]
    }
    number = place.ids(place.root).index(place.planted[0])
    for path in artifacts:
        theirs = pl.read_parquet(path).filter(customer=number)
        assert len(shown[str(path)]) == len(theirs) > 0


def test_the_artifacts_in_mlflow_are_inspected(
    place: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = held_of(place, place.planted[0])
    assert held["not_looked_at"] == []
    models = [item["run"] for item in held["models_trained_on_them"]]
    assert str(place.run_dir) in models
    assert any(run.startswith(str(place.root / "mlartifacts")) for run in models)
    check_artifacts_are_shown(place)
    # They are there, too, when the run's own folder is not.
    place.run_dir.rename(place.root / "elsewhere" / "run")
    check_artifacts_are_shown(place)
    # A mutant that looks below the run folders only.
    monkeypatch.setattr("seqmarket.training.access.recorded_runs", lambda _: [])
    with pytest.raises(KeyError):
        check_artifacts_are_shown(place)


def test_after_an_erasure_the_artifacts_show_nothing(
    place: SimpleNamespace, erase: Callable[..., tuple[int, str]]
) -> None:
    assert erase()[0] == 0
    held = held_of(place, place.planted[0])
    assert held["predictions"] == held["models_trained_on_them"] == []


def test_what_cannot_be_inspected_from_here_is_said(
    place: SimpleNamespace,
    copies_elsewhere: Callable[[SimpleNamespace], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    copies_elsewhere(place)
    server, artifacts = held_of(place, place.planted[0])["not_looked_at"]
    assert server == "the MLflow server at http://127.0.0.1:9"
    assert artifacts.endswith("s3://bucket/artifacts")
    out = capsys.readouterr().out
    assert "not looked at, as it is not on this machine: the MLflow server" in out
    # Of somebody whom the store is known not to hold, only the server is not known.
    assert held_of(place, "nobody-at-all")["not_looked_at"] == [server]
