"""Fits the run's model: once, or from several seeds that then answer together."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.nn.ensemble import JourneyEnsemble
from seqmarket.nn.journey_model import JourneyModel
from seqmarket.training.checkpoint import load_trained
from seqmarket.training.config import RunConfig
from seqmarket.training.fit import EpochMetrics, Fitted, Outcome, fit
from seqmarket.training.pretraining import Weights, starting_weights
from seqmarket.training.resume import CHECKPOINTS, StartingPoint
from seqmarket.training.tasks import Task
from seqmarket.training.tracking.record import write_atomic

log = logging.getLogger(__name__)

_FINISHED = "finished.json"


def fit_members(
    config: RunConfig,
    tasks: Mapping[str, Task],
    data: JourneyDataModule,
    start: StartingPoint,
    *,
    provenance: Mapping[str, Any],
    report: EpochMetrics,
) -> Fitted:
    """Fits as many members as `ensemble` says, from consecutive seeds, one after the other.

    A run that goes on skips the members that are finished.

    Args:
        config: The run.
        tasks: The tasks.
        data: The journeys.
        start: Where the run starts.
        provenance: What each checkpoint carries besides the weights.
        report: Receives each epoch's metrics; those of the members after the first one with
            ``member_2/`` and so on before their names.
    """
    checkpoints = start.run_dir / CHECKPOINTS
    if config.ensemble == 1:
        return fit(
            config,
            tasks,
            data,
            checkpoints=checkpoints,
            resume_from=start.checkpoint,
            provenance=provenance,
            report=report,
            encoder=_start(config, data, checkpoints, start, start.checkpoint, provenance, report),
        )
    members: list[JourneyModel] = []
    outcomes: list[Outcome] = []
    device, reports = torch.device("cpu"), True
    for number in range(1, config.ensemble + 1):
        folder = checkpoints if number == 1 else checkpoints / f"member-{number}"
        earlier = _finished(folder, config) if start.continued else None
        if earlier is not None:
            log.info("member %d of %d is there already", number, config.ensemble)
            model = load_trained(folder / "best.ckpt").model
            assert isinstance(model, JourneyModel)
            members.append(model)
            outcomes.append(earlier)
            continue
        log.info("member %d of %d", number, config.ensemble)
        last = folder / "last.ckpt"
        seed = config.seed + number - 1
        own = config.model_copy(update={"seed": seed})
        resume_from = last if start.continued and last.is_file() else None
        named = _named(report, number)
        fitted = fit(
            own,
            tasks,
            data.with_seed(seed),
            checkpoints=folder,
            resume_from=resume_from,
            provenance=provenance,
            report=named,
            encoder=_start(own, data, folder, start, resume_from, provenance, named),
        )
        device, reports = fitted.device, fitted.is_global_zero
        assert isinstance(fitted.model, JourneyModel)
        members.append(fitted.model)
        outcomes.append(fitted.outcome)
        if reports:
            _finish(folder, config, fitted.outcome)
    kinds = {name: task.kind for name, task in tasks.items()}
    return Fitted(
        model=JourneyEnsemble(members, kinds),
        device=device,
        outcome=_together(outcomes),
        is_global_zero=reports,
        alone=members[0],
    )


def _start(
    config: RunConfig,
    data: JourneyDataModule,
    folder: Path,
    start: StartingPoint,
    resume_from: Path | None,
    provenance: Mapping[str, Any],
    report: EpochMetrics,
) -> Weights | None:
    """What the encoder starts from; nothing where a checkpoint of the fit has all weights."""
    if resume_from is not None:
        return None
    return starting_weights(
        config,
        data.store,
        folder,
        continued=start.continued,
        provenance=provenance,
        report=report,
    )


def _named(report: EpochMetrics, number: int) -> EpochMetrics:
    if number == 1:
        return report

    def named(metrics: Mapping[str, float], epoch: int) -> None:
        report({f"member_{number}/{name}": value for name, value in metrics.items()}, epoch)

    return named


def _together(outcomes: list[Outcome]) -> Outcome:
    seconds = sum(outcome.seconds for outcome in outcomes)
    events = sum(outcome.events_per_second * outcome.seconds for outcome in outcomes)
    return Outcome(
        epochs=sum(outcome.epochs for outcome in outcomes),
        best_epoch=None,
        seconds=seconds,
        events_per_second=events / max(seconds, 1e-9),
    )


def _finish(folder: Path, config: RunConfig, outcome: Outcome) -> None:
    plain = {**asdict(outcome), "max_epochs": config.training.max_epochs}
    write_atomic(folder / _FINISHED, json.dumps(plain).encode())


def _finished(folder: Path, config: RunConfig) -> Outcome | None:
    """What the member's fit came to; None: it is not finished, or may now go on for longer."""
    if not (folder / _FINISHED).is_file():
        return None
    plain = json.loads((folder / _FINISHED).read_text())
    if plain.pop("max_epochs") < config.training.max_epochs:
        return None
    return Outcome(**plain)
