"""One log for all benchmarks: the shape of a retailer's, long-tailed and seeded."""

from __future__ import annotations

import pytest
import torch

from seqmarket.data.event_log import EventLog
from seqmarket.data.log_settings import LogSettings
from seqmarket.data.prepare import Workshop, prepare_log
from seqmarket.data.settings import EncodingSettings, SplitSettings
from seqmarket.data.sources.synthetic import SyntheticJourneys
from seqmarket.data.store import SequenceStore, open_store
from seqmarket.data.store_writing import write_store

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> EventLog:
    source = SyntheticJourneys(n_customers=5_000, days=365, seed=1)
    place = Workshop(tmp_path_factory.mktemp("cache"))
    return prepare_log(source, LogSettings(), place, "training")


@pytest.fixture(scope="session")
def store(log: EventLog, tmp_path_factory: pytest.TempPathFactory) -> SequenceStore:
    path = tmp_path_factory.mktemp("benchmark") / "store"
    write_store(path, log, SplitSettings(), EncodingSettings(max_length=128))
    return open_store(path)
