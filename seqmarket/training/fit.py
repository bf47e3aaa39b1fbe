"""Fits a deep model with Lightning, so that the same command gives bitwise the same weights."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import (
    Checkpoint,
    EarlyStopping,
    ModelCheckpoint,
    RichProgressBar,
    WeightAveraging,
)
from torch import Tensor

from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.data.engine.allocation import tune_for_training
from seqmarket.errors import SeqmarketError
from seqmarket.nn.ensemble import JourneyEnsemble
from seqmarket.nn.journey_model import JourneyModel
from seqmarket.training.checkpoint import AtomicCheckpointIO, build_model, check_whole
from seqmarket.training.config import RunConfig
from seqmarket.training.instantiate import build
from seqmarket.training.learner import JourneyLearner
from seqmarket.training.objectives import make_objectives
from seqmarket.training.tasks import Task

log = logging.getLogger(__name__)
# What Lightning says of the machine and of products is no news of the run.
logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)

MONITOR = "validation/loss"
EpochMetrics = Callable[[Mapping[str, float], int], None]
"""Called after each epoch with its metrics and its number, from 1."""


@dataclass(frozen=True)
class Outcome:
    """What a fit came to, in numbers.

    Attributes:
        epochs: Epochs completed, those before a resumption included.
        best_epoch: The epoch of the weights, from 1; None where several models have their own.
        seconds: Wall time of this fit.
        events_per_second: Real (unpadded) events through training steps per second of the fit.
    """

    epochs: int
    best_epoch: int | None
    seconds: float
    events_per_second: float


@dataclass(frozen=True)
class Fitted:
    """A fitted model.

    Attributes:
        model: With the weights of the best epoch.
        device: Where it was trained.
        outcome: What the fit came to.
        is_global_zero: Whether this is the process that reports.
        alone: The first member of an ensemble; None where the model is none.
    """

    model: JourneyModel | JourneyEnsemble
    device: torch.device
    outcome: Outcome
    is_global_zero: bool
    alone: JourneyModel | None = None


Average = Callable[[list[Tensor], list[Tensor], Tensor | int], None]
"""Moves averaged parameters towards the current ones, given the number of earlier averages."""


def growing_average(decay: float) -> Average:
    """An exponential moving average that forgets the first, untrained weights quickly.

    Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging" (1992), for
    the average; the decay grows as ``(1 + n) / (10 + n)`` up to the given one, so that short fits
    are averaged over fewer steps.
    """

    def average(averaged: list[Tensor], current: list[Tensor], n_averaged: Tensor | int) -> None:
        n = torch.as_tensor(n_averaged, dtype=torch.float32, device=averaged[0].device)
        # Kept as a tensor: to read it would wait for the device.
        weight = 1.0 - torch.clamp((1.0 + n) / (10.0 + n), max=decay)
        torch._foreach_lerp_(averaged, current, [weight] * len(averaged))

    return average


class EpochReport(Callback):
    """Hands each epoch's metrics on, and says them in one line where there is no progress bar."""

    def __init__(self, report: EpochMetrics, *, say: bool) -> None:
        self._report = report
        self._say = say
        self._started = 0.0
        self.events = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock, as a fit that goes on within an epoch does not start one."""
        self._started = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the epoch's clock."""
        self._started = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts real events."""
        self.events += batch.events

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reports the epoch."""
        if not trainer.is_global_zero:
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        metrics["learning_rate"] = float(trainer.optimizers[0].param_groups[0]["lr"])
        metrics["epoch_seconds"] = time.monotonic() - self._started
        self._report(metrics, trainer.current_epoch + 1)
        if self._say:
            log.info(
                "epoch %2d  training loss %.4f  validation loss %.4f  %.1f s",
                trainer.current_epoch + 1,
                metrics["train/loss"],
                metrics[MONITOR],
                metrics["epoch_seconds"],
            )


class LastCheckpoint(Checkpoint):
    """Renews the checkpoint from which a run that was broken off goes on.

    Lightning's own `save_last` writes it in epochs that are the best so far only.

    Args:
        path: The file.
        every: Steps after which it is renewed, counted from the start of an epoch; the end of an
            epoch renews it as well.
    """

    def __init__(self, path: Path, every: int) -> None:
        self._path = path
        self._every = every

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Writes it within an epoch."""
        done = batch_idx + 1
        if done % self._every == 0 and done < trainer.num_training_batches:
            trainer.save_checkpoint(self._path)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes it at the end of an epoch."""
        trainer.save_checkpoint(self._path)


def fit(
    config: RunConfig,
    tasks: Mapping[str, Task],
    data: JourneyDataModule,
    *,
    checkpoints: Path,
    resume_from: Path | None,
    provenance: Mapping[str, Any],
    report: EpochMetrics,
    encoder: Mapping[str, Tensor] | None = None,
) -> Fitted:
    """Trains the configured model until the validation loss stops falling.

    Args:
        config: The run.
        tasks: The tasks.
        data: The journeys.
        checkpoints: Folder of `best.ckpt` and `last.ckpt`.
        resume_from: A checkpoint to go on from.
        provenance: What each checkpoint carries besides the weights.
        report: Receives each epoch's metrics.
        encoder: Weights that the encoder starts from; None: untrained.
    """
    spec = data.store.spec
    torch.manual_seed(config.seed)
    model = build_model(config.model, spec, tasks, config.training)
    if encoder is not None:
        model.encoder.load_state_dict(encoder)
    for name, points in data.training_points().items():
        head: Any = model.heads[name]
        head.start_from(*(torch.from_numpy(column) for column in points))
    learner = JourneyLearner(
        model,
        tasks,
        make_objectives(tasks, config.training),
        spec,
        make_optimizer=lambda groups: build(
            config.training.optimizer, groups, prefix="training.optimizer."
        ),
        usual_weight=data.usual_weight(),
        settings=config.training,
        seed=config.seed,
        provenance=provenance,
    )
    bar = config.trainer.enable_progress_bar
    bar = sys.stderr.isatty() if bar is None else bar
    best = ModelCheckpoint(
        checkpoints,
        filename="best",
        monitor=MONITOR,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    epochs = EpochReport(report, say=not bar)
    callbacks: list[Callback] = [
        EarlyStopping(MONITOR, patience=config.training.patience, check_on_train_epoch_end=True),
        epochs,
        best,
        # After all others, whose state it holds.
        LastCheckpoint(checkpoints / "last.ckpt", config.training.checkpoint_every),
    ]
    if config.training.ema_decay is not None:
        average = growing_average(config.training.ema_decay)
        callbacks.insert(0, WeightAveraging(use_buffers=False, multi_avg_fn=average))
    if bar:
        callbacks.append(RichProgressBar(leave=False))
    try:
        trainer = Trainer(
            max_epochs=config.training.max_epochs,
            gradient_clip_val=config.training.gradient_clip,
            logger=False,
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO()],
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
            enable_model_summary=False,
            enable_progress_bar=bar,
            **config.trainer.model_dump(exclude={"enable_progress_bar"}),
        )
    except (MisconfigurationException, ValueError) as error:
        raise SeqmarketError(
            str(error).splitlines()[0], where="trainer", fix="see conf/trainer/ for what works"
        ) from error
    tune_for_training()
    started = time.monotonic()
    try:
        with warnings.catch_warnings():
            # A resumed run writes where it wrote before.
            warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
            # The order is ours, workers are off by choice, and an epoch may be few batches.
            warnings.filterwarnings("ignore", ".*does not have many workers")
            warnings.filterwarnings("ignore", ".*smaller than the logging interval")
            # The data module goes on with the batches that the epoch has left.
            warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before")
            # Lightning 2.6 asks torch's pytree in a way that torch 2.13 calls deprecated.
            warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated", FutureWarning)
            trainer.fit(learner, datamodule=data, ckpt_path=resume_from, weights_only=True)
    except SystemExit as stop:
        # Lightning turns Ctrl-C into an exit; the caller should see what it was.
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stop
        raise
    seconds = time.monotonic() - started
    if not (best.best_model_score is not None and torch.isfinite(best.best_model_score)):
        raise SeqmarketError(
            "the fit diverged: the validation loss is not finite",
            where="training.optimizer",
            fix="lower training.optimizer.lr or training.gradient_clip",
        )
    check_whole(Path(best.best_model_path))
    chosen = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
    learner.load_state_dict(chosen["state_dict"])
    return Fitted(
        model=learner.model,
        device=trainer.strategy.root_device,
        outcome=Outcome(
            epochs=trainer.current_epoch,
            best_epoch=int(chosen["epoch"]) + 1,
            seconds=seconds,
            events_per_second=epochs.events / max(seconds, 1e-9),
        ),
        is_global_zero=trainer.is_global_zero,
    )
