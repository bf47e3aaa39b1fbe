"""Ends of journeys as a class, under three protocols, against a loop over the rows of a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest

from seqmarket.data import labels, splits
from seqmarket.data.dense import NextObjective
from seqmarket.data.event_log import EventLog
from seqmarket.data.labels import Neighbours, label_table
from seqmarket.data.settings import EncodingSettings, SplitSettings
from seqmarket.data.sources.files import FileSource
from seqmarket.data.splits import FOLDS, Fold, Split
from seqmarket.data.store import SequenceStore, open_store
from seqmarket.data.store_writing import write_store
from seqmarket.models.majority import Majority
from seqmarket.models.markov import Markov
from seqmarket.models.repeat_last import RepeatLast
from seqmarket.schema import END, NEVER, SPECIAL_TOKENS, NextRule

Rows = list[tuple[str, datetime, str]]
"""Of a file: case, time, activity."""

SPLIT = SplitSettings(
    kind="cohort", order="position", train_fraction=0.5332, validation_fraction=0.1333
)
PROTOCOLS: tuple[Literal["none", "learnt", "scored"], ...] = ("none", "learnt", "scored")


def made_up() -> Rows:
    """Cases one after the other, in an order that is neither that of their names nor of time."""
    rng = np.random.default_rng(5)
    rows: Rows = []
    for case in rng.permutation(61):
        time = datetime(2026, 1, 1) + timedelta(days=int(rng.integers(0, 200)))
        for _ in range(int(rng.integers(1, 7))):
            rows.append((f"case {case}", time, f"a{rng.integers(1, 5)}"))
            time += timedelta(minutes=int(rng.integers(0, 3)))  # sometimes at the same time
    return rows


@pytest.fixture(scope="module")
def log(read_log: Callable[..., EventLog], tmp_path_factory: pytest.TempPathFactory) -> EventLog:
    path = tmp_path_factory.mktemp("cases") / "cases.parquet"
    table = pl.DataFrame(made_up(), schema=["customer_id", "time", "event_type"], orient="row")
    table.write_parquet(path)
    source = {"columns": {"channel": None}, "path": str(path), "ties": "position"}
    keep = {"validation": {"duplicates": "keep"}}
    return read_log(FileSource.model_validate(source), **keep)


def store_of(log: EventLog, path: Path) -> SequenceStore:
    write_store(path, log, SPLIT, EncodingSettings(max_length=16))
    return open_store(path)


@pytest.fixture(scope="module")
def store(log: EventLog, tmp_path_factory: pytest.TempPathFactory) -> SequenceStore:
    return store_of(log, tmp_path_factory.mktemp("stores") / "store")


def expected(fold: Fold, end: str, min_events: int) -> set[tuple[str, int, str]]:
    """Case, number of events seen, and what follows: as the protocols are written down."""
    cases: dict[str, list[str]] = {}
    for case, _, activity in made_up():
        cases.setdefault(case, []).append(activity)
    n, found = len(cases), set()
    for place, (case, activities) in enumerate(cases.items()):
        share = place / n
        own = "train" if share < 0.5332 else "validation" if share < 0.6665 else "test"
        if own != fold:
            continue
        for seen in range(1, len(activities) + 1):
            label = activities[seen] if seen < len(activities) else END
            evaluated = fold != "train"
            if label == END and (end == "none" or (end == "learnt" and evaluated)):
                continue
            if evaluated and seen < min_events:
                continue
            found.add((case, seen, label))
    return found


def of_table(store: SequenceStore, fold: Fold, rule: NextRule) -> set[tuple[str, int, str]]:
    near = Neighbours(store.events, store.spec)
    table = label_table(near, store.split, fold, rule)
    ids, names = store.customer_ids(), rule.classes(store.spec)
    seen = table.event - store.events.offsets[table.customer] + 1
    rows = zip(table.customer.tolist(), seen.tolist(), table.label.tolist(), strict=True)
    found = [(ids[customer], place, names[label]) for customer, place, label in rows]
    assert len(found) == len(set(found))
    return set(found)


def is_as_written(store: SequenceStore, end: Any, min_events: int = 2) -> None:
    rule = NextRule("next_event_type", "event_type", (), end, min_events)
    for fold in FOLDS:
        wanted = expected(fold, end, min_events)
        assert wanted
        assert of_table(store, fold, rule) == wanted, fold


@pytest.mark.parametrize("min_events", [1, 2, 3])
@pytest.mark.parametrize("end", PROTOCOLS)
def test_labels_are_those_of_the_protocol(store: SequenceStore, end: Any, min_events: int) -> None:
    is_as_written(store, end, min_events)


Mutant = Callable[[pytest.MonkeyPatch], None]


def forgets_the_ends(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(NextRule, "scored", lambda rule, spec: np.array(rule.classes(spec)) != END)


def scores_the_ends(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(NextRule, "scored", lambda rule, spec: np.ones(len(rule.classes(spec)), bool))


def looks_at_the_next_customer(patch: pytest.MonkeyPatch) -> None:
    honest = labels.next_class
    patch.setattr(labels, "next_class", lambda near, rule: honest(near, replace(rule, end="none")))


def divides_by_time(patch: pytest.MonkeyPatch) -> None:
    honest = splits._cohorts
    by_time = {"order": "first_time"}
    patch.setattr(splits, "_cohorts", lambda table, s: honest(table, s.model_copy(update=by_time)))


@pytest.mark.parametrize(
    ("mutant", "end"),
    [
        (forgets_the_ends, "scored"),
        (scores_the_ends, "learnt"),
        (looks_at_the_next_customer, "scored"),
        (looks_at_the_next_customer, "learnt"),
        (divides_by_time, "none"),
    ],
)
def test_wrong_labels_are_caught(
    log: EventLog, mutant: Mutant, end: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        is_as_written(store_of(log, tmp_path / "store"), end)


def test_nobody_is_in_two_folds(store: SequenceStore) -> None:
    split = store.split
    rule = NextRule("next_event_type", "event_type", (), "scored")
    asked = [{case for case, *_ in of_table(store, fold, rule)} for fold in FOLDS]
    assert sum(map(len, asked)) == len(set.union(*asked)) == store.events.n_customers
    taking_part = np.stack([split.customers(fold, store.events.n_customers) for fold in FOLDS])
    assert (taking_part.sum(axis=0) == 1).all()


def everybody(split: Split) -> Split:
    return replace(split, customer_fold=None)


def test_somebody_in_two_folds_is_caught(store: SequenceStore) -> None:
    with pytest.raises(AssertionError):
        test_nobody_is_in_two_folds(replace(store, split=everybody(store.split)))


def follows(store: SequenceStore, rule: NextRule) -> None:
    """Each journey's last event is learnt from, as an end, at once and after any silence."""
    near = Neighbours(store.events, store.spec)
    points = NextObjective(rule, censored=False).points(near, store.split)
    rng = np.random.default_rng(3)
    draws = [points.draw(rng) for _ in range(30)]
    ours = store.split.customers("train", store.events.n_customers)[near.customer]
    last = near.next_time == NEVER
    end_class = len(store.spec.event_type.categories)
    assert (draws[0].weight == ours).all()
    assert (draws[0].label[ours & last] == end_class).all()
    assert (draws[0].label[ours & ~last] < end_class).all()
    silence = np.stack([draw.time - store.events.time for draw in draws])[:, ours & last]
    assert (silence >= 0).all()
    assert np.mean(silence == 0) == pytest.approx(0.5, abs=0.1)
    assert (store.events.time[last & ours] + silence < store.observed_until).all()
    assert np.median(silence[silence > 0]) > 86_400_000_000


def test_networks_learn_the_ends(store: SequenceStore) -> None:
    for end in PROTOCOLS[1:]:
        follows(store, NextRule("next_event_type", "event_type", (), end, 2))
    with pytest.raises(AssertionError):
        follows(store, NextRule("next_event_type", "event_type"))


@pytest.mark.parametrize("model", [Majority, RepeatLast, Markov])
def test_baselines_learn_the_ends(store: SequenceStore, model: Any) -> None:
    near = Neighbours(store.events, store.spec)
    share = {}
    for end in PROTOCOLS:
        rule = NextRule("next_event_type", "event_type", (), end, 2)
        train, test = (label_table(near, store.split, fold, rule) for fold in ("train", "test"))
        baseline = model(store.spec)
        baseline.fit(store.events, {train.task: train})
        predicted = baseline.predict(store.events, test)
        classes = len(rule.classes(store.spec))
        assert predicted.shape == (len(test), classes)
        assert predicted.sum(axis=1) == pytest.approx(np.ones(len(test)))
        share[end] = predicted[:, len(store.spec.event_type.categories) :].sum(axis=1).mean()
    rate = np.mean(train.label == train.label.max())
    assert rate > 1 / (classes + SPECIAL_TOKENS)
    assert share["none"] == 0
    assert share["learnt"] == pytest.approx(rate, abs=0.12)
    assert share["scored"] == pytest.approx(rate, abs=0.12)
