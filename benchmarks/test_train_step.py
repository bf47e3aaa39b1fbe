"""Real events per second through forward and backward: length buckets beside random batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.test_batches import all_windows
from seqmarket.data.batch import collate
from seqmarket.data.sampler import training_batches
from seqmarket.data.store import SequenceStore

CONF = Path(__file__).parent.parent / "conf" / "model"
STEPS = 12


@pytest.mark.parametrize("bucketed", [True, False], ids=["buckets", "random"])
@pytest.mark.parametrize("model", ["lstm", "gru", "transformer", "tcn", "ssm"])
def test_train_step(
    benchmark: BenchmarkFixture, store: SequenceStore, model: str, bucketed: bool
) -> None:
    windows = all_windows(store)
    pool = 50 if bucketed else 1
    chosen = training_batches(windows.length, 64, seed=1, epoch=0, pool=pool)[:STEPS]
    batches = [collate(store.events, windows.take(rows)) for rows in chosen]
    encoder: Any = instantiate(OmegaConf.load(CONF / f"{model}.yaml"))(store.spec)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-3)

    def steps() -> None:
        for batch in batches:
            optimizer.zero_grad(set_to_none=True)
            encoder(batch).states[batch.mask].square().mean().backward()
            optimizer.step()

    benchmark.pedantic(steps, rounds=5, warmup_rounds=1)
    events = sum(int(batch.mask.sum()) for batch in batches)
    benchmark.extra_info["events_per_second"] = round(events / benchmark.stats["median"])
