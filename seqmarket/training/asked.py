"""What a run was asked, of whom and as of when: what a comparison of runs has to hold side by side.

Two files of a run's results. ``rows.parquet`` describes each row of the test as it stood at its
prediction time, so that it can be said where a model is good. ``terms.json`` says what must be the
same for two runs to be comparable at all: the log, the periods, the customers, the labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.data.splits import FOLDS, to_datetime
from seqmarket.data.store import SequenceStore
from seqmarket.schema import (
    MICROSECONDS_PER_DAY,
    SPECIAL_TOKENS,
    CategoricalFeature,
    EventArrays,
    LabelTable,
    NumericFeature,
    SequenceSpec,
)
from seqmarket.training.config import DataConfig
from seqmarket.training.tasks import Task

ROWS, TERMS = "rows.parquet", "terms.json"
STATIC = "static."
"""Beginning of the name of a column that describes the customer."""


def row_table(
    tables: Mapping[str, LabelTable], events: EventArrays, spec: SequenceSpec
) -> pl.DataFrame:
    """What was known of each row's customer at its prediction time, in the order of the tables.

    Columns: `task`, `customer` (the row of the customer in the store, not an identifier),
    `prediction_time` (UTC), `last_channel`, `events` (so far), `recency` and `tenure` (days since
    the newest and the first event), `spent` (value of all purchases so far), and ``static.NAME``
    for each feature of the customer.
    """
    bought = np.where(events.purchase, events.value, 0.0)
    spent = np.concatenate(([0.0], np.cumsum(bought, dtype=np.float64)))
    frames = [_described(table, events, spec, spent) for table in tables.values()]
    return pl.concat(frames) if frames else pl.DataFrame()


def _described(
    table: LabelTable, events: EventArrays, spec: SequenceSpec, spent: NDArray[np.float64]
) -> pl.DataFrame:
    first = events.offsets[table.customer]
    columns: dict[str, Any] = {
        "task": pl.Series([table.task], dtype=pl.String).new_from_index(0, len(table)),
        "customer": table.customer,
        "prediction_time": pl.Series(table.time).cast(pl.Datetime("us", "UTC")),
        "last_channel": _texts(events.channel[table.event], spec.channel),
        "events": table.event - first + 1,
        "recency": (table.time - events.time[table.event]) / MICROSECONDS_PER_DAY,
        "tenure": (table.time - events.time[first]) / MICROSECONDS_PER_DAY,
        "spent": spent[table.event + 1] - spent[first],
    }
    for place, feature in enumerate(spec.static_categorical):
        ids = events.static_categorical[table.customer, place]
        columns[f"{STATIC}{feature.name}"] = _texts(ids, feature)
    numbers = events.static_features[table.customer]
    flag = len(spec.static_numeric)  # the flags of what is missing stand behind the values
    for place, numeric in enumerate(spec.static_numeric):
        values = _unscaled(numbers[:, place], numeric)
        if numeric.has_missing:
            values[numbers[:, flag] > 0] = np.nan
            flag += 1
        columns[f"{STATIC}{numeric.name}"] = values
    return pl.DataFrame(columns)


def _texts(ids: NDArray[np.int32], feature: CategoricalFeature) -> pl.Series:
    names = pl.Series([None] * SPECIAL_TOKENS + list(feature.categories), dtype=pl.String)
    return names.gather(pl.Series(ids))


def _unscaled(scaled: NDArray[np.float32], numeric: NumericFeature) -> NDArray[np.float64]:
    """A number in its own unit: the inverse of its scaling."""
    logged = scaled.astype(np.float64) * numeric.scale + numeric.center
    return np.asarray(np.sign(logged) * np.expm1(np.abs(logged)))


def terms(store: SequenceStore, data: DataConfig, tasks: Mapping[str, Task]) -> dict[str, Any]:
    """What must be the same in two runs for their rows to mean the same, as plain containers.

    How the log was encoded is not among it: models may differ in what they are shown.
    """
    settings = data.log.model_dump(mode="json")
    return {
        "log": {
            "name": store.name,
            "source": None if store.gate is None else store.gate.source,
            "gate": {} if store.gate is None else dict(store.gate.parts),
            "validation": settings["validation"],
            "cleaning": settings["cleaning"],
        },
        "customers": _customers_digest(store),
        "split": {
            "periods": {
                fold: [to_datetime(moment).isoformat() for moment in (period.start, period.end)]
                for fold in FOLDS
                for period in [store.split.periods[fold]]
            },
            "cutoff_every_days": store.split.cutoff_every / MICROSECONDS_PER_DAY,
            "kind": data.split.kind,
            "folds_of_customers": None
            if store.split.customer_fold is None
            else hashlib.sha256(store.split.customer_fold.tobytes()).hexdigest(),
        },
        "labels": {
            name: {"in_words": task.definition, "rule": asdict(task.rule)}
            for name, task in tasks.items()
        },
    }


def _customers_digest(store: SequenceStore) -> str:
    """By which the customers' numbers of two stores are known to mean the same customers."""
    digest = hashlib.sha256()
    for name in ("customer_id_offsets.npy", "customer_id_bytes.npy"):
        digest.update(np.load(store.path / name).tobytes())
    return digest.hexdigest()
