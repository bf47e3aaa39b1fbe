"""A fit that was broken off within an epoch goes on with the batches that the epoch has left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from seqmarket.cli.compose import load_plain
from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.data.datasets import TrainingOrder
from seqmarket.data.store import SequenceStore
from seqmarket.errors import SeqmarketError
from seqmarket.training.config import config_digest, parse_config
from seqmarket.training.fit import fit
from seqmarket.training.learner import JourneyLearner
from seqmarket.training.objectives import make_objectives
from seqmarket.training.tasks import Task

SMALL = [
    "data=synthetic",
    "model=gru",
    "model.d_model=8",
    "training.head_hidden=8",
    "training.max_epochs=3",
    "training.checkpoint_every=3",
    "trainer.limit_val_batches=1",
]
BY_TOKENS = "training.batch_tokens=160"
Weights = dict[str, torch.Tensor]


class BrokenOffError(Exception):
    pass


class Fits:
    """Fits of one small model, each with a data module of its own.

    Attributes:
        steps: The steps of the newest fit.
        stop_at: The step at which the next fit fails.
    """

    def __init__(self, store: SequenceStore, tasks: Mapping[str, Task], folder: Path) -> None:
        self._store = store
        self._tasks = tasks
        self._folder = folder
        self.steps: list[int] = []
        self.stop_at: int | None = None

    def data(self, *overrides: str) -> JourneyDataModule:
        training = parse_config(load_plain([*SMALL, *overrides])).training
        return JourneyDataModule(
            self._store,
            {name: task.rule for name, task in self._tasks.items()},
            {
                name: objective.points
                for name, objective in make_objectives(self._tasks, training).items()
            },
            batch_size=8,
            batch_tokens=training.batch_tokens,
            eval_tokens=400,
            seed=1,
            num_workers=training.num_workers,
            worker_start=training.worker_start,
        )

    def run(self, name: str, *overrides: str, go_on: bool = False) -> Weights:
        """Returns all weights of the last checkpoint: those in use, and the averaged ones."""
        self.steps = []
        last = self._folder / name / "last.ckpt"
        fit(
            parse_config(load_plain([*SMALL, *overrides])),
            self._tasks,
            self.data(*overrides),
            checkpoints=last.parent,
            resume_from=last if go_on else None,
            provenance={},
            report=lambda *_: None,
        )
        content = torch.load(last, weights_only=True)
        averaged = {f"averaged {name}": value for name, value in content["state_dict"].items()}
        return {**content["current_model_state"], **averaged}

    def broken_off(self, name: str, step: int, *overrides: str) -> None:
        self.stop_at = step
        with pytest.raises(BrokenOffError):
            self.run(name, *overrides)
        self.stop_at = None


@pytest.fixture
def fits(
    store: SequenceStore,
    tasks: Mapping[str, Task],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Fits:
    made = Fits(store, tasks, tmp_path)
    original = JourneyLearner.training_step

    def counted(learner: JourneyLearner, batch: Any, batch_idx: int) -> torch.Tensor:
        if learner.global_step == made.stop_at:
            raise BrokenOffError
        made.steps.append(learner.global_step)
        return original(learner, batch, batch_idx)

    monkeypatch.setattr(JourneyLearner, "training_step", counted)
    return made


def same(left: Weights, right: Weights) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.mark.parametrize("dealt", ["training.batch_tokens=null", BY_TOKENS])
@pytest.mark.parametrize("epoch", [0, 1])
def test_the_rest_of_an_epoch_is_all_that_is_repeated(fits: Fits, dealt: str, epoch: int) -> None:
    straight = fits.run("straight", dealt)
    per_epoch = len(fits.data(dealt).training_set(0))
    assert per_epoch > 5
    total = len(fits.steps)
    broken = epoch * per_epoch + 5
    fits.broken_off("broken", broken, dealt)
    resumed = fits.run("broken", dealt, go_on=True)
    # The newest checkpoint was made after the third batch of the epoch.
    assert fits.steps == list(range(broken - 2, total))
    assert same(straight, resumed)


def test_an_epoch_that_starts_again_in_its_middle_is_noticed(
    fits: Fits, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = fits.run("straight")
    fits.broken_off("broken", 5)
    begin = TrainingOrder.begin
    monkeypatch.setattr(TrainingOrder, "begin", lambda self, epoch, done=0: begin(self, epoch))
    assert not same(straight, fits.run("broken", go_on=True))


def test_it_goes_on_from_the_end_of_an_epoch_as_well(fits: Fits) -> None:
    straight = fits.run("straight", BY_TOKENS)
    total, per_epoch = len(fits.steps), len(fits.data(BY_TOKENS).training_set(0))
    fits.broken_off("broken", per_epoch + 1, BY_TOKENS)
    resumed = fits.run("broken", BY_TOKENS, go_on=True)
    assert fits.steps == list(range(per_epoch, total))
    assert same(straight, resumed)


@pytest.mark.slow
def test_loader_processes_change_nothing_about_it(fits: Fits) -> None:
    straight = fits.run("straight", BY_TOKENS)
    for workers, start in ((1, "forkserver"), (2, "spawn")):
        how = [f"training.num_workers={workers}", f"training.worker_start={start}"]
        fits.broken_off(start, 5, BY_TOKENS, *how)
        assert same(straight, fits.run(start, BY_TOKENS, *how, go_on=True))
    # Nor need their number stay the same.
    fits.broken_off("other", 5, BY_TOKENS)
    assert same(straight, fits.run("other", BY_TOKENS, "training.num_workers=1", go_on=True))


def test_an_epoch_is_not_finished_with_other_batches(fits: Fits) -> None:
    fits.broken_off("broken", 5)
    with pytest.raises(SeqmarketError, match=r"training\.batch_tokens None, not 160"):
        fits.run("broken", BY_TOKENS, go_on=True)


def test_how_batches_are_loaded_is_no_part_of_what_is_computed() -> None:
    plain = load_plain(SMALL)
    for change in (
        "training.num_workers=2",
        "training.worker_start=spawn",
        "training.prefetch=9",
        "training.checkpoint_every=7",
    ):
        assert config_digest(load_plain([*SMALL, change])) == config_digest(plain)
    assert config_digest(load_plain([*SMALL, BY_TOKENS])) != config_digest(plain)


def test_fork_is_refused_before_anything_starts() -> None:
    with pytest.raises(SeqmarketError, match=r"training\.worker_start: 'fork' is refused.*hangs"):
        parse_config(load_plain([*SMALL, "training.worker_start=fork"]))
    with pytest.raises(SeqmarketError, match=r"worker_start: expected 'forkserver' or 'spawn'"):
        parse_config(load_plain([*SMALL, "training.worker_start=thread"]))
