"""The validated event log: the only form in which data enters the house."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from seqmarket.data.parsing import TimeFormat
from seqmarket.data.quality import QualityReport
from seqmarket.data.reading import RawPart
from seqmarket.data.settings import ValidationSettings
from seqmarket.data.validation import EventSchema, validate_events
from seqmarket.errors import SeqmarketError


@dataclass(frozen=True)
class EventLog:
    """A validated log of events, and what is known about it.

    Attributes:
        frame: `EVENT_COLUMNS` (customer_id String, time Datetime("us", "UTC"), channel String,
            event_type String, value Float64, cost Float64), then the categorical (String) and
            numeric (Float64) features. Ordered by customer, then time, then position in the log;
            only value, cost and the features may be null.
        categorical: Extra categorical features of an event.
        numeric: Extra numeric features of an event.
        static: customer_id and the customers' features, one row per customer of the log, ordered
            by customer; None if there are none.
        static_categorical: Categorical features of a customer.
        static_numeric: Numeric features of a customer.
        purchase_event_types: Event types that count as a purchase.
        observed_until: End of the observation, exclusive, UTC.
        name: Name of the log in reports and runs.
        fingerprint: SHA-256 of the source's content and of the settings of the source that shape
            the log. `ValidationSettings` are not part of it.
        report: How the log was read.
    """

    frame: pl.LazyFrame
    categorical: tuple[str, ...]
    numeric: tuple[str, ...]
    static: pl.LazyFrame | None
    static_categorical: tuple[str, ...]
    static_numeric: tuple[str, ...]
    purchase_event_types: tuple[str, ...]
    observed_until: datetime
    name: str
    fingerprint: str
    report: QualityReport


def make_event_log(
    raw: Sequence[RawPart] | pl.LazyFrame | pl.DataFrame,
    schema: EventSchema,
    *,
    name: str,
    fingerprint: str,
    settings: ValidationSettings,
    quarantine_dir: Path,
    times: TimeFormat | None = None,
    allow_negative_value: bool = False,
    names: Mapping[str, str] | None = None,
    customers: pl.DataFrame | None = None,
    observed_until: datetime | None = None,
) -> EventLog:
    """Validates a raw log and makes the `EventLog`.

    Without `customers`, the customers' features are columns of the events, and a customer's value
    is the one at the first event: no later event can change what was known earlier.

    Args:
        raw: As for `validate_events`.
        schema: What the log declares.
        name: Name of the log.
        fingerprint: The source's fingerprint.
        settings: As for `validate_events`.
        quarantine_dir: Where a file of quarantined rows goes.
        times: As for `validate_events`.
        allow_negative_value: As for `validate_events`.
        names: As for `validate_events`.
        customers: customer_id (String, unique) and the customers' features (String or Float64).
        observed_until: End of the observation, exclusive; None: right after the last event.

    Raises:
        SeqmarketError: As `validate_events`; or an event lies at or after `observed_until`.
    """
    static = (*schema.static_categorical, *schema.static_numeric)
    from_events = customers is None and bool(static)
    frame, report = validate_events(
        raw,
        schema if from_events else replace(schema, static_categorical=(), static_numeric=()),
        settings=settings,
        quarantine_path=quarantine_dir / f"quarantine-{fingerprint[:12]}.parquet",
        times=times,
        allow_negative_value=allow_negative_value,
        names=names,
    )
    if from_events:
        journeys = frame.group_by("customer_id", maintain_order=True)
        customers = journeys.agg(pl.col(static).first())
        changed = journeys.agg(pl.col(static).n_unique() > 1).select(pl.col(static).sum())
        warnings = [
            f"'{column}' is a static feature and changes for {n} customers; the value at the "
            "first event counts"
            for column, n in changed.row(0, named=True).items()
            if n
        ]
        report = replace(report, warnings=(*report.warnings, *warnings))
        frame = frame.drop(static)
    elif customers is not None:
        ids = frame.select(pl.col("customer_id").unique(maintain_order=True))
        known = customers.select("customer_id", *static)
        customers = ids.join(known, on="customer_id", how="left", maintain_order="left")
    last = report.profile.last_time
    if observed_until is not None and observed_until <= last:
        late = frame.filter(pl.col("time") >= observed_until).height
        raise SeqmarketError(
            f"{late} events lie at or after the end of the observation, {observed_until}",
            where="data.observed_until",
            fix=f"set it later than the last event ({last}), or leave it null",
        )
    return EventLog(
        frame=frame.lazy(),
        categorical=schema.categorical,
        numeric=schema.numeric,
        static=customers.lazy() if customers is not None and static else None,
        static_categorical=schema.static_categorical,
        static_numeric=schema.static_numeric,
        purchase_event_types=schema.purchase_event_types,
        observed_until=observed_until or last + timedelta(microseconds=1),
        name=name,
        fingerprint=fingerprint,
        report=report,
    )
