"""What can be set about reading, splitting and encoding a log: the typed form of `conf/data/`.

Imports neither Polars nor torch, so that a wrong setting is reported at once.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(s|m|h|d|w)\s*$")
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(MiB|GiB)\s*$")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_duration(value: Any) -> timedelta:
    """Reads ``7d``, ``12h``, ``90m``, ``30s`` or ``4w``.

    Raises:
        ValueError: For anything else, a bare number included: its unit would be a guess; and for
            what no calendar holds.
    """
    if isinstance(value, timedelta):
        return value
    match = _DURATION.match(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(
            f"a duration is a number and one of s, m, h, d, w, as in 7d; got {value!r}"
        )
    try:
        return timedelta(**{_UNITS[match[2]]: float(match[1])})
    except OverflowError as error:
        raise ValueError(f"{value!r} is longer than can be reckoned with") from error


def parse_size(value: Any) -> int:
    """Reads ``512MiB`` or ``2GiB``, in bytes.

    Raises:
        ValueError: For anything else, a bare number included: its unit would be a guess.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1 << 20:
        return value
    match = _SIZE.match(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"a size is a number and MiB or GiB, as in 512MiB; got {value!r}")
    return int(float(match[1]) * (1 << 20 if match[2] == "MiB" else 1 << 30))


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than 0")
    return value


def as_utc(value: datetime) -> datetime:
    """The same moment in UTC; a time without a zone is taken to be UTC."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
PositiveDuration = Annotated[timedelta, BeforeValidator(parse_duration), AfterValidator(_positive)]
Size = Annotated[int, BeforeValidator(parse_size)]
"""A number of bytes."""
Moment = Annotated[datetime, AfterValidator(as_utc)]
"""An ISO date or time; without a zone it is UTC."""


class Settings(BaseModel):
    """Base of all settings: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ValidationSettings(Settings):
    """How strictly a log is read.

    Attributes:
        policy: What happens to a row that breaks a rule: `error` stops, `quarantine` writes it
            beside the outputs with its reason and goes on, `drop` goes on. All are counted.
        duplicates: What happens to a row that repeats an earlier one in every declared column.
        not_after: Events after this moment are in the future and break a rule; null: now.
    """

    policy: Literal["error", "quarantine", "drop"] = "error"
    duplicates: Literal["drop", "keep", "error"] = "drop"
    not_after: Moment | None = None


class SplitSettings(Settings):
    """How a log is divided into training, validation and test.

    Attributes:
        kind: `time`: three consecutive periods, every customer in each. `time_and_customer`: the
            same, and each customer takes part in one of them only, by a stable hash. `cohort`:
            customers by `order`, each with the whole observed time.
            `customer`: the same by a stable hash, and asked after the warm-up only; with a
            `train_end`, training and validation end there, and the test asks everybody after it.
        order: `cohort`: customers by the moment of their first event, or by the position of their
            first row in the log, which needs `data.ties=position`.
        train_end: End of the training period, exclusive; null: by `train_fraction`.
        validation_end: End of the validation period; null: by `validation_fraction`.
        test_end: End of the test period; null: the end of the observation.
        train_fraction: Share of the observed time (`cohort` and `customer`: of the customers) for
            training. In an observation of ten days or more, a boundary by share lies at the
            midnight (UTC) before.
        validation_fraction: The share for validation; the rest is the test.
        warm_up: No baseline is trained at a cutoff in this first stretch of the log (at most half
            of the training period), where windows into the past are not yet filled; in ten days
            or more it lasts until a midnight (UTC).
        cutoff_every: Distance of the calendar cutoffs at which predictions are evaluated.
    """

    kind: Literal["time", "time_and_customer", "cohort", "customer"] = "time"
    order: Literal["first_time", "position"] = "first_time"
    train_end: Moment | None = None
    validation_end: Moment | None = None
    test_end: Moment | None = None
    train_fraction: float = Field(0.65, gt=0, lt=1)
    validation_fraction: float = Field(0.15, gt=0, lt=1)
    warm_up: Duration = timedelta(days=56)
    cutoff_every: PositiveDuration = timedelta(days=7)


class EncodingSettings(Settings):
    """How events become ids and numbers.

    Attributes:
        max_length: Most events that a model is shown of one customer (the newest ones).
        history: What is trained on of a journey longer than that: `windows` asks about every event
            of the training period, `newest` shows the last window alone, faster and less exact.
        min_count: A category seen less often in the training period is encoded as UNK.
        max_categories: Only that many categories of a feature, the most frequent ones, get an id.
    """

    max_length: int = Field(256, ge=2)
    history: Literal["newest", "windows"] = "windows"
    min_count: int = Field(1, ge=1)
    max_categories: int = Field(10_000, ge=1)

    def shaping_a_store(self) -> dict[str, Any]:
        """The settings that decide what is stored, not only what is shown of it."""
        return self.model_dump(mode="json", exclude={"history"})


class ResourceSettings(Settings):
    """What encoding may use. It has no influence on the result, to the bit.

    Attributes:
        memory: What encoding may use beyond the libraries themselves. One customer's events are
            always held together, whatever it says.
        threads: Number of chunks or shards that are worked on at once.
        shards: Number of shards that the customers are divided into; null: by `memory`.
        address: With `data.engine=ray`, the cluster to join, as ray.init reads it; null: the one
            that RAY_ADDRESS names, else one on this machine.
    """

    memory: Annotated[Size, Field(ge=64 << 20)] = 256 << 20
    threads: int = Field(2, ge=1)
    shards: int | None = Field(None, ge=1, le=65_536)
    address: str | None = None
