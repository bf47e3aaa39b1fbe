"""A log as its source gives it: pieces that nobody has looked into yet, and how to read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import polars as pl

from seqmarket.data.parsing import TimeFormat
from seqmarket.data.reading import RawPart
from seqmarket.data.validation import EventSchema


@dataclass(frozen=True)
class RawLog:
    """A log that has been found and not been read.

    Attributes:
        parts: Its pieces, usually one per file.
        schema: What it declares.
        name: Its name in reports and runs.
        fingerprint: SHA-256 of the source's content and of its settings that shape the log.
        times: How its times are written.
        allow_negative_value: Whether a negative value, such as a return, is legitimate.
        names: Column of the log -> its name in the user's files, for messages.
        customers: customer_id (String, unique) and the customers' features (String or Float64);
            None: the features, if any, are columns of the events.
        observed_until: End of the observation, exclusive; None: right after the last event.
        ties: What orders events of the same customer and time where no column is declared to:
            their content, or their position in the log.
    """

    parts: tuple[RawPart, ...]
    schema: EventSchema
    name: str
    fingerprint: str
    times: TimeFormat = field(default_factory=TimeFormat)
    allow_negative_value: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
    customers: pl.DataFrame | None = None
    observed_until: datetime | None = None
    ties: Literal["content", "position"] = "content"
