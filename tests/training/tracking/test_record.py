from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from seqmarket.data.sealed import state, write_sealed
from seqmarket.errors import SeqmarketError
from seqmarket.training.tracking.owner import Owner
from seqmarket.training.tracking.record import RunRecord, write_atomic


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    return RunRecord.create(
        tmp_path / "tracking", name="lstm", description="d", experiment="x", uri="http://h"
    )


def test_a_record_reads_back_as_it_was_written(record: RunRecord, tmp_path: Path) -> None:
    source = tmp_path / "best.ckpt"
    source.write_bytes(b"\0weights")
    record.add_params({"lr": "0.1"})
    record.add_tags({"stage": "fit"})
    record.add_tags({"stage": "test", "größe": "ß"})
    record.add_metrics({"loss": 0.5, "auroc": 0.25}, 1)
    record.add_dataset({"name": "n", "profile": {"rows": 3}})
    record.add_dataset({"name": "n", "profile": {"rows": 3}})
    record.add_file(source, "checkpoints")
    record.write_artifact("config.yaml", b"a: 1\n")
    record.set_status("FINISHED")

    again = RunRecord(record.folder)

    assert again.about == record.about
    assert again.about["name"] == "lstm"
    assert again.params == {"lr": "0.1"}
    assert again.tags == {"stage": "test", "größe": "ß"}
    assert again.history() == {"auroc": {1: 0.25}, "loss": {1: 0.5}}
    assert again.points == record.points
    assert again.datasets == [{"name": "n", "profile": {"rows": 3}}]
    contents = {name: path.read_bytes() for name, path in again.artifacts().items()}
    assert contents == {"checkpoints/best.ckpt": b"\0weights", "config.yaml": b"a: 1\n"}
    assert again.status == "FINISHED"
    assert again.end_time is not None
    assert not list(record.folder.rglob("*.tmp"))


def test_history_keeps_the_last_value_of_a_step_and_sorts_the_steps(record: RunRecord) -> None:
    record.add_metrics({"loss": 3.0}, 10)
    record.add_metrics({"loss": 2.0}, 9)
    record.add_metrics({"loss": 1.0}, 10)

    assert list(RunRecord(record.folder).history()["loss"].items()) == [(9, 2.0), (10, 1.0)]


def test_a_repeated_point_is_not_written_again(record: RunRecord) -> None:
    record.add_metrics({"loss": 3.0, "bad": math.nan}, 1)
    again = RunRecord(record.folder)
    again.add_metrics({"loss": 3.0, "bad": math.nan}, 1)
    again.add_metrics({"loss": 3.0}, 2)

    assert [(p.name, p.step) for p in RunRecord(record.folder).points] == [
        ("loss", 1),
        ("bad", 1),
        ("loss", 2),
    ]


def test_values_that_are_not_finite_survive(record: RunRecord) -> None:
    record.add_metrics({"a": math.nan, "b": math.inf, "c": -math.inf}, 0)

    history = RunRecord(record.folder).history()

    assert math.isnan(history["a"][0])
    assert (history["b"][0], history["c"][0]) == (math.inf, -math.inf)


def test_a_line_cut_by_a_kill_costs_that_line_only(record: RunRecord) -> None:
    record.add_metrics({"loss": 1.0}, 1)
    with (record.folder / "metrics.jsonl").open("a") as file:
        file.write('{"name": "loss", "value": 0.5, "st')

    resumed = RunRecord(record.folder)
    resumed.add_metrics({"loss": 0.25}, 2)

    assert RunRecord(record.folder).history() == {"loss": {1: 1.0, 2: 0.25}}


def test_parameters_keep_their_first_value(record: RunRecord) -> None:
    assert record.add_params({"lr": "0.1", "d": "8"}) == {}
    assert record.add_params({"lr": "0.2", "d": "8", "new": "1"}) == {"lr": "0.2"}
    assert RunRecord(record.folder).params == {"lr": "0.1", "d": "8", "new": "1"}


def test_an_artifact_may_have_the_name_of_a_file_of_the_record(record: RunRecord) -> None:
    record.add_params({"lr": "0.1"})
    record.write_artifact("params.json", b"mine")

    assert RunRecord(record.folder).params == {"lr": "0.1"}
    assert record.artifacts()["params.json"].read_bytes() == b"mine"


def test_a_folder_is_copied_with_all_it_holds(record: RunRecord, tmp_path: Path) -> None:
    (tmp_path / "plots" / "inner").mkdir(parents=True)
    (tmp_path / "plots" / "a.svg").write_text("a")
    (tmp_path / "plots" / "inner" / "b.svg").write_text("b")

    names = record.add_file(tmp_path / "plots", "out")

    assert names == ["out/plots/a.svg", "out/plots/inner/b.svg"]
    assert list(record.artifacts()) == names


def test_a_file_is_copied_with_its_digest(record: RunRecord, tmp_path: Path) -> None:
    for text in ("one", "two"):
        write_sealed(tmp_path / "model.ckpt", partial(_write, text))
        names = record.add_file(tmp_path / "model.ckpt", "checkpoints")
        assert names == ["checkpoints/model.ckpt", "checkpoints/model.ckpt.sha256"]
        assert list(record.artifacts()) == names
        assert state(record.artifacts()[names[0]]) == "intact"


def _write(text: str, path: Path) -> None:
    path.write_text(text)


@pytest.mark.parametrize("name", ["../escape.txt", "/etc/passwd", "a/../../b", ""])
def test_an_artifact_cannot_leave_its_folder(record: RunRecord, name: str) -> None:
    with pytest.raises(ValueError, match="relative name"):
        record.write_artifact(name, b"")


def test_a_run_whose_process_is_gone_was_killed(
    record: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert record.status == "RUNNING"
    monkeypatch.setattr(Owner, "is_gone", lambda _: True)
    assert record.status == "KILLED"


def test_an_owner_is_gone_only_if_that_is_certain() -> None:
    this = Owner.current()
    assert not this.is_gone()
    assert not this.is_other()
    assert Owner(this.host, this.pid, this.started - 60).is_gone()  # the number was given again
    assert not Owner("elsewhere", this.pid, this.started - 60).is_gone()


def test_a_folder_without_a_record_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(SeqmarketError, match="not the record of a run"):
        RunRecord(tmp_path)


def _write_in_place(path: Path, content: bytes) -> None:
    """The mutant: what a plain write does."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _survives_a_crash(
    write: Callable[[Path, bytes], None], path: Path, monkeypatch: pytest.MonkeyPatch
) -> bool:
    """Whether the old content is still there when the writer dies before its data is on disk."""

    def crash(_: int) -> None:
        raise KeyboardInterrupt

    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", crash)
        with pytest.raises(KeyboardInterrupt):
            write(path, b"new")
    return path.read_bytes() == b"old" and list(path.parent.iterdir()) == [path]


def test_a_crash_while_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _survives_a_crash(write_atomic, tmp_path / "tags.json", monkeypatch)


def test_mutant_a_plain_write_does_not_survive_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not _survives_a_crash(_write_in_place, tmp_path / "tags.json", monkeypatch)
