"""From a source to its encoded store: what is there already is found again, the rest is made."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seqmarket.data.engine.build import CannotGrowError, build_log
from seqmarket.data.engine.executor import Executor, LocalExecutor
from seqmarket.data.engine.growth import find_base
from seqmarket.data.engine.progress import Progress, silent
from seqmarket.data.event_log import EventLog, open_log
from seqmarket.data.files import locked
from seqmarket.data.gate.gate import Gate, make_gate
from seqmarket.data.gate.record import GateRecord
from seqmarket.data.gate.settings import Purpose
from seqmarket.data.log_settings import LogSettings
from seqmarket.data.quality.gate_report import GateReport
from seqmarket.data.settings import EncodingSettings, ResourceSettings, SplitSettings
from seqmarket.data.sources.protocol import EventSource
from seqmarket.data.store import FORMAT, ORIGIN, SequenceStore, open_store
from seqmarket.data.store_writing import Growth, write_store
from seqmarket.errors import SeqmarketError

LOG_FORMAT = 2
LOGS, STORES, QUARANTINE = "logs", "stores", "quarantine"
"""Folders of the cache."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workshop:
    """Where and with what logs are read and encoded; nothing of it has an influence on the result.

    Attributes:
        cache_dir: Folder of the validated logs, the stores, and rows that are put aside.
        engine: Threads of this process, or a Ray cluster.
        resources: What may be used.
        progress: Shows how far it has come.
    """

    cache_dir: Path
    engine: Literal["local", "ray"] = "local"
    resources: ResourceSettings = field(default_factory=ResourceSettings)
    progress: Progress = silent

    @contextmanager
    def executor(self) -> Iterator[Executor]:
        """What the stages run on."""
        if self.engine == "ray":
            from seqmarket.data.engine.ray_executor import RayExecutor, joined

            with joined(self.resources.address):
                yield RayExecutor(self.progress)
        else:
            yield LocalExecutor(self.resources.threads, self.progress)


def prepare_log(
    source: EventSource, settings: LogSettings, workshop: Workshop, purpose: Purpose
) -> EventLog:
    """Opens the validated log of these data and settings, reading the source if there is none yet.

    Raises:
        SeqmarketError: If the log breaks a rule or cannot be read, or a cached one is damaged.
    """
    gate = _gate(source, settings, purpose)
    log = _prepare_log(source, settings, workshop, gate, workshop.executor)[0]
    return replace(log, report=replace(log.report, gate=GateReport.of(gate)))


def prepare_store(
    source: EventSource,
    settings: LogSettings,
    split: SplitSettings,
    encoding: EncodingSettings,
    workshop: Workshop,
) -> SequenceStore:
    """Opens the store of these data and settings, encoding the log first if there is none yet.

    Processes that want the same store at the same time wait for the one that makes it.

    Raises:
        SeqmarketError: If the log breaks a rule or cannot be read, or a cached store is damaged.
    """
    gate = _gate(source, settings, "training")
    store = _prepare_store(source, settings, split, encoding, workshop, gate)
    report = {**store.report, "gate": GateReport.of(gate).to_dict()}
    return replace(store, report=report, gate=GateRecord.of(source.fingerprint(), gate))


def _prepare_store(
    source: EventSource,
    settings: LogSettings,
    split: SplitSettings,
    encoding: EncodingSettings,
    workshop: Workshop,
    gate: Gate,
) -> SequenceStore:
    key = store_key(_log_key(source, settings, gate), split, encoding)
    path = workshop.cache_dir / STORES / cache_name(source.name, key)
    if path.exists():
        return open_store(path)
    with _locked(path):
        if path.exists():
            return open_store(path)
        with workshop.executor() as executor:
            event_log, growth = _prepare_log(
                source, settings, workshop, gate, lambda: nullcontext(executor)
            )
            older = None if growth is None else _older_store(path.parent, growth, split, encoding)
            write_store(path, event_log, split, encoding, executor, older)
    return open_store(path, verified=True)


@dataclass(frozen=True)
class _Growth:
    """How a log came from an older one: which customers of each shard have new events."""

    base: EventLog
    added: tuple[NDArray[np.uint64], ...]


def _prepare_log(
    source: EventSource,
    settings: LogSettings,
    workshop: Workshop,
    gate: Gate,
    executor: Callable[[], AbstractContextManager[Executor]],
) -> tuple[EventLog, _Growth | None]:
    key = _log_key(source, settings, gate)
    name = cache_name(source.name, key)
    path = workshop.cache_dir / LOGS / name
    if path.exists():
        return open_log(path), None
    with _locked(path):
        if path.exists():
            return open_log(path), None
        raw = source.open()
        kin = source.family()
        family_key = {**key, "source": kin} if kin else None
        family = digest_of_key(family_key) if family_key else ""
        # A row that repeats one of an older part has to be named, and its place is not kept.
        refuses = settings.validation.duplicates == "error"
        base = None if refuses else find_base(path.parent, raw, family)
        if base is not None:
            log.info(
                "adds %d of %d parts to a log that is there",
                len(raw.parts) - len(base.origin.parts),
                len(raw.parts),
            )
        build = partial(
            build_log,
            raw,
            settings,
            gate,
            path,
            resources=workshop.resources,
            quarantine_path=workshop.cache_dir / QUARANTINE / f"{name}.parquet",
            family=family,
            keys={"log": key, "family": family_key},
        )
        with executor() as running:
            try:
                built = build(executor=running, base=base)
            except CannotGrowError:
                base = None
                built = build(executor=running)
    return open_log(path, verified=True), None if base is None else _Growth(base, built.added)


def _older_store(
    stores: Path, growth: _Growth, split: SplitSettings, encoding: EncodingSettings
) -> Growth | None:
    """The store of the log that was added to, with the same settings, if it is there and sound."""
    wanted = {
        "log": growth.base.path.name,
        "split": split.model_dump(mode="json"),
        "encoding": encoding.shaping_a_store(),
        "key_id": growth.base.key_id,
    }
    for origin in sorted(stores.glob(f"[!.]*/{ORIGIN}")):
        try:
            if json.loads(origin.read_text()) == wanted:
                store = open_store(origin.parent)
                return Growth(store.path, store.spec, growth.base.sizes, growth.added)
        except (OSError, ValueError, SeqmarketError):
            continue  # without it the whole log is encoded
    return None


def _gate(source: EventSource, settings: LogSettings, purpose: Purpose) -> Gate:
    return make_gate(settings.identity, settings.privacy, purpose, csv=getattr(source, "csv", None))


def _log_key(source: EventSource, settings: LogSettings, gate: Gate) -> dict[str, Any]:
    return {
        "format": LOG_FORMAT,
        "source": source.fingerprint(),
        "validation": settings.validation.model_dump(mode="json"),
        "cleaning": [rule.model_dump(mode="json") for rule in settings.cleaning],
        "gate": gate.fingerprint(),
    }


def store_key(
    log_key: Mapping[str, Any], split: SplitSettings, encoding: EncodingSettings
) -> dict[str, Any]:
    """Everything that shapes a store."""
    return {
        "format": FORMAT,
        "log": log_key,
        "split": split.model_dump(mode="json"),
        "encoding": encoding.shaping_a_store(),
    }


def cache_name(name: str, key: Mapping[str, Any]) -> str:
    """The folder of a log or a store in the cache: what it is called, and all that shapes it."""
    return f"{name}-{digest_of_key(key)[:16]}"


def digest_of_key(key: Mapping[str, Any]) -> str:
    """SHA-256 of all that shapes something."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    def tell() -> None:
        log.info("another process is making %s: waiting for it", path.name)

    with locked(path, tell):
        yield
