"""Pre-trains an encoder without labels, and keeps it for the fit that starts from it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqmarket.data.store import SequenceStore
from seqmarket.errors import SeqmarketError
from seqmarket.schema import SequenceSpec
from seqmarket.training.checkpoint import check_whole, save_atomically
from seqmarket.training.config import RunConfig
from seqmarket.training.fit import EpochMetrics
from seqmarket.training.instantiate import build
from seqmarket.training.pretext import make_pretext
from seqmarket.training.pretrain_settings import NoPretraining

log = logging.getLogger(__name__)

PRETRAINED = "pretrained.ckpt"
Weights = Mapping[str, Tensor]
_PROVENANCE = "seqmarket"


def starting_weights(
    config: RunConfig,
    store: SequenceStore,
    folder: Path,
    *,
    continued: bool,
    provenance: Mapping[str, Any],
    report: EpochMetrics,
) -> Weights | None:
    """The encoder that a fit starts from; None: an untrained one.

    Args:
        config: The run; each member of an ensemble brings its own seed.
        store: The encoded log.
        folder: Of the fit's checkpoints, where a pre-trained encoder is kept.
        continued: Whether one that is kept there already is this run's own.
        provenance: What every checkpoint carries besides the weights.
        report: Receives each epoch's `pretrain/loss`.

    Raises:
        SeqmarketError: The encoder named by `pretrain.checkpoint` does not fit, or there is too
            little to learn from.
    """
    settings = config.pretrain
    if isinstance(settings, NoPretraining):
        if settings.checkpoint is None:
            return None
        return load_encoder(settings.checkpoint, store, provenance["config"]["model"])
    if int(os.environ.get("LOCAL_RANK", "0")) > 0:
        # When the fit starts, all processes are given the weights of the first one.
        return None
    kept = folder / PRETRAINED
    if continued and kept.is_file():
        log.info("the encoder is pre-trained already")
        return load_encoder(kept, store, provenance["config"]["model"])
    weights = pretrain(config, store, report)
    until = store.split.periods["train"].end
    save_atomically({_PROVENANCE: dict(provenance), "encoder": weights, "until": until}, kept)
    return weights


def pretrain(config: RunConfig, store: SequenceStore, report: EpochMetrics) -> dict[str, Tensor]:
    """Trains the configured encoder on the events of the training period, without labels.

    Args:
        config: The run; its seed decides weights, order and dropout.
        store: The encoded log.
        report: Receives each epoch's `pretrain/loss`.

    Returns:
        The encoder's weights, on the CPU.
    """
    settings = config.pretrain
    assert not isinstance(settings, NoPretraining)
    torch.manual_seed(config.seed)
    device = _device(config.trainer.accelerator)
    encoder: Any = build(config.model, store.spec, prefix="model.")
    pretext = make_pretext(config, store, encoder.d_model)
    both = nn.ModuleList([encoder, pretext.head]).to(device).train()
    optimizer = torch.optim.AdamW(
        both.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
    )
    steps = settings.epochs * len(pretext.batches(0))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(settings.epochs):
        started, total = time.monotonic(), torch.zeros((), device=device)
        batches = pretext.batches(epoch)
        for batch in batches:
            loss = pretext.loss(encoder, batch, device)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(both.parameters(), config.training.gradient_clip)
            optimizer.step()
            schedule.step()
            total += loss.detach()
        mean = float(total) / len(batches)
        if not torch.isfinite(total):
            raise SeqmarketError(
                "pre-training diverged: its loss is not finite",
                where="pretrain.lr",
                fix="lower it",
            )
        report({"pretrain/loss": mean}, epoch + 1)
        log.info(
            "pre-training (%s) epoch %2d  loss %.4f  %.1f s",
            settings.objective,
            epoch + 1,
            mean,
            time.monotonic() - started,
        )
    return {name: value.detach().cpu() for name, value in encoder.state_dict().items()}


def load_encoder(path: Path, store: SequenceStore, model: Any) -> dict[str, Tensor]:
    """The weights of an encoder that was pre-trained earlier.

    Args:
        path: Its `pretrained.ckpt`.
        store: What the run that starts from it is trained on.
        model: The plain settings of the run's model.

    Raises:
        SeqmarketError: There is no such file, it is of another model or of other vocabularies and
            scalings, or it has seen more than the run's training period and customers.
    """
    where = f"pretrain.checkpoint={path}"
    if not path.is_file():
        raise SeqmarketError("there is no such checkpoint", where=where, fix="check the path")
    check_whole(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        facts, weights = content[_PROVENANCE], content["encoder"]
    except Exception as error:
        raise SeqmarketError(
            f"this is not a pre-trained encoder ({type(error).__name__})",
            where=where,
            fix=f"name the checkpoints/{PRETRAINED} of a run",
        ) from error
    if facts["config"]["model"] != model:
        raise SeqmarketError(
            "this encoder was pre-trained with another model",
            where=where,
            fix="use the same model settings, or pre-train again",
        )
    if SequenceSpec.from_dict(facts["spec"]) != store.spec:
        raise SeqmarketError(
            "this encoder was pre-trained with other vocabularies or scalings",
            where=where,
            fix="use the same data settings, or pre-train again",
        )
    other = facts["store_fingerprint"] != store.fingerprint
    divided = store.split.customer_fold is not None
    if content["until"] > store.split.periods["train"].end or (other and divided):
        raise SeqmarketError(
            "this encoder may have seen what this run is evaluated on",
            where=where,
            fix="use the same data.split and log, or pre-train again",
        )
    return dict(weights)


def _device(accelerator: str) -> torch.device:
    """Where the fit will train: its first device."""
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device("cuda" if accelerator == "gpu" else accelerator)
