"""Baselines that learn from histories: at the end of training, and from nothing after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqmarket.data.datamodule import JourneyDataModule
from seqmarket.data.event_log import EventLog
from seqmarket.data.settings import EncodingSettings, SplitSettings
from seqmarket.data.sources.synthetic import SyntheticJourneys
from seqmarket.data.store import SequenceStore, open_store
from seqmarket.data.store_writing import write_store
from seqmarket.training.config import ComponentConfig
from seqmarket.training.models import closing_tables, fit_baseline, needs_labels
from seqmarket.training.task_settings import TasksConfig
from seqmarket.training.tasks import make_tasks

BG_NBD = ComponentConfig(target="seqmarket.models.bg_nbd.BgNbd")
MAJORITY = ComponentConfig(target="seqmarket.models.majority.Majority")
TASKS = make_tasks(
    TasksConfig.model_validate({"next_channel": {}, "purchase": {}, "churn": {"window": "200d"}})
)


def data_of(store: SequenceStore) -> JourneyDataModule:
    rules = {name: task.rule for name, task in TASKS.items()}
    return JourneyDataModule(store, rules, {}, batch_size=16, eval_tokens=400, seed=1)


def changed_after(store: SequenceStore, moment: int) -> SequenceStore:
    """From a moment on, events come later and at other prices; touches are purchases."""
    events = store.events
    later = events.time >= moment
    owner = np.repeat(np.arange(events.n_customers), np.diff(events.offsets))
    time = np.where(later, events.time + 1 + owner % 7, events.time)
    value = np.where(later, events.value + 100, events.value).astype(np.float32)
    bought = np.where(later, ~events.purchase, events.purchase)
    return replace(store, events=replace(events, time=time, value=value, purchase=bought))


def nothing_after(store: SequenceStore, moment: int) -> None:
    learnt = [
        fit_baseline(BG_NBD, data_of(log), "model.").baseline.learnt("churn")  # type: ignore[attr-defined]
        for log in (store, changed_after(store, moment))
    ]
    assert learnt[0] == learnt[1]


def test_nothing_after_the_end_of_training_is_learnt_from(store: SequenceStore) -> None:
    nothing_after(store, store.split.periods["train"].end)


def test_a_change_within_training_is_learnt_from(store: SequenceStore) -> None:
    with pytest.raises(AssertionError):
        nothing_after(store, store.split.periods["train"].end - 10 * 86_400_000_000)


def test_every_training_customer_is_seen_at_the_end_of_training(store: SequenceStore) -> None:
    end = store.split.periods["train"].end
    found = closing_tables(data_of(store))["churn"]
    events = store.events
    assert (found.time == end).all()
    assert (events.time[found.event] < end).all()
    following = np.minimum(found.event + 1, events.n_events - 1)
    last = found.event + 1 == events.offsets[1:][found.customer]
    assert (last | (events.time[following] >= end)).all()
    known = events.time[events.offsets[:-1]] < end
    assert found.customer.tolist() == np.flatnonzero(known).tolist()


def test_customers_of_other_folds_are_not_learnt_from(
    read_log: Callable[..., EventLog], tmp_path: Path
) -> None:
    log = read_log(SyntheticJourneys(n_customers=60, days=240, seed=7))
    split = SplitSettings.model_validate({"kind": "customer"})
    write_store(tmp_path / "store", log, split, EncodingSettings(max_length=16))
    store = open_store(tmp_path / "store")
    found = closing_tables(data_of(store))["purchase"].customer
    assert store.split.customers("train", 60)[found].all()
    assert len(found) == store.split.customers("train", 60).sum() < 60


def test_who_needs_labels_does_not_answer_a_window_that_never_fits(
    store: SequenceStore, caplog: pytest.LogCaptureFixture
) -> None:
    data = data_of(store)
    assert not len(data.tables("train")["churn"])
    tables: dict[str, Any] = closing_tables(data)
    assert needs_labels(MAJORITY)
    answered = fit_baseline(MAJORITY, data, "model.").predict(tables)
    assert set(answered) == {"next_channel", "purchase"}
    assert "majority does not answer churn" in caplog.text
    assert not needs_labels(BG_NBD)
    answered = fit_baseline(BG_NBD, data, "model.").predict(tables)
    assert set(answered) == {"purchase", "churn"}
