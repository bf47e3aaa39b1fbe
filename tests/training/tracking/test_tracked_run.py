from __future__ import annotations

import math
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqmarket.errors import SeqmarketError
from seqmarket.training.tracking.ending import RunKilled
from seqmarket.training.tracking.mirror import MlflowMirror
from seqmarket.training.tracking.owner import Owner
from seqmarket.training.tracking.record import RunRecord
from seqmarket.training.tracking.settings import TrackingSettings
from seqmarket.training.tracking.tracked_run import TrackedRun, open_run

OPEN_AND_WAIT = """
import sys, time
from pathlib import Path
from seqmarket.training.tracking import TrackingSettings, open_run
settings = TrackingSettings(root=sys.argv[1])
with open_run(settings, Path(sys.argv[2]), name="waiting", description="") as run:
    run.log_metrics({"loss": 1.0}, 1)
    print(run.run_id, flush=True)
    time.sleep(60)
"""


def _open(settings: TrackingSettings, run_dir: Path, *, resume: bool = False) -> TrackedRun:
    return open_run(settings, run_dir, name="lstm", description="**about**", resume=resume)


def test_everything_that_is_logged_reaches_mlflow(
    settings: TrackingSettings, client: Any, tmp_path: Path
) -> None:
    from matplotlib.figure import Figure

    checkpoint = tmp_path / "best.ckpt"
    checkpoint.write_bytes(b"weights")
    figure = Figure()
    figure.subplots().plot([1, 2])
    with _open(settings, tmp_path / "run") as run:
        run.log_params({"model": {"d": 8}, "seed": 0})
        run.set_tags({"threads": 2})
        for epoch in range(3):
            run.log_metrics({"val/loss": 1 / (epoch + 1)}, epoch)
        run.log_metrics({"test/lift@10%": 2.5})
        run.log_artifact(checkpoint, "checkpoints")
        run.log_text("a: 1", "config/resolved.yaml")
        run.log_figure(figure, "plots/curve.png")
        run.log_dataset("shop", "f" * 64, "shop.csv", {"rows": 3}, "training", {"time": "datetime"})
        assert run.run_id is not None
        assert client.get_run(run.run_id).info.status == "RUNNING"

    seen = client.get_run(run.run_id)
    assert seen.info.status == "FINISHED"
    assert seen.info.end_time >= seen.info.start_time
    assert seen.info.run_name == "lstm"
    assert seen.data.params == {"model.d": "8", "seed": "0"}
    assert seen.data.tags["mlflow.note.content"] == "**about**"
    assert seen.data.tags["threads"] == "2"
    assert seen.data.metrics["test/lift_10_"] == 2.5
    history = client.get_metric_history(run.run_id, "val/loss")
    assert [(point.step, point.value) for point in history] == [(0, 1), (1, 1 / 2), (2, 1 / 3)]
    folder = Path(settings.root) / "mlartifacts" / "seqmarket" / run.run_id / "artifacts"
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert files == {"checkpoints/best.ckpt", "config/resolved.yaml", "plots/curve.png"}
    (entry,) = seen.inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("shop", "f" * 36)
    assert "datetime" in entry.dataset.schema
    assert [(tag.key, tag.value) for tag in entry.tags] == [("mlflow.data.context", "training")]
    assert f"/#/experiments/{seen.info.experiment_id}/runs/{run.run_id}" in run.address
    assert f"mlflow ui --backend-store-uri sqlite:///{settings.root}/mlflow.db" in run.address


def test_a_failed_run_says_why(settings: TrackingSettings, client: Any, tmp_path: Path) -> None:
    run = _open(settings, tmp_path / "run")
    with pytest.raises(ZeroDivisionError), run:
        raise ZeroDivisionError("first line\nsecond line")

    seen = client.get_run(run.run_id)
    assert seen.info.status == "FAILED"
    assert seen.data.tags["seqmarket.error"] == "ZeroDivisionError: first line"
    trace = run.record.artifacts()["error/traceback.txt"].read_text()
    assert "test_a_failed_run_says_why" in trace
    assert run.record.status == "FAILED"


def _interrupt_as_lightning_does() -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        raise SystemExit(1)  # noqa: B904 (as Lightning has it)


def _exit(code: int) -> None:
    raise SystemExit(code)


def _interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (_interrupt, "KILLED"),
        (_interrupt_as_lightning_does, "KILLED"),
        (lambda: _exit(0), "FINISHED"),
        (lambda: _exit(2), "FAILED"),
    ],
    ids=["interrupt", "lightning", "exit-0", "exit-2"],
)
def test_the_status_follows_from_how_the_run_ended(
    end: Callable[[], None], status: str, settings: TrackingSettings, client: Any, tmp_path: Path
) -> None:
    run = _open(settings, tmp_path / "run")
    with pytest.raises(BaseException), run:  # noqa: B017, PT011 (of several kinds)
        end()
    assert client.get_run(run.run_id).info.status == status
    assert RunRecord(run.record.folder).status == status


def test_sigterm_raises_in_the_run_and_is_given_back_after_it(
    settings: TrackingSettings, tmp_path: Path
) -> None:
    offline = settings.model_copy(update={"enabled": False})
    before = signal.getsignal(signal.SIGTERM)
    run = _open(offline, tmp_path / "run")
    cleaned_up = []

    def be_terminated() -> None:
        with run:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                signal.pause()
            finally:
                os.kill(os.getpid(), signal.SIGTERM)  # a second one breaks nothing off
                cleaned_up.append(True)

    with pytest.raises(RunKilled) as error:
        be_terminated()
    assert error.value.code == 143
    assert cleaned_up
    assert run.record.status == "KILLED"
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_run_that_is_interrupted_while_it_opens_is_closed(
    settings: TrackingSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: MlflowMirror) -> None:
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGTERM)
    run = _open(settings, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(MlflowMirror, "reap", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run.__enter__()
    assert run.record.status == "KILLED"
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_run_may_be_opened_outside_the_main_thread(
    settings: TrackingSettings, tmp_path: Path
) -> None:
    statuses = []

    def work() -> None:
        with _open(settings.model_copy(update={"enabled": False}), tmp_path / "run") as run:
            run.log_metrics({"loss": 1.0})
        statuses.append(run.record.status)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert statuses == ["FINISHED"]


def test_terminated_and_killed_processes_leave_no_run_behind_as_running(
    start_script: Callable[..., subprocess.Popen[str]],
    settings: TrackingSettings,
    client: Any,
    tmp_path: Path,
) -> None:
    names = ("terminated", "killed", "alive")
    processes = {
        name: start_script(OPEN_AND_WAIT, settings.root, str(tmp_path / name)) for name in names
    }
    ids = {name: process.stdout.readline().strip() for name, process in processes.items()}
    processes["terminated"].send_signal(signal.SIGTERM)
    processes["killed"].kill()
    assert processes["terminated"].wait(20) == 143
    assert processes["killed"].wait(20) == -signal.SIGKILL
    statuses = {name: client.get_run(run_id).info.status for name, run_id in ids.items()}
    assert statuses == {"terminated": "KILLED", "killed": "RUNNING", "alive": "RUNNING"}

    with pytest.raises(SeqmarketError, match="still going on"), _open(settings, tmp_path / "alive"):
        pass
    with _open(settings, tmp_path / "next"):
        pass

    statuses = {name: client.get_run(run_id).info.status for name, run_id in ids.items()}
    assert statuses == {"terminated": "KILLED", "killed": "KILLED", "alive": "RUNNING"}
    assert "was gone" in client.get_run(ids["killed"]).data.tags["seqmarket.reaped"]
    assert RunRecord(tmp_path / "killed" / "tracking").status == "KILLED"


def test_a_run_on_another_machine_is_not_reaped(
    settings: TrackingSettings, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _open(settings, tmp_path / "a") as run:
        far = Owner("elsewhere", 4_000_000, 1.0)
        run.set_tags({"seqmarket.host": far.host, "seqmarket.pid": far.pid})
        with _open(settings, tmp_path / "b"):
            pass
        assert client.get_run(run.run_id).info.status == "RUNNING"


def test_a_resumed_run_goes_on_in_the_same_mlflow_run(
    settings: TrackingSettings, client: Any, tmp_path: Path
) -> None:
    with _open(settings, tmp_path / "run") as first:
        first.log_params({"lr": 0.1, "d": 8})
        first.log_metrics({"loss": 3.0}, 1)
        first.log_metrics({"loss": 2.0}, 2)
    assert client.get_run(first.run_id).info.status == "FINISHED"

    with _open(settings, tmp_path / "run", resume=True) as second:
        assert second.run_id == first.run_id
        assert client.get_run(second.run_id).info.status == "RUNNING"
        second.log_params({"lr": 0.2, "d": 8, "max_epochs": 3})
        second.log_metrics({"loss": 2.0}, 2)
        second.log_metrics({"loss": 1.0}, 3)

    seen = client.get_run(second.run_id)
    assert seen.info.status == "FINISHED"
    assert seen.data.params == {"lr": "0.1", "d": "8", "max_epochs": "3"}
    assert seen.data.tags["seqmarket.changed.lr"] == "0.1 -> 0.2"
    points = [(p.step, p.value) for p in client.get_metric_history(second.run_id, "loss")]
    assert points == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert second.record.history() == {"loss": {1: 3.0, 2: 2.0, 3: 1.0}}


def test_a_run_deleted_in_mlflow_is_recorded_anew_when_resumed(
    settings: TrackingSettings, client: Any, tmp_path: Path
) -> None:
    with _open(settings, tmp_path / "run") as first:
        first.log_params({"lr": 0.1})
    client.delete_run(first.run_id)
    with _open(settings, tmp_path / "run", resume=True) as second:
        pass
    assert second.run_id != first.run_id
    assert client.get_run(second.run_id).data.params == {"lr": "0.1"}


def test_a_new_run_in_a_used_directory_keeps_the_old_record(
    settings: TrackingSettings, tmp_path: Path
) -> None:
    with _open(settings, tmp_path / "run") as first:
        first.log_metrics({"loss": 1.0})
    with _open(settings, tmp_path / "run") as second:
        pass
    assert second.run_id != first.run_id
    assert second.record.history() == {}
    assert RunRecord(tmp_path / "run" / "tracking.1").history() == {"loss": {0: 1.0}}


def test_more_and_longer_values_than_one_batch_may_hold(
    settings: TrackingSettings, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    largest: dict[str, int] = {}
    log_batch = MlflowClient.log_batch

    def measured(self: Any, run_id: str, **entities: Any) -> None:
        for kind in ("metrics", "params", "tags"):
            largest[kind] = max(largest.get(kind, 0), len(entities.get(kind, ())))
        log_batch(self, run_id, **entities)

    monkeypatch.setattr(MlflowClient, "log_batch", measured)
    with _open(settings, tmp_path / "run") as run:
        run.log_params({f"p{i}": i for i in range(250)})
        run.log_params({"long": "x" * 7000})
        run.set_tags({f"t{i}": i for i in range(250)})
        run.set_tags({"long": "y" * 9000})
        run.log_metrics({f"m{i}": i for i in range(2500)})

    assert largest == {"metrics": 1000, "params": 100, "tags": 100}
    seen = client.get_run(run.run_id)
    assert len(seen.data.params) == 251
    assert seen.data.params["long"].endswith("[cut: 7000 characters in all]")
    assert ("x" * 7000) in run.record.artifacts()["params.json"].read_text()
    assert [file.path for file in client.list_artifacts(run.run_id)] == ["params.json"]
    assert {f"t{i}" for i in range(250)} <= set(seen.data.tags)
    assert seen.data.tags["long"].endswith("[cut: 9000 characters in all]")
    assert len(seen.data.metrics) == 2500


def test_values_that_are_not_finite_are_named_in_a_tag(
    settings: TrackingSettings, client: Any, tmp_path: Path
) -> None:
    with _open(settings, tmp_path / "run") as run:
        run.log_metrics({"a": math.nan, "b": math.inf, "c": 1.0}, 1)
        run.log_metrics({"a": 0.5}, 2)

    seen = client.get_run(run.run_id)
    assert seen.data.metrics == {"a": 0.5, "c": 1.0}
    assert seen.data.tags["seqmarket.not_finite"] == "a, b"
    assert math.isnan(run.record.history()["a"][1])


def test_tracking_switched_off_keeps_the_local_record(
    settings: TrackingSettings, tmp_path: Path
) -> None:
    with _open(settings.model_copy(update={"enabled": False}), tmp_path / "run") as run:
        run.log_metrics({"loss": 1.0}, 1)
    assert run.run_id is None
    assert "tracking.enabled=false" in run.address
    assert RunRecord(tmp_path / "run" / "tracking").history() == {"loss": {1: 1.0}}


def test_only_the_first_process_of_a_distributed_run_records(
    settings: TrackingSettings, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with _open(settings, tmp_path / "run") as run:
        run.log_metrics({"loss": 1.0}, 1)
    assert run.run_id is None
    assert not (tmp_path / "run").exists()
    assert client.get_experiment_by_name("seqmarket") is None


def test_artifacts_are_uploaded_once_unless_they_change(
    settings: TrackingSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    uploads = []
    upload = MlflowClient.log_artifact

    def counted(self: Any, run_id: str, path: str, folder: str | None = None) -> None:
        uploads.append(Path(path).name)
        upload(self, run_id, path, folder)

    monkeypatch.setattr(MlflowClient, "log_artifact", counted)
    with _open(settings, tmp_path / "run") as run:
        run.log_text("1", "a.txt")
        run.log_text("2", "b.txt")
        run.log_text("changed", "a.txt")
        run.log_metrics({"loss": 1.0})
    assert uploads == ["a.txt", "b.txt", "a.txt"]


def test_the_settings_and_the_package_load_without_mlflow(
    start_script: Callable[..., subprocess.Popen[str]],
) -> None:
    code = (
        "import sys, seqmarket.training.tracking;"
        "heavy = {'mlflow', 'sqlalchemy', 'torch', 'polars', 'matplotlib'} & set(sys.modules);"
        "print(sorted(heavy))"
    )
    assert start_script(code).communicate(timeout=30)[0].strip() == "[]"
