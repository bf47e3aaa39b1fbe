"""The nouns that the rooms of the house hand to each other. Imports nothing of ours.

Nor does it import torch: the nouns made of tensors are in `seqmarket.tensors`.

Shape legend, used in every model file::

    B  journeys in a batch          T  events of the longest journey in the batch
    D  width of a state             N  prediction points (any number per journey, also none)
    K  extra categorical features   F  numeric inputs per event (values, then missing flags)
    S  static categorical features  P  numeric inputs per customer
    C  customers in a store         E  events in a store

Times are int64 microseconds since 1970-01-01 UTC in every table and array, and float64 days since
then inside a `JourneyBatch`, where a network reads them (`MICROSECONDS_PER_DAY` converts).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

PAD = 0
UNK = 1
SPECIAL_TOKENS = 2
"""Ids below this one are PAD and UNK; the first known category has this id."""

MICROSECONDS_PER_DAY = 86_400_000_000

EVENT_COLUMNS = ("customer_id", "time", "channel", "event_type", "value", "cost")
"""Columns that every `EventLog` has, in this order, before its declared extra features."""

NEVER = np.iinfo(np.int64).max
"""The time of an event that does not happen within the observation."""

END = "<end>"
"""The class of a next event that never comes, where a task has such a class."""

TaskKind = Literal["categorical", "binary", "amount", "duration"]
"""What is predicted: a class, whether something happens, a sum of values, or a number of days."""


Outcome = Literal["happens", "absent", "value"]
"""What of a window is the label."""

EndClass = Literal["none", "learnt", "scored"]
"""Whether the end of a journey is a class of the next event."""

QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""The shares at which a duration is predicted."""

# What a model answers about N rows, by the kind of the task:
#   binary       (N,) probability of label 1
#   categorical  (N, classes) probabilities
#   amount       (N, 2) expected value, and median
#   duration     (N, len(QUANTILES)) days that are not exceeded with these probabilities


@dataclass(frozen=True)
class CategoricalFeature:
    """A fitted vocabulary: `categories[i]` has the id ``i + SPECIAL_TOKENS``."""

    name: str
    categories: tuple[str, ...]

    @property
    def size(self) -> int:
        """Number of ids, PAD and UNK included: the rows that an embedding table needs."""
        return len(self.categories) + SPECIAL_TOKENS


@dataclass(frozen=True)
class NumericFeature:
    """Robust scaling, fitted on the training period: ``(signed_log1p(x) - center) / scale``."""

    name: str
    center: float
    scale: float
    has_missing: bool


@dataclass(frozen=True)
class SequenceSpec:
    """Everything about the data that a model needs to be built, and to be fed when serving.

    Attributes:
        channel: Vocabulary of the channels; its categories are the classes of `next_channel`.
        event_type: Vocabulary of the event types.
        categorical: Vocabularies of the extra categorical features of an event, K of them.
        numeric: Scalings of the numeric features of an event; the first one is always `value`.
        static_categorical: Vocabularies of the categorical features of a customer, S of them.
        static_numeric: Scalings of the numeric features of a customer.
        purchase_event_types: Event types that count as a purchase.
        max_length: Most events that a model is shown of one customer (the newest ones).
        time_scale: Median gap between a customer's consecutive events in training, in days.
    """

    channel: CategoricalFeature
    event_type: CategoricalFeature
    categorical: tuple[CategoricalFeature, ...]
    numeric: tuple[NumericFeature, ...]
    static_categorical: tuple[CategoricalFeature, ...]
    static_numeric: tuple[NumericFeature, ...]
    purchase_event_types: tuple[str, ...]
    max_length: int
    time_scale: float

    @property
    def n_channels(self) -> int:
        """Number of known channels: the classes of the next-channel task, without PAD and UNK."""
        return len(self.channel.categories)

    @property
    def n_features(self) -> int:
        """F: one input per numeric feature, and a missing flag for each that was ever missing."""
        return len(self.numeric) + sum(feature.has_missing for feature in self.numeric)

    @property
    def n_static_features(self) -> int:
        """P: the same for the numeric features of a customer."""
        return len(self.static_numeric) + sum(f.has_missing for f in self.static_numeric)

    def to_dict(self) -> dict[str, Any]:
        """Plain containers only, ready for JSON and for a checkpoint that loads safely."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`, also after a round trip through JSON."""

        def vocabulary(item: Mapping[str, Any]) -> CategoricalFeature:
            return CategoricalFeature(item["name"], tuple(item["categories"]))

        return cls(
            channel=vocabulary(plain["channel"]),
            event_type=vocabulary(plain["event_type"]),
            categorical=tuple(vocabulary(item) for item in plain["categorical"]),
            numeric=tuple(NumericFeature(**item) for item in plain["numeric"]),
            static_categorical=tuple(vocabulary(item) for item in plain["static_categorical"]),
            static_numeric=tuple(NumericFeature(**item) for item in plain["static_numeric"]),
            purchase_event_types=tuple(plain["purchase_event_types"]),
            max_length=int(plain["max_length"]),
            time_scale=float(plain["time_scale"]),
        )


@dataclass(frozen=True)
class EventArrays:
    """All customers' encoded events, flat, ordered by customer, then time, then log position.

    The events of customer ``c`` are ``offsets[c]:offsets[c + 1]``. The arrays may be memory-mapped
    and are never written to.

    Attributes:
        offsets: (C + 1,) int64.
        time: (E,) int64 microseconds since 1970-01-01 UTC.
        channel: (E,) int32 ids; UNK for a channel that the training period did not show.
        event_type: (E,) int32 ids.
        purchase: (E,) bool, whether the event counts as a purchase.
        value: (E,) float32 in the log's own currency, 0 where the log has none.
        categorical: (E, K) int32 ids.
        features: (E, F) float32, scaled; a missing value is 0 with its flag at 1.
        static_categorical: (C, S) int32 ids.
        static_features: (C, P) float32, scaled.
    """

    offsets: NDArray[np.int64]
    time: NDArray[np.int64]
    channel: NDArray[np.int32]
    event_type: NDArray[np.int32]
    purchase: NDArray[np.bool_]
    value: NDArray[np.float32]
    categorical: NDArray[np.int32]
    features: NDArray[np.float32]
    static_categorical: NDArray[np.int32]
    static_features: NDArray[np.float32]

    @property
    def n_customers(self) -> int:
        """C."""
        return len(self.offsets) - 1

    @property
    def n_events(self) -> int:
        """E."""
        return len(self.time)


@dataclass(frozen=True)
class EventFilter:
    """Which events are meant: those that fulfil every condition that is given.

    Attributes:
        purchase: Purchases only.
        channel: Only events of one of these channels; empty: of any.
        event_type: Only events of one of these types; empty: of any.
        least_value: Only events of at least this value, in the log's own currency.
    """

    purchase: bool = False
    channel: tuple[str, ...] = ()
    event_type: tuple[str, ...] = ()
    least_value: float | None = None

    def mask(self, events: EventArrays, spec: SequenceSpec) -> NDArray[np.bool_]:
        """(E,) whether each event is meant; names that training did not show mean no event."""
        meant = np.ones(events.n_events, dtype=np.bool_)
        if self.purchase:
            meant &= events.purchase
        for ids, feature, names in (
            (events.channel, spec.channel, self.channel),
            (events.event_type, spec.event_type, self.event_type),
        ):
            if names:
                known = [i + SPECIAL_TOKENS for i, c in enumerate(feature.categories) if c in names]
                meant &= np.isin(ids, known)
        if self.least_value is not None:
            meant &= events.value >= self.least_value
        return meant


PURCHASES = EventFilter(purchase=True)
"""Events of a type that the log declares as a purchase."""
EVERY_EVENT = EventFilter()


@dataclass(frozen=True)
class NextRule:
    """A task about the customer's next event, in the order of the log.

    Attributes:
        task: Name of the task.
        of: What is asked of that event: its channel, its type, or the days until it comes.
        not_scored: Classes that are learnt, but whose rows are left out of every evaluation.
        end: Whether a journey's last event is followed by the class `END`, which comes after those
            of the log; `learnt`: and is not scored.
        min_events: Rows with fewer events of the customer, the newest one included, are learnt,
            but left out of every evaluation.
        silence: Of a task about the time: whether it is learnt, too, from events after which
            nothing came within the training period.
    """

    task: str
    of: Literal["channel", "event_type", "time"]
    not_scored: tuple[str, ...] = ()
    end: EndClass = "none"
    min_events: int = 1
    silence: bool = True

    @property
    def kind(self) -> TaskKind:
        """Days until the next event, or a class."""
        return "duration" if self.of == "time" else "categorical"

    def classes(self, spec: SequenceSpec) -> tuple[str, ...]:
        """The classes of a categorical task; none of one about the time."""
        if self.of == "time":
            return ()
        known = (spec.channel if self.of == "channel" else spec.event_type).categories
        return known if self.end == "none" else (*known, END)

    def scored(self, spec: SequenceSpec) -> NDArray[np.bool_]:
        """(classes,) whether a class has rows in an evaluation, and can be answered there."""
        without = (*self.not_scored, END) if self.end == "learnt" else self.not_scored
        return np.array([name not in without for name in self.classes(spec)], dtype=np.bool_)

    def ids(self, events: EventArrays) -> NDArray[np.int32]:
        """(E,) id of what is asked for, in each event; class ``i`` has ``i + SPECIAL_TOKENS``."""
        return events.channel if self.of == "channel" else events.event_type


@dataclass(frozen=True)
class WindowRule:
    """A task about the window ``(t, t + window]`` after a prediction time ``t``.

    Attributes:
        task: Name of the task.
        window: Its length, microseconds.
        outcome: Label 1 where a target `happens`, or where it is `absent`; or the summed `value`
            of the targets.
        target: The events that decide the label.
        active_within: Only customers active in ``(t - active_within, t]`` are asked about,
            microseconds.
        active: The events that count as being active.
    """

    task: str
    window: int
    outcome: Outcome
    target: EventFilter
    active_within: int
    active: EventFilter

    @property
    def kind(self) -> TaskKind:
        """A sum of values, or a yes or no."""
        return "amount" if self.outcome == "value" else "binary"


TaskRule = NextRule | WindowRule
"""How a task is labelled."""


@dataclass(frozen=True)
class LabelTable:
    """What is asked of a model for one task: a label per customer and prediction time.

    Every event that may be used lies at or before `event` in the customer's history. The label of
    a window task is decided strictly after `time`; rows whose window is censored are not in the
    table. Tasks about the next event go by position: it is the next one in the order of the
    log, which may have the same time as `event`.

    Attributes:
        task: Name of the task.
        kind: "binary" (label 0 or 1), "categorical" (label a class from 0), "amount" (label a sum
            of values) or "duration" (label in days).
        customer: (N,) int64 index of the customer in the store.
        event: (N,) int64 index, into the flat arrays, of the newest event that may be seen.
        time: (N,) int64 prediction time, microseconds; at or after the time of `event`.
        label: (N,) int64 of a binary or categorical task, float64 otherwise.
        rule: How the labels were made; None where a caller does not say.
    """

    task: str
    kind: TaskKind
    customer: NDArray[np.int64]
    event: NDArray[np.int64]
    time: NDArray[np.int64]
    label: NDArray[Any]
    rule: TaskRule | None = None

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: NDArray[Any]) -> LabelTable:
        """The rows with these indices (or where this mask holds), in their order."""
        return LabelTable(
            self.task,
            self.kind,
            self.customer[rows],
            self.event[rows],
            self.time[rows],
            self.label[rows],
            self.rule,
        )


class Baseline(Protocol):
    """The contract of every baseline: built as ``Model(spec, **hyperparameters)``.

    Attributes:
        kinds: The kinds of task that the baseline can answer.
    """

    kinds: frozenset[TaskKind]

    def fit(self, events: EventArrays, tables: Mapping[str, LabelTable]) -> None:
        """Learns from labelled rows of the training period, one table per task.

        Of `events` it may read a row's history only: up to the row's `event`, inclusive.
        """
        ...

    def predict(self, events: EventArrays, table: LabelTable) -> NDArray[np.float64]:
        """What the model says about each row, float64, as fits the kind of the task."""
        ...
