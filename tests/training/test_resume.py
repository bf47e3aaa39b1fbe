"""What `ckpt_path` means: the newest run with the same settings, or a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from seqmarket.cli.compose import load_plain
from seqmarket.errors import SeqmarketError
from seqmarket.training import resume
from seqmarket.training.config import config_digest, parse_config
from seqmarket.training.resume import StartingPoint, remember, starting_point

Plain = dict[str, Any]


@pytest.fixture(scope="module")
def composed() -> Plain:
    return load_plain(["data=synthetic", "model=gru"])


@pytest.fixture
def plain(composed: Plain, tmp_path: Path) -> Plain:
    return {**composed, "paths": {**composed["paths"], "output_dir": str(tmp_path)}}


def changed(plain: Plain, key: str, value: object) -> Plain:
    first, _, rest = key.partition(".")
    return {**plain, first: changed(plain[first], rest, value) if rest else value}


def earlier_run(plain: Plain, folder: Path, *checkpoints: str, age: float = 0) -> Path:
    """A run that was started `age` seconds ago, and got as far as these checkpoints."""
    remember(StartingPoint(folder, None, continued=False), plain)
    for name in checkpoints:
        (folder / "checkpoints").mkdir(exist_ok=True)
        (folder / "checkpoints" / f"{name}.ckpt").touch()
    file = folder / resume.SETTINGS_FILE
    moment = file.stat().st_mtime - age
    os.utime(file, (moment, moment))
    return folder


def start(plain: Plain, wanted: str | None, folder: Path) -> StartingPoint:
    plain = {**plain, "ckpt_path": wanted}
    return starting_point(parse_config(plain), plain, folder)


def test_without_a_wish_the_run_is_new(plain: Plain, tmp_path: Path) -> None:
    earlier_run(plain, tmp_path / "a", "last")
    fresh = tmp_path / "new"
    assert start(plain, None, fresh) == StartingPoint(fresh, None, continued=False)
    assert not fresh.exists()


@pytest.mark.parametrize("wanted", ["last", "best"])
def test_an_earlier_start_is_continued_in_its_folder(
    plain: Plain, tmp_path: Path, wanted: str
) -> None:
    folder = earlier_run(plain, tmp_path / "runs" / "2026" / "a", "last", "best")
    point = start(plain, wanted, tmp_path / "new")
    assert point == StartingPoint(folder, folder / "checkpoints" / f"{wanted}.ckpt", continued=True)


def test_each_kind_of_checkpoint_is_looked_for(plain: Plain, tmp_path: Path) -> None:
    earlier_run(plain, tmp_path / "a", "last")
    with pytest.raises(SeqmarketError, match="has a best checkpoint"):
        start(plain, "best", tmp_path / "new")


def the_newest_wins(plain: Plain, tmp_path: Path) -> None:
    earlier_run(plain, tmp_path / "b", "last", age=200)
    newest = earlier_run(plain, tmp_path / "c", "last", age=100)
    earlier_run(plain, tmp_path / "a", "last", age=300)
    earlier_run(plain, tmp_path / "d", age=50)  # interrupted before its first checkpoint
    earlier_run(changed(plain, "seed", 2), tmp_path / "e", "last")  # another run altogether
    assert start(plain, "last", tmp_path / "new").run_dir == newest


def test_the_newest_start_that_has_a_checkpoint_wins(plain: Plain, tmp_path: Path) -> None:
    the_newest_wins(plain, tmp_path)


def test_a_search_by_name_or_without_the_digest_is_noticed(
    plain: Plain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "config_digest", lambda plain: "the same for all")
    with pytest.raises(AssertionError):
        the_newest_wins(plain, tmp_path / "one")

    def by_name(output_dir: Path, digest: str, checkpoint: str) -> Path | None:
        return max(output_dir.rglob(f"checkpoints/{checkpoint}")).parents[1]

    monkeypatch.undo()
    monkeypatch.setattr(resume, "_newest_run", by_name)
    with pytest.raises(AssertionError):
        the_newest_wins(plain, tmp_path / "two")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "another"),
        ("ckpt_path", "last"),
        ("paths.cache_dir", "elsewhere"),
        ("tracking.enabled", False),
        ("training.max_epochs", 99),
    ],
)
def test_what_may_change_between_a_run_and_its_continuation(
    plain: Plain, key: str, value: object
) -> None:
    assert config_digest(changed(plain, key, value)) == config_digest(plain)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 2),
        ("model.d_model", 7),
        ("data.n_customers", 3),
        ("data.split.kind", "cohort"),
        ("task.churn.window", "7d"),
        ("training.batch_size", 3),
        ("training.optimizer.lr", 0.1),
        ("trainer.precision", "bf16-mixed"),
        ("baselines", {}),
    ],
)
def test_what_makes_it_another_run(plain: Plain, key: str, value: object) -> None:
    assert config_digest(changed(plain, key, value)) != config_digest(plain)


def test_a_run_of_other_settings_is_not_continued(plain: Plain, tmp_path: Path) -> None:
    earlier_run(changed(plain, "model.d_model", 7), tmp_path / "a", "last", "best")
    with pytest.raises(SeqmarketError, match="no earlier run with these settings") as caught:
        start(plain, "last", tmp_path / "new")
    assert str(tmp_path) in str(caught.value)


def test_a_file_starts_a_new_run(plain: Plain, tmp_path: Path) -> None:
    folder = earlier_run(changed(plain, "seed", 5), tmp_path / "a", "best")
    file = folder / "checkpoints" / "best.ckpt"
    fresh = tmp_path / "new"
    assert start(plain, str(file), fresh) == StartingPoint(fresh, file, continued=False)
    with pytest.raises(SeqmarketError, match="no such checkpoint"):
        start(plain, str(file.with_name("worst.ckpt")), fresh)
    with pytest.raises(SeqmarketError, match="no such checkpoint"):
        start(plain, str(folder), fresh)
