"""From a validated log to arrays: what is fitted on the training period, and how it is applied."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.data.event_log import EventLog
from seqmarket.data.settings import EncodingSettings
from seqmarket.data.splits import Split
from seqmarket.data.vocabulary import (
    encode_categories,
    encode_numeric,
    fit_categories,
    fit_scaling,
)
from seqmarket.errors import SeqmarketError
from seqmarket.schema import (
    MICROSECONDS_PER_DAY,
    CategoricalFeature,
    EventArrays,
    SequenceSpec,
)


def customers_of(frame: pl.DataFrame) -> pl.DataFrame:
    """`customer_id`, `events` and `first_time` of each customer, in the order of the log."""
    return frame.group_by("customer_id", maintain_order=True).agg(
        pl.len().alias("events"), pl.col("time").first().alias("first_time")
    )


def static_frame(log: EventLog, customers: pl.DataFrame) -> pl.DataFrame:
    """One row per customer of the log, in its order; nulls where nothing is known of them."""
    ids = customers.select("customer_id")
    if log.static is None:
        return ids
    return ids.join(log.static.collect(), on="customer_id", how="left", maintain_order="left")


def fit_spec(
    log: EventLog,
    frame: pl.DataFrame,
    customers: pl.DataFrame,
    split: Split,
    settings: EncodingSettings,
) -> SequenceSpec:
    """Fits vocabularies and scalings on the training period of the training customers.

    Raises:
        SeqmarketError: If no event lies there.
    """
    lengths = customers["events"].to_numpy()
    taking_part = split.customers("train", len(customers))
    time = frame["time"].to_physical().to_numpy()
    training = frame.filter(np.repeat(taking_part, lengths) & (time < split.periods["train"].end))
    if training.is_empty():
        raise SeqmarketError(
            f"no event lies in the training period ({split.periods['train']})",
            where="data.split",
            fix="move data.split.train_end, or choose another data.split.kind",
        )
    static = static_frame(log, customers).filter(taking_part)
    # `cost` is an input only where training has any; `value` always is, so that it has a place.
    numeric = ["value", *(["cost"] if training["cost"].count() else []), *log.numeric]
    return SequenceSpec(
        channel=fit_categories("channel", training["channel"], settings),
        event_type=fit_categories("event_type", training["event_type"], settings),
        categorical=tuple(fit_categories(c, training[c], settings) for c in log.categorical),
        numeric=tuple(fit_scaling(name, training[name]) for name in numeric),
        static_categorical=tuple(
            fit_categories(name, static[name], settings) for name in log.static_categorical
        ),
        static_numeric=tuple(fit_scaling(name, static[name]) for name in log.static_numeric),
        purchase_event_types=log.purchase_event_types,
        max_length=settings.max_length,
        time_scale=_median_gap(training),
    )


def _median_gap(training: pl.DataFrame) -> float:
    """Median time between a customer's consecutive events, in days; simultaneous ones left out."""
    gap = training.select(pl.col("time").diff().over("customer_id").dt.total_microseconds())["time"]
    median = gap.filter(gap > 0).median()
    return float(median) / MICROSECONDS_PER_DAY if isinstance(median, int | float) else 1.0


def encode_events(frame: pl.DataFrame, static: pl.DataFrame, spec: SequenceSpec) -> EventArrays:
    """Encodes a log with a fitted spec: its own, or that of the log a model was trained on.

    Args:
        frame: Events, sorted by customer, then time.
        static: One row per customer, in the same order.
        spec: The fitted vocabularies and scalings.
    """
    lengths = customers_of(frame)["events"].to_numpy()
    return EventArrays(
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        time=frame["time"].to_physical().to_numpy().astype(np.int64),
        channel=encode_categories(spec.channel, frame["channel"]),
        event_type=encode_categories(spec.event_type, frame["event_type"]),
        purchase=frame["event_type"].is_in(list(spec.purchase_event_types)).to_numpy(),
        value=frame["value"].fill_null(0.0).to_numpy().astype(np.float32),
        categorical=_ids(spec.categorical, frame),
        features=encode_numeric(spec.numeric, frame),
        static_categorical=_ids(spec.static_categorical, static),
        static_features=encode_numeric(spec.static_numeric, static),
    )


def _ids(features: tuple[CategoricalFeature, ...], frame: pl.DataFrame) -> NDArray[np.int32]:
    columns = [encode_categories(feature, frame[feature.name]) for feature in features]
    if not columns:
        return np.zeros((frame.height, 0), dtype=np.int32)
    return np.stack(columns, axis=1)
