"""Self-supervised batches: what they hold, and that they see the training period alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from seqmarket.cli.compose import load_config
from seqmarket.data.batch import collate, plan_training
from seqmarket.data.store import SequenceStore
from seqmarket.errors import SeqmarketError
from seqmarket.nn.next_event_joint import JointNextEvent
from seqmarket.schema import MICROSECONDS_PER_DAY, SPECIAL_TOKENS, UNK
from seqmarket.training.config import RunConfig
from seqmarket.training.pretext import NextEvent, SameCustomer, Seen, anonymous
from seqmarket.training.pretrain_settings import ContrastivePretraining
from seqmarket.training.pretraining import pretrain

SLICES = ContrastivePretraining(batch_size=10, slices=3, min_length=3, max_length=12)
SMALL = ["data=synthetic", "model=gru", "model.d_model=8", "pretrain.epochs=1"]
LENGTHS = ["pretrain.min_length=3", "pretrain.max_length=12"]


def config_of(objective: str, *more: str) -> RunConfig:
    lengths = LENGTHS if objective == "contrastive" else []
    return load_config([*SMALL, f"pretrain={objective}", *lengths, *more])


@pytest.fixture
def divided(store: SequenceStore) -> SequenceStore:
    """The store with the customers divided as well, two of three in training."""
    fold = (np.arange(store.events.n_customers) % 3 == 0).astype(np.int8)
    return replace(store, split=replace(store.split, customer_fold=fold))


def slices_are_sound(pretext: SameCustomer, seen: Seen) -> None:
    batches = pretext.batches(0)
    for batch in batches:
        first = seen.events.offsets[batch.customer]
        assert (batch.start >= first).all()
        assert (batch.stop <= seen.newest[batch.customer] + 1).all()
        assert (seen.events.time[batch.stop - 1] < seen.until).all()
        assert ((batch.length >= 3) & (batch.length <= 12)).all()
        who, times = np.unique(batch.customer, return_counts=True)
        assert len(who) > 1
        assert (times == 3).all()
    everybody = np.concatenate([np.unique(batch.customer) for batch in batches])
    enough = seen.newest - seen.events.offsets[:-1] + 1 >= 3
    expected = np.flatnonzero((seen.newest >= 0) & enough)
    assert sorted(everybody.tolist()) == expected.tolist()


@pytest.mark.parametrize("name", ["store", "divided"])
def test_slices_are_of_one_customer_each_and_of_the_training_period(
    request: pytest.FixtureRequest, name: str
) -> None:
    seen = Seen.of(request.getfixturevalue(name))
    slices_are_sound(SameCustomer(seen, SLICES, 16, seed=3), seen)


def test_slices_beyond_the_training_period_are_noticed(store: SequenceStore) -> None:
    everything = Seen(store.events, store.events.offsets[1:] - 1, store.observed_until)
    with pytest.raises(AssertionError):
        slices_are_sound(SameCustomer(everything, SLICES, 16, seed=3), Seen.of(store))


def test_slices_differ_by_epoch_and_seed_and_by_nothing_else(store: SequenceStore) -> None:
    def starts(seed: int, epoch: int) -> list[int]:
        pretext = SameCustomer(Seen.of(store), SLICES, 16, seed=seed)
        return np.concatenate([batch.start for batch in pretext.batches(epoch)]).tolist()

    assert starts(1, 0) == starts(1, 0)
    assert starts(1, 0) != starts(1, 1)
    assert starts(1, 0) != starts(2, 0)


def test_a_slice_does_not_tell_whose_it_is(store: SequenceStore) -> None:
    batch = SameCustomer(Seen.of(store), SLICES, 16, seed=3).batches(0)[0]
    shown = anonymous(collate(store.events, batch))
    assert (shown.prior_events == 0).all()
    assert (shown.prior_days == 0).all()
    assert (shown.static_categorical == UNK).all()
    assert (shown.static_features == 0).all()


def test_what_comes_next_is_what_a_plain_loop_finds(divided: SequenceStore) -> None:
    seen, events = Seen.of(divided), divided.events
    plan = plan_training(events, seen.newest, divided.spec.max_length, "windows")
    pretext = NextEvent(seen, plan, JointNextEvent(divided.spec, 4), 8, seed=1)
    found = {}
    for batch in pretext.batches(0):
        part = plan.take(batch)
        row, position, following = pretext._asked(part)
        for i, event in enumerate(part.windows.start[row] + position):
            assert event not in found
            found[int(event)] = [field[i].item() for field in following]
    expected = {}
    for customer in range(events.n_customers):
        own = range(events.offsets[customer], events.offsets[customer + 1])
        if divided.split.customer_fold[customer] != 0:
            continue
        known = [event for event in own if events.time[event] < seen.until]
        for event, after in zip(known, [*known[1:], None], strict=True):
            until = seen.until if after is None else events.time[after]
            days = float(np.float32((until - events.time[event]) / MICROSECONDS_PER_DAY))
            expected[event] = (
                [-1, -1, days, 0.0, False]
                if after is None
                else [
                    events.channel[after] - SPECIAL_TOKENS,
                    events.event_type[after] - SPECIAL_TOKENS,
                    days,
                    float(events.value[after]),
                    True,
                ]
            )
    assert found == expected


def scrambled(store: SequenceStore) -> SequenceStore:
    """Another future, and other customers of the other folds."""
    events = store.events
    customer = np.repeat(np.arange(events.n_customers), np.diff(events.offsets))
    unseen = events.time >= store.split.periods["train"].end
    others = ~store.split.customers("train", events.n_customers)[customer]
    hidden = unseen | others
    assert hidden.any()
    changed = {
        "time": events.time + np.where(unseen, 3_600_000_000, 0),
        "channel": np.where(hidden, SPECIAL_TOKENS, events.channel).astype(np.int32),
        "event_type": np.where(hidden, SPECIAL_TOKENS, events.event_type).astype(np.int32),
        "value": np.where(hidden, 1e6, events.value).astype(np.float32),
        "features": np.where(hidden[:, None], 9.0, events.features).astype(np.float32),
    }
    return replace(store, events=replace(events, **changed))


def sees_the_training_fold_alone(store: SequenceStore, objective: str) -> None:
    config = config_of(objective)
    one = pretrain(config, store, lambda *_: None)
    two = pretrain(config, scrambled(store), lambda *_: None)
    for name, value in one.items():
        assert torch.equal(value, two[name]), name


@pytest.mark.parametrize("objective", ["next_event", "contrastive"])
@pytest.mark.parametrize("name", ["store", "divided"])
def test_pre_training_sees_the_training_fold_alone(
    request: pytest.FixtureRequest, name: str, objective: str
) -> None:
    sees_the_training_fold_alone(request.getfixturevalue(name), objective)


def a_week_more(store: SequenceStore) -> Seen:
    seen = real(store)
    until = seen.until + 7 * MICROSECONDS_PER_DAY
    count = np.add.reduceat(store.events.time < until, store.events.offsets[:-1])
    return Seen(store.events, np.where(count > 0, store.events.offsets[:-1] + count - 1, -1), until)


def the_other_customers(store: SequenceStore) -> Seen:
    return real(replace(store, split=replace(store.split, customer_fold=None)))


real = Seen.of


@pytest.mark.parametrize("objective", ["next_event", "contrastive"])
@pytest.mark.parametrize("leak", [a_week_more, the_other_customers])
def test_a_glimpse_of_other_folds_is_noticed(
    divided: SequenceStore,
    objective: str,
    leak: Callable[[SequenceStore], Seen],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Seen, "of", leak)
    with pytest.raises(AssertionError):
        sees_the_training_fold_alone(divided, objective)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_length": 17}, "a slice of 17 events is longer than an encoder is shown"),
        ({"min_length": 12}, "have 12 events or more in the training period"),
    ],
)
def test_slices_that_cannot_be_had_are_refused(
    store: SequenceStore, settings: dict[str, Any], said: str
) -> None:
    seen = Seen.of(store)
    nobody = replace(seen, newest=np.full_like(seen.newest, -1))
    wanted = SLICES.model_copy(update=settings)
    with pytest.raises(SeqmarketError, match=said):
        SameCustomer(nobody if "min_length" in settings else seen, wanted, 16, seed=1)
