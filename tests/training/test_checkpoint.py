"""Checkpoints: whole or not at all, safe to load, and all that is needed to ask the model again."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.errors import SeqmarketError
from seqmarket.metrics.calibration import PlattScaling, TemperatureScaling
from seqmarket.training import checkpoint
from seqmarket.training.checkpoint import (
    AtomicCheckpointIO,
    build_model,
    load_trained,
    provenance,
    save_atomically,
    save_trained,
)
from seqmarket.training.data import open_data
from seqmarket.training.predictors import DeepPredictor
from seqmarket.training.run import make_datamodule

Save = Callable[[Mapping[str, Any], Path], None]


class Disk(NamedTuple):
    """A checkpoint on a disk that fills up in the middle of the next one."""

    path: Path
    before: dict[str, bytes]


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    path = tmp_path / "checkpoints" / "last.ckpt"
    save_atomically({"epoch": 1}, path)
    before = content(path.parent)

    def half(content: object, file: Any, *_: object) -> None:
        if isinstance(file, Path):
            file.write_bytes(b"PK half of")
        else:
            file.write(b"PK half of")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", half)
    return Disk(path, before)


def keeps_what_was_there(save: Save, disk: Disk) -> None:
    with pytest.raises(OSError, match="No space left"):
        save({"epoch": 2}, disk.path)
    assert content(disk.path.parent) == disk.before


def test_a_failed_write_leaves_the_old_file(full_disk: Disk) -> None:
    keeps_what_was_there(save_atomically, full_disk)


def test_lightning_writes_the_same_way(full_disk: Disk) -> None:
    keeps_what_was_there(AtomicCheckpointIO().save_checkpoint, full_disk)


def test_a_write_in_place_is_noticed(full_disk: Disk) -> None:
    def in_place(content: Mapping[str, Any], path: Path) -> None:
        torch.save(dict(content), path)

    with pytest.raises(AssertionError):
        keeps_what_was_there(in_place, full_disk)


def test_a_write_that_leaves_its_rubbish_is_noticed(full_disk: Disk) -> None:
    def beside(content: Mapping[str, Any], path: Path) -> None:
        torch.save(dict(content), path.with_suffix(".writing"))
        path.with_suffix(".writing").replace(path)

    with pytest.raises(AssertionError):
        keeps_what_was_there(beside, full_disk)


def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.ckpt"
    save_atomically({"epoch": 1}, path)
    before = content(tmp_path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_atomically({"epoch": 2}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert content(tmp_path) == before


def test_a_write_replaces_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.ckpt"
    for epoch in (1, 2):
        save_atomically({"epoch": epoch}, path)
        assert torch.load(path, weights_only=True) == {"epoch": epoch}


class Alien:
    """Something that would have to be run to be loaded."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return pytest.fail, ("the checkpoint ran code",)


def foreign(path: Path) -> dict[str, Callable[[], object]]:
    return {
        "empty": path.touch,
        "garbage": lambda: path.write_bytes(b"\x80\x04 no checkpoint" * 9),
        "text": lambda: path.write_text("epoch: 1"),
        "list": lambda: torch.save([1, 2], path),
        "tensor": lambda: torch.save(torch.zeros(2), path),
        "other": lambda: torch.save({"state_dict": {}, "epoch": 3}, path),
        "weightless": lambda: torch.save({"seqmarket": {}}, path),
        "pickle": lambda: path.write_bytes(pickle.dumps(Alien())),
        "code": lambda: torch.save({"state_dict": {}, "seqmarket": Alien()}, path),
    }


@pytest.mark.parametrize("kind", list(foreign(Path())))
def test_other_files_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.ckpt"
    foreign(path)[kind]()
    with pytest.raises(SeqmarketError, match="not a checkpoint of seqmarket") as caught:
        load_trained(path)
    assert caught.value.where == str(path)


def test_half_a_checkpoint_is_refused(gru_run, tmp_path: Path) -> None:
    content = gru_run.model_file.read_bytes()
    path = tmp_path / "half.ckpt"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(SeqmarketError, match="not a checkpoint"):
        load_trained(path)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.ckpt", tmp_path):
        with pytest.raises(SeqmarketError, match="there is no checkpoint"):
            load_trained(path)


def test_the_round_trip_gives_equal_predictions(gru_run, tmp_path: Path) -> None:
    first = load_trained(gru_run.model_file)
    store = open_data(first.config)
    data = make_datamodule(first.config, store, first.tasks)
    torch.manual_seed(9)
    model = build_model(first.config.model, first.spec, first.tasks, first.config.training)
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.3)
    facts = provenance(first.plain_config, store)
    facts["calibrations"] = {
        "churn": PlattScaling(1.5, -0.5).to_dict(),
        "next_channel": TemperatureScaling(0.7).to_dict(),
    }
    path = tmp_path / "model.ckpt"
    save_trained(path, model, facts)
    second = load_trained(path)
    assert second.model is not None
    assert second.spec == store.spec
    assert second.config == first.config
    assert second.tasks == first.tasks
    assert second.store_fingerprint == store.fingerprint
    assert second.gate == store.gate is not None
    assert second.calibrations == {
        "churn": PlattScaling(1.5, -0.5),
        "next_channel": TemperatureScaling(0.7),
    }
    tables = data.tables("test")
    left, right = (
        DeepPredictor(m, first.tasks, store.events, store.spec, tokens=2_000).predict(tables)
        for m in (model, second.model)
    )
    assert all(np.array_equal(left[name], right[name]) for name in tables)


@pytest.mark.parametrize("name", ["best", "last"])
def test_a_checkpoint_of_the_middle_loads(gru_run, name: str) -> None:
    path = gru_run.folder / "checkpoints" / f"{name}.ckpt"
    content = torch.load(path, weights_only=True)
    facts = {"config", "spec", "store_fingerprint", "gate", "calibrations"}
    assert facts == set(content["seqmarket"])
    assert "optimizer_states" in content
    middle = load_trained(path)
    assert middle.calibrations == {}
    assert middle.model is not None
    final = load_trained(gru_run.model_file)
    assert middle.spec == final.spec
    assert middle.config == final.config
    assert set(final.calibrations) == {"next_channel", "purchase", "churn", "value"}


def test_the_final_model_is_the_best_one_without_the_optimizer(gru_run) -> None:
    content = torch.load(gru_run.model_file, weights_only=True)
    assert set(content) == {"state_dict", "seqmarket"}
    best = torch.load(gru_run.folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert all(torch.equal(best["state_dict"][k], v) for k, v in content["state_dict"].items())


def test_a_baseline_leaves_its_settings(logistic_run) -> None:
    trained = load_trained(logistic_run.model_file)
    assert trained.model is None
    assert set(trained.calibrations) == {"purchase", "churn"}
    assert trained.config.model.target.endswith("RfmLogistic")


def test_weights_of_another_shape_do_not_pass(gru_run, tmp_path: Path) -> None:
    content = torch.load(gru_run.model_file, weights_only=True)
    name = next(iter(content["state_dict"]))
    del content["state_dict"][name]
    save_atomically(content, tmp_path / "a.ckpt")
    with pytest.raises(RuntimeError, match="Missing key"):
        load_trained(tmp_path / "a.ckpt")


def test_the_fixture_has_rows(data: JourneyDataModule) -> None:
    assert all(len(table) > 20 for table in data.tables("test").values())
