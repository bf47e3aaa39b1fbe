"""Checkpoints: written whole or not at all, and enough in one file to rebuild the model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from seqmarket.data.gate.record import GateRecord
from seqmarket.data.sealed import check_sealed, write_sealed
from seqmarket.data.store import SequenceStore
from seqmarket.errors import SeqmarketError
from seqmarket.metrics.calibration import Calibration, calibration_from_dict
from seqmarket.nn.ensemble import JourneyEnsemble
from seqmarket.nn.journey_model import JourneyModel
from seqmarket.nn.pooling import TouchPooling
from seqmarket.schema import SequenceSpec
from seqmarket.training.changed_data import refuse_changed
from seqmarket.training.config import ComponentConfig, RunConfig, TrainingConfig, parse_config
from seqmarket.training.instantiate import build
from seqmarket.training.objectives import make_objectives
from seqmarket.training.tasks import Task, make_tasks

_PROVENANCE = "seqmarket"
_MODEL_PREFIX = "model."
_MEMBERS = "model.members."


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's own writer is atomic only where the temporary folder is on the same disk."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Writes beside, flushes to the disk and renames."""
        save_atomically(checkpoint, Path(path))


def save_atomically(content: Mapping[str, Any], path: Path) -> None:
    """`torch.save` that leaves the whole new file or what was there before, and its digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_sealed(path, partial(write_checkpoint, content))


def write_checkpoint(content: Mapping[str, Any], path: Path) -> None:
    """Writes a checkpoint in place. Its bytes do not depend on its name."""
    with path.open("wb") as file:
        torch.save(dict(content), file)


def check_whole(path: Path) -> None:
    """Refuses a checkpoint that has changed since it was written.

    Raises:
        SeqmarketError: It is not the file that was written.
    """
    check_sealed(path, "checkpoint", "restore it from a copy, or train again")


def build_model(
    component: ComponentConfig,
    spec: SequenceSpec,
    tasks: Mapping[str, Task],
    settings: TrainingConfig,
) -> JourneyModel:
    """An untrained model: the configured encoder, and a head per objective."""
    encoder: Any = build(component, spec, prefix="model.")
    objectives = make_objectives(tasks, settings)
    heads = {
        name: objective.make_head(spec, encoder.d_model, settings)
        for name, objective in objectives.items()
    }
    head_of = {task.name: name for name, found in objectives.items() for task in found.tasks}
    pooling = TouchPooling(encoder.d_model, len(heads)) if settings.pooling == "attention" else None
    return JourneyModel(encoder, heads, head_of, pooling)


@dataclass(frozen=True)
class TrainedModel:
    """A model as it was trained, with all that is needed to ask it again.

    Attributes:
        model: Encoder and heads; None where the run's own model is a baseline.
        spec: What the model was built for.
        config: The run's configuration.
        plain_config: The same, as it was composed.
        tasks: Its tasks.
        calibrations: The correction of each task; empty for a checkpoint of a run's middle.
        store_fingerprint: The data it was trained on.
        gate: What their log was admitted by; None: not recorded.
    """

    model: JourneyModel | JourneyEnsemble | None
    spec: SequenceSpec
    config: RunConfig
    plain_config: Mapping[str, Any]
    tasks: Mapping[str, Task]
    calibrations: Mapping[str, Calibration]
    store_fingerprint: str
    gate: GateRecord | None


def provenance(plain_config: Mapping[str, Any], store: SequenceStore) -> dict[str, Any]:
    """What a checkpoint carries besides its weights, as plain containers.

    The calibrations are those of the identity: they are fitted when the training is over.
    """
    return {
        "config": dict(plain_config),
        "spec": store.spec.to_dict(),
        "store_fingerprint": store.fingerprint,
        "gate": None if store.gate is None else store.gate.to_dict(),
        "calibrations": {},
    }


def save_trained(
    path: Path, model: JourneyModel | JourneyEnsemble | None, facts: Mapping[str, Any]
) -> None:
    """Writes the final model of a run: weights and provenance, without the optimizer."""
    weights = {} if model is None else model.state_dict()
    state = {_MODEL_PREFIX + name: value.detach().cpu() for name, value in weights.items()}
    save_atomically({"state_dict": state, _PROVENANCE: dict(facts)}, path)


def check_resumable(path: Path, plain_config: Mapping[str, Any], store: SequenceStore) -> None:
    """Makes sure that a checkpoint belongs to the run that is to go on from it.

    Raises:
        SeqmarketError: It is no checkpoint of a run's middle, or one of other data, another model
            or other tasks.
    """
    content = _read(path)
    if "optimizer_states" not in content:
        raise SeqmarketError(
            "this file holds a finished model, without what is needed to go on training it",
            where=f"ckpt_path={path}",
            fix="name the last.ckpt or best.ckpt beside it",
        )
    facts = content[_PROVENANCE]
    refuse_changed(
        facts["store_fingerprint"],
        _gate(facts),
        store,
        where=f"ckpt_path={path}: made",
        since="since this checkpoint was made",
        fix="restore the log and its settings, or train afresh without ckpt_path",
    )
    for key in ("model", "task"):
        if facts["config"][key] != plain_config[key]:
            raise SeqmarketError(
                f"this checkpoint was made with another {key}",
                where=f"ckpt_path={path}",
                fix=f"use the same {key} settings, or train afresh without ckpt_path",
            )


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise SeqmarketError("there is no checkpoint", where=str(path), fix="check the path")
    check_whole(path)
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if not {_PROVENANCE, "state_dict"} <= set(content):
            raise KeyError(_PROVENANCE)
    except Exception as error:
        raise SeqmarketError(
            f"this is not a checkpoint of seqmarket ({type(error).__name__})",
            where=str(path),
            fix="name the model.ckpt, best.ckpt or last.ckpt of a run",
        ) from error
    return content


def load_trained(path: Path) -> TrainedModel:
    """Reads a run's final model, or a checkpoint of its middle; weights only, no code.

    Raises:
        SeqmarketError: If there is no such file, or it is not a checkpoint of seqmarket.
    """
    content = _read(path)
    facts, state = content[_PROVENANCE], content["state_dict"]
    config = parse_config(facts["config"])
    spec = SequenceSpec.from_dict(facts["spec"])
    tasks = make_tasks(config.task)
    model = None
    if state:
        model = _build(config, spec, tasks, together=any(k.startswith(_MEMBERS) for k in state))
        prefix = len(_MODEL_PREFIX)
        model.load_state_dict(
            {k[prefix:]: v for k, v in state.items() if k.startswith(_MODEL_PREFIX)}
        )
    return TrainedModel(
        model=model,
        spec=spec,
        config=config,
        plain_config=facts["config"],
        tasks=tasks,
        calibrations={n: calibration_from_dict(c) for n, c in facts["calibrations"].items()},
        store_fingerprint=facts["store_fingerprint"],
        gate=_gate(facts),
    )


def untrained(trained: TrainedModel, seed: int) -> TrainedModel:
    """The same run's model before it was trained, with weights drawn anew.

    Args:
        trained: A run whose model has weights.
        seed: Of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        together = isinstance(trained.model, JourneyEnsemble)
        model = _build(trained.config, trained.spec, trained.tasks, together=together)
    return replace(trained, model=model.eval())


def _build(
    config: RunConfig, spec: SequenceSpec, tasks: Mapping[str, Task], *, together: bool
) -> JourneyModel | JourneyEnsemble:
    """The untrained model of a run's end, or one member, which a checkpoint of its middle holds."""
    if not together:
        return build_model(config.model, spec, tasks, config.training)
    members = [
        build_model(config.model, spec, tasks, config.training) for _ in range(config.ensemble)
    ]
    return JourneyEnsemble(members, {name: task.kind for name, task in tasks.items()})


def _gate(facts: Mapping[str, Any]) -> GateRecord | None:
    plain = facts.get("gate")
    return None if plain is None else GateRecord.from_dict(plain)
