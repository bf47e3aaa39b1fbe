"""A server that is not there, hangs, dies or comes back never costs a run."""

from __future__ import annotations

import logging
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from seqmarket.training.tracking import tracked_run
from seqmarket.training.tracking.connection import bounded, reason
from seqmarket.training.tracking.settings import TrackingSettings
from seqmarket.training.tracking.tracked_run import TrackedRun, open_run

LOG_TO_A_SERVER = """
import sys, time
from pathlib import Path
from seqmarket.training.tracking import TrackingSettings, open_run
started = time.monotonic()
settings = TrackingSettings(uri=sys.argv[1])
with open_run(settings, Path(sys.argv[2]), name="patient", description="") as run:
    for step in range(5):
        run.log_metrics({"loss": 1.0}, step)
print(time.monotonic() - started)
"""


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Accepts connections, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def _run(uri: str, run_dir: Path, timeout: float = 1, steps: int = 5) -> TrackedRun:
    settings = TrackingSettings(uri=uri, connect_timeout=timeout)
    with open_run(settings, run_dir, name="lstm", description="") as run:
        for step in range(steps):
            run.log_metrics({"loss": float(step)}, step)
            run.log_text("text", "a.txt")
    return run


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def test_a_closed_port_costs_one_warning_and_nothing_else(
    closed_port: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    started = time.monotonic()
    run = _run(f"http://user:secret@127.0.0.1:{closed_port}", tmp_path / "run")
    assert time.monotonic() - started < 5

    (warning,) = _warnings(caplog)
    assert f"http://127.0.0.1:{closed_port}" in warning
    assert "Connection refused" in warning
    assert str(tmp_path / "run" / "tracking") in warning
    assert f"seqmarket sync {tmp_path / 'run'}" in warning
    assert f"python scripts/sync.py {tmp_path / 'run'}" in warning
    assert "secret" not in caplog.text
    assert run.record.status == "FINISHED"
    assert run.record.history()["loss"] == {step: float(step) for step in range(5)}
    assert run.run_id is None
    assert f"seqmarket sync {tmp_path / 'run'}" in run.address
    for path in (tmp_path / "run").rglob("*.json"):
        assert "secret" not in path.read_text()


def test_a_server_that_never_answers_is_waited_for_once(
    silent_port: int,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracked_run, "_PATIENCE", 2.0)
    started = time.monotonic()
    run = _run(f"http://127.0.0.1:{silent_port}", tmp_path / "run")
    assert time.monotonic() - started < 4

    (warning,) = _warnings(caplog)
    assert "no answer within 1 s" in warning
    assert run.record.status == "FINISHED"


@pytest.mark.slow
def test_with_default_settings_a_silent_server_costs_less_than_15_seconds(
    silent_port: int, tmp_path: Path, start_script: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start_script(LOG_TO_A_SERVER, f"http://127.0.0.1:{silent_port}", str(tmp_path / "r"))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    importing = 3.0  # of MLflow, on a busy machine
    assert 9 < float(out) < 15 + importing


def test_a_server_that_dies_midway_ends_the_mirror_and_not_the_run(
    server: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = TrackingSettings(uri=server.uri, connect_timeout=1)
    with open_run(settings, tmp_path / "run", name="lstm", description="") as run:
        run.log_metrics({"loss": 1.0}, 1)
        assert run.address == f"{server.uri}/#/experiments/7/runs/0123abcd"
        server.stop()
        run.log_metrics({"loss": 0.5}, 2)
        run.log_metrics({"loss": 0.25}, 3)

    assert len(_warnings(caplog)) == 1
    assert server.run["info"]["status"] == "RUNNING"
    assert run.record.status == "FINISHED"
    assert run.record.history() == {"loss": {1: 1.0, 2: 0.5, 3: 0.25}}


def test_a_server_that_hangs_midway_is_waited_for_once(
    server: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracked_run, "_PATIENCE", 2.0)
    settings = TrackingSettings(uri=server.uri, connect_timeout=1)
    with open_run(settings, tmp_path / "run", name="lstm", description="") as run:
        server.answering.clear()
        started = time.monotonic()
        for step in range(20):
            run.log_metrics({"loss": 1.0}, step)
    assert time.monotonic() - started < 3.5
    assert len(_warnings(caplog)) == 1
    assert len(run.record.points) == 20


def test_a_server_that_comes_back_gets_the_rest_at_the_end(
    server: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings = TrackingSettings(uri=server.uri, connect_timeout=1)
    with open_run(settings, tmp_path / "run", name="lstm", description="") as run:
        server.stop()
        run.log_metrics({"loss": 0.5}, 2)
        server.start()

    assert server.run["info"]["status"] == "FINISHED"
    sent = [body["metrics"] for body in server.bodies if body.get("metrics")]
    assert [(point["key"], point["step"]) for (point,) in sent] == [("loss", 2)]
    assert "has everything now" in caplog.text
    assert run.address.startswith(server.uri)


def test_a_refusal_is_reported_like_an_outage(
    settings: TrackingSettings, client: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client.delete_experiment(client.create_experiment("seqmarket"))
    with open_run(settings, tmp_path / "run", name="lstm", description="") as run:
        run.log_metrics({"loss": 0.5}, 2)
    (warning,) = _warnings(caplog)
    assert "the experiment 'seqmarket' was deleted" in warning
    assert run.record.status == "FINISHED"


def test_an_experiment_that_another_process_makes_first_is_used(
    settings: TrackingSettings, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    create = MlflowClient.create_experiment

    def late(self: Any, name: str, **options: Any) -> str:
        create(self, name, **options)
        return create(self, name, **options)  # raises: it is there already

    monkeypatch.setattr(MlflowClient, "create_experiment", late)
    with open_run(settings, tmp_path / "run", name="lstm", description="") as run:
        pass
    assert client.get_run(run.run_id).info.status == "FINISHED"


def test_a_bounded_call_returns_raises_or_gives_up() -> None:
    def fail() -> None:
        raise KeyError("x")

    assert bounded(lambda: 3, 5) == 3
    assert bounded(lambda: None, 5) is None
    with pytest.raises(KeyError):
        bounded(fail, 5)
    started = time.monotonic()
    with pytest.raises(TimeoutError, match=r"no answer within 0\.05 s"):
        bounded(lambda: time.sleep(1), 0.05)
    assert time.monotonic() - started < 0.5


def test_the_reason_is_the_root_in_one_line_without_credentials() -> None:
    uri = "http://user:secret@host"
    story = RuntimeError("long story")
    story.__cause__ = OSError(f"cannot reach {uri}/api\nmore")
    assert reason(story, uri) == "OSError: cannot reach http://host/api"
