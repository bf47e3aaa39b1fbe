"""The log of a run: encoded, and reported on. Without torch, so that it is there at once."""

from __future__ import annotations

import logging
from dataclasses import replace

from seqmarket.data.engine.progress import Progress, lines
from seqmarket.data.prepare import Workshop, prepare_store
from seqmarket.data.quality import QualityReport
from seqmarket.data.quality.labels import label_rates
from seqmarket.data.store import SequenceStore
from seqmarket.training.config import RunConfig
from seqmarket.training.instantiate import build
from seqmarket.training.rules import task_rules

log = logging.getLogger(__name__)


def workshop(config: RunConfig, progress: Progress = lines) -> Workshop:
    """Where and with what the configured log is read and encoded."""
    return Workshop(config.paths.cache_dir, config.data.engine, config.data.resources, progress)


def open_data(config: RunConfig, progress: Progress = lines) -> SequenceStore:
    """Encodes the configured log, or opens the store of an earlier run with the same data."""
    source = build(config.data.source, prefix="data.")
    data = config.data
    store = prepare_store(source, data.log, data.split, data.encoding, workshop(config, progress))
    log.info(
        "%s: %s customers, %s events",
        store.name,
        f"{store.events.n_customers:,}",
        f"{store.events.n_events:,}",
    )
    for fold, period in store.split.periods.items():
        log.info("%-10s %s", fold, period)
    for warning in store.report["warnings"]:
        log.warning("%s", warning)
    return store


def quality_report(config: RunConfig, store: SequenceStore) -> QualityReport:
    """What is in the store's log, with the label rates of the configured tasks."""
    rates = label_rates(store.events, store.spec, store.split, task_rules(config.task))
    return replace(QualityReport.from_dict(store.report), labels=rates)
