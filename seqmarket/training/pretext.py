"""Self-supervised batches and their losses, from the events of the training period alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqmarket.data.batch import TrainingPlan, Windows, collate, plan_training
from seqmarket.data.labels import newest_event
from seqmarket.data.sampler import training_batches
from seqmarket.data.store import SequenceStore
from seqmarket.errors import SeqmarketError
from seqmarket.nn.contrastive import contrastive_loss
from seqmarket.nn.next_event_joint import JointNextEvent, NextEvents
from seqmarket.schema import MICROSECONDS_PER_DAY, SPECIAL_TOKENS, UNK, EventArrays
from seqmarket.tensors import JourneyBatch
from seqmarket.training.config import RunConfig
from seqmarket.training.predictors import journeys_to
from seqmarket.training.pretrain_settings import ContrastivePretraining


@dataclass(frozen=True)
class Seen:
    """What pre-training may see: the training period of the customers of the training fold.

    Attributes:
        events: The store's events.
        newest: (C,) index of each customer's last event that may be seen, -1 where there is none.
        until: End of the training period, microseconds.
    """

    events: EventArrays
    newest: NDArray[np.int64]
    until: int

    @classmethod
    def of(cls, store: SequenceStore) -> Seen:
        """What may be seen of a store."""
        events, until = store.events, store.split.periods["train"].end
        newest = newest_event(events, until - 1)
        newest[~store.split.customers("train", events.n_customers)] = -1
        return cls(events, newest, until)


class Pretext(Protocol):
    """A task that needs no labels."""

    @property
    def head(self) -> nn.Module:
        """What is trained besides the encoder and thrown away afterwards."""
        ...

    def batches(self, epoch: int) -> list[Any]:
        """What each batch of an epoch is made of; a pure function of seed and epoch."""
        ...

    def loss(self, encoder: nn.Module, batch: Any, device: torch.device) -> Tensor:
        """() loss of one batch."""
        ...


def make_pretext(config: RunConfig, store: SequenceStore, d_model: int) -> Pretext:
    """The configured task.

    Raises:
        SeqmarketError: The training period has too little to learn from.
    """
    seen, settings = Seen.of(store), config.pretrain
    if isinstance(settings, ContrastivePretraining):
        return SameCustomer(seen, settings, store.spec.max_length, config.seed)
    training = config.training
    head = JointNextEvent(
        store.spec,
        d_model,
        hidden=training.head_hidden,
        dropout=training.head_dropout,
        components=training.time_components,
    )
    plan = plan_training(
        seen.events, seen.newest, store.spec.max_length, config.data.encoding.history
    )
    if len(plan.windows) == 0:
        raise _too_little("no customer has an event in the training period")
    assert settings.objective == "next_event"
    return NextEvent(seen, plan, head, settings.batch_size, config.seed)


class NextEvent:
    """Asks, right at every event of the training period, what comes next and when.

    After a customer's last event the answer is that nothing came until the period ended.
    """

    def __init__(
        self, seen: Seen, plan: TrainingPlan, head: JointNextEvent, batch_size: int, seed: int
    ) -> None:
        self.head = head
        self._seen = seen
        self._plan = plan
        self._batch_size = batch_size
        self._seed = seed
        head.start_from(self._asked(plan.take(self.batches(0)[0]))[2])

    def batches(self, epoch: int) -> list[NDArray[np.int64]]:
        """Indices of windows, of similar length."""
        length = self._plan.windows.length
        return training_batches(length, self._batch_size, seed=self._seed, epoch=epoch)

    def loss(self, encoder: nn.Module, batch: NDArray[np.int64], device: torch.device) -> Tensor:
        """See `Pretext`."""
        plan = self._plan.take(batch)
        row, position, following = self._asked(plan)
        journeys = journeys_to(collate(self._seen.events, plan.windows), device)
        states = encoder(journeys).states  # (B, T, D)
        place = torch.from_numpy(row * journeys.mask.size(1) + position).to(device)
        state = states.flatten(0, 1).index_select(0, place)
        time = journeys.time.flatten().index_select(0, place)
        return self.head(state, time, NextEvents(*(x.to(device) for x in following)))  # type: ignore[no-any-return]

    def _asked(self, plan: TrainingPlan) -> tuple[NDArray[np.int64], NDArray[np.int64], NextEvents]:
        """The rows and positions of the points of some windows, and what comes after each."""
        events, windows = self._seen.events, plan.windows
        index = windows.start[:, None] + np.arange(int(windows.length.max()))
        asked = (index >= plan.asked_from[:, None]) & (index < windows.stop[:, None])
        row, position = np.nonzero(asked)
        event = index[row, position]
        follows = event < self._seen.newest[windows.customer[row]]
        after = event + follows  # the event itself where none follows
        until = np.where(follows, events.time[after], self._seen.until)
        days = (until - events.time[event]) / MICROSECONDS_PER_DAY
        channel = np.maximum(events.channel[after].astype(np.int64) - SPECIAL_TOKENS, -1)
        kind = np.maximum(events.event_type[after].astype(np.int64) - SPECIAL_TOKENS, -1)
        following = NextEvents(
            channel=torch.from_numpy(np.where(follows, channel, -1)),
            event_type=torch.from_numpy(np.where(follows, kind, -1)),
            days=torch.from_numpy(days.astype(np.float32)),
            value=torch.from_numpy(np.where(follows, events.value[after], 0).astype(np.float32)),
            follows=torch.from_numpy(follows),
        )
        return row, position, following


class SameCustomer:
    """Asks which slices of the training period are of the same customer.

    A slice is shown as if it was a whole journey: how much came before it, and the customer's
    attributes, would tell customers apart without a look at the events.
    """

    def __init__(
        self, seen: Seen, settings: ContrastivePretraining, max_length: int, seed: int
    ) -> None:
        if settings.max_length > max_length:
            raise SeqmarketError(
                f"a slice of {settings.max_length} events is longer than an encoder is shown",
                where="pretrain.max_length",
                fix=f"at most data.encoding.max_length={max_length}",
            )
        self.head = nn.Module()  # the encoder alone is trained
        self._seen = seen
        self._settings = settings
        self._seed = seed
        first = np.asarray(seen.events.offsets[:-1])
        self._count = np.where(seen.newest >= 0, seen.newest + 1 - first, 0)
        self._customers = np.flatnonzero(self._count >= settings.min_length)
        if len(self._customers) < 2:
            raise _too_little(
                f"{len(self._customers)} customers have {settings.min_length} events or more in "
                "the training period"
            )

    def batches(self, epoch: int) -> list[Windows]:
        """Slices, `slices` of each customer of the batch."""
        rng = np.random.default_rng((self._seed, epoch, 1))
        return list(self._slices(rng, rng.permutation(self._customers)))

    def _slices(self, rng: np.random.Generator, customers: NDArray[np.int64]) -> Iterator[Windows]:
        settings = self._settings
        n_batches = max(len(customers) // settings.batch_size, 1)
        for chosen in np.array_split(customers, n_batches):
            customer = np.repeat(chosen, settings.slices)
            count = self._count[customer]
            longest = np.minimum(count, settings.max_length)
            length = rng.integers(settings.min_length, longest + 1)
            start = self._seen.events.offsets[customer] + rng.integers(0, count - length + 1)
            yield Windows(start, start + length, customer)

    def loss(self, encoder: nn.Module, batch: Windows, device: torch.device) -> Tensor:
        """See `Pretext`."""
        journeys = journeys_to(anonymous(collate(self._seen.events, batch)), device)
        owner = torch.from_numpy(batch.customer).to(device)
        return contrastive_loss(encoder(journeys).pooled, owner, self._settings.temperature)


def anonymous(batch: JourneyBatch) -> JourneyBatch:
    """The same events without what belongs to the customer as a whole."""
    return batch._replace(
        static_categorical=torch.full_like(batch.static_categorical, UNK),
        static_features=torch.zeros_like(batch.static_features),
        prior_days=torch.zeros_like(batch.prior_days),
        prior_events=torch.zeros_like(batch.prior_events),
    )


def _too_little(what: str) -> SeqmarketError:
    return SeqmarketError(
        f"there is nothing to pre-train on: {what}",
        where="pretrain",
        fix="a longer training period, shorter slices, or pretrain=none",
    )
