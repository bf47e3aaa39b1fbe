"""Runs as their records would have them, made up: what they predicted is drawn, not trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from seqmarket.comparison.contenders import Contender
from seqmarket.comparison.recorded import RecordedRun

START = datetime(2026, 3, 1, tzinfo=UTC)
CUSTOMERS = 60
CUTOFFS = 4
CHANNELS = ("mail", "search", "store")


@dataclass
class Made:
    """What a run is made from.

    Attributes:
        name: Of the run.
        seed: Of what it predicts, too.
        noise: Of its own model, by task; more is worse.
        config: Added to the configuration.
        terms: Changes of its terms.
        tags: Added to its tags.
        models: Own model, and baselines with their noise.
        skipped: So many of the first rows of each model and task are not there.
    """

    name: str = "gru-made"
    seed: int = 1
    noise: float = 0.5
    config: dict[str, Any] = field(default_factory=dict)
    terms: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    models: dict[str, float] = field(default_factory=lambda: {"gru": 0.5, "majority": 9.0})
    skipped: int = 0


def rows_of_a_window() -> tuple[pl.DataFrame, np.ndarray]:
    """Rows and labels of a task that is a yes or no; the same for every run."""
    numbers = np.random.default_rng(0)
    customer = np.repeat(np.arange(CUSTOMERS), CUTOFFS)
    n = len(customer)
    tendency = numbers.normal(0, 1.5, CUSTOMERS)[customer]
    label = (numbers.random(n) < 1 / (1 + np.exp(-tendency))).astype(int)
    frame = pl.DataFrame(
        {
            "customer": customer,
            "prediction_time": [START + timedelta(days=7 * (i % CUTOFFS)) for i in range(n)],
            "label": label.astype(str),
            "last_channel": np.array(CHANNELS)[customer % 3],
            "events": numbers.integers(1, 40, n),
            "recency": numbers.random(n) * 20,
            "tenure": numbers.random(n) * 300,
            "spent": numbers.random(n) * 100,
            "static.region": np.where(customer < 4, "tiny", "large"),
        }
    )
    return frame.with_columns(pl.col("prediction_time").cast(pl.Datetime("us", "UTC"))), tendency


def made_run(folder: Path, made: Made) -> RecordedRun:
    """Writes what a comparison reads of a run."""
    described, tendency = rows_of_a_window()
    answers = []
    noises = [made.noise, *list(made.models.values())[1:]]
    for place, (model, noise) in enumerate(zip(made.models, noises, strict=True)):
        numbers = np.random.default_rng([made.seed, place])
        probability = 1 / (1 + np.exp(-(tendency + numbers.normal(0, noise, len(tendency)))))
        binary = described.select("customer", "prediction_time", "label").with_columns(
            task=pl.lit("churn"), model=pl.lit(model), probability=pl.Series(probability)
        )
        classes = binary.with_columns(
            task=pl.lit("next_channel"),
            label=described["last_channel"],
            predicted=pl.Series(np.array(CHANNELS)[numbers.integers(3, size=len(tendency))]),
            rank=pl.Series(numbers.integers(1, 4, len(tendency)), dtype=pl.Int32),
            ties=pl.lit(1, dtype=pl.Int32),
        )
        amounts = binary.with_columns(
            task=pl.lit("value"),
            label=pl.Series(np.exp(tendency)).cast(pl.String),
            probability=pl.lit(None, dtype=pl.Float64),
            quantities=pl.Series(
                [[p, p] for p in np.exp(tendency) + numbers.random(len(tendency))]
            ),
        )
        answers += [frame[made.skipped :] for frame in (binary, classes, amounts)]
    predictions = pl.concat(answers, how="diagonal")
    rows = pl.concat(
        [described.with_columns(task=pl.lit(t)) for t in ("churn", "next_channel", "value")]
    ).drop("label")
    config = {
        "seed": made.seed,
        "name": made.name,
        "model": {"_target_": "seqmarket.models.gru.GRUEncoder", "d_model": 64},
        "baselines": {"majority": {"_target_": "seqmarket.models.majority.Majority"}},
        "training": {"max_epochs": 3, "calibration": "platt"},
        **made.config,
    }
    terms = {
        "log": {"name": "made", "source": "abc", "gate": {}, "validation": {}, "cleaning": []},
        "customers": "c0ffee",
        "split": {
            "periods": {
                "train": ["2025-01-01T00:00:00+00:00", "2026-01-01T00:00:00+00:00"],
                "validation": ["2026-01-01T00:00:00+00:00", "2026-03-01T00:00:00+00:00"],
                "test": ["2026-03-01T00:00:00+00:00", "2026-05-01T00:00:00+00:00"],
            },
            "kind": "time",
        },
        "labels": {
            "churn": {"in_words": "no purchase in 28 days", "rule": {"window": 28 * 86400000000}},
            "next_channel": {"in_words": "the next channel", "rule": {"of": "channel"}},
            "value": {"in_words": "the value of 28 days", "rule": {"window": 28 * 86400000000}},
        },
        **made.terms,
    }
    key = f"{made.name}{made.seed}{len(list(folder.iterdir()))}".encode().hex()
    place = folder / key
    (place / "results").mkdir(parents=True)
    predictions.write_parquet(place / "results" / "predictions.parquet")
    rows.write_parquet(place / "results" / "rows.parquet")
    (place / "results" / "terms.json").write_text(json.dumps(terms))
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    results = [{"task": "churn", "model": model} for model in made.models]
    (place / "results" / "metrics.json").write_text(json.dumps(results))
    tags = {"seqmarket.git_commit": "a" * 40, "seqmarket.git_dirty": "false", **made.tags}
    costs = {"cost/fit_seconds": 12.0, "cost/parameters": 1000.0, "cost/peak_memory_mib": 300.0}
    return RecordedRun(made.name, key, place, tags, costs)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RecordedRun]:
    (tmp_path / "runs").mkdir()
    return lambda **facts: made_run(tmp_path / "runs", Made(**facts))


@pytest.fixture
def contend() -> Callable[..., Contender]:
    def contender(name: str, *runs: RecordedRun, model: str = "gru") -> Contender:
        return Contender(name, model, tuple(runs), tuple(runs))

    return contender
