"""Journeys of a simulated world, with the truth about what each touch brought about.

    python train.py data=simulator data.preset=confounded
    seqmarket simulate data=simulator --output FOLDER     the log and the truth, as tables

Made in cohorts, one after the other, so that ten million customers need no more memory than a
thousand. The model is `seqmarket.data.simulation`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from seqmarket.data.engine.progress import Advance, Progress, lines
from seqmarket.data.raw_log import RawLog
from seqmarket.data.reading import RawPart
from seqmarket.data.settings import Moment, Settings
from seqmarket.data.simulation.cohort import SIZE, Cohort, simulate
from seqmarket.data.simulation.replay import replayed
from seqmarket.data.simulation.truth import Truth, truth_of
from seqmarket.data.simulation.world import PRESETS, STEPS, World
from seqmarket.data.sources.protocol import fingerprint_of
from seqmarket.data.validation import EventSchema
from seqmarket.schema import MICROSECONDS_PER_DAY

_REVISION = 1

_COHORTS_PER_PART = 40

_LOT = 1
"""Sets the numbers that decide which touches a replay keeps apart from those of the world."""

_COLUMNS: dict[str, pl.DataType] = {
    "customer_id": pl.String(),
    "time": pl.Datetime("us"),
    "channel": pl.String(),
    "event_type": pl.String(),
    "value": pl.Float64(),
    "cost": pl.Float64(),
}


class JourneySimulator(Settings):
    """A simulated log; the same settings give the same log.

    Events are registrations (`site`), touches of the world's channels, visits of a customer's own
    accord (`direct`), and purchases (`shop`). Where the world says so, customers have the features
    `intent_score`, a noisy measure of their intent, and `held_out`, the channel that they were kept
    from by lot (`all`, `none`).

    Attributes:
        name: Of the log, in reports and runs.
        preset: The world: `unconfounded`, `confounded`, `order_effects`, `sparse`, `long_paths`.
        n_customers: Number of customers; fewer are the first ones of more.
        days: Length of the observation.
        seed: Of the random numbers.
        start: Start of the observation.
        confounding: In place of the world's: how far intent drives the touches of targeted
            channels.
        intent_proxy: In place of the world's: correlation of `intent_score` with the lasting
            intent.
        visits: In place of the world's: visits per day.
        holdout: Share of the customers that are kept from one channel, or from all, by lot.
    """

    name: str = "simulator"
    preset: Literal["unconfounded", "confounded", "order_effects", "sparse", "long_paths"] = (
        "unconfounded"
    )
    n_customers: int = Field(10_000, ge=1)
    days: int = Field(180, ge=2)
    seed: int = Field(1, ge=0)
    start: Moment = datetime(2024, 1, 1, tzinfo=UTC)
    confounding: float | None = Field(None, ge=0, le=3)
    intent_proxy: float | None = Field(None, ge=0, le=1)
    visits: float | None = Field(None, ge=0)
    holdout: float = Field(0.0, ge=0, le=1)

    @property
    def world(self) -> World:
        """The structural model."""
        given = {
            name: value
            for name in ("confounding", "intent_proxy", "visits")
            if (value := getattr(self, name)) is not None
        }
        return replace(PRESETS[self.preset], **given)

    def check(self) -> None:
        """See `EventSource`. Nothing can be missing."""

    def fingerprint(self) -> str:
        """See `EventSource`. Another version of NumPy may draw other numbers, so it counts."""
        options = self.model_dump(mode="json", exclude={"name"})
        world = asdict(self.world)
        return fingerprint_of(_REVISION, {**options, "world": world, "numpy": np.__version__})

    def family(self) -> None:
        """See `EventSource`. It is one log, and does not grow."""

    def open(self) -> RawLog:
        """See `EventSource`. A part is simulated each time that it is read."""
        per_part = SIZE * _COHORTS_PER_PART
        columns = dict(_COLUMNS)
        if self.world.intent_proxy:
            columns["intent_score"] = pl.Float64()
        if self.holdout:
            columns["held_out"] = pl.String()
        parts = tuple(
            RawPart(
                pl.defer(partial(self._part, number), schema=columns),
                f"simulated customers from {number * per_part}",
            )
            for number in range(-(-self.n_customers // per_part))
        )
        return RawLog(
            parts=parts,
            schema=EventSchema(
                static_numeric=("intent_score",) if self.world.intent_proxy else (),
                static_categorical=("held_out",) if self.holdout else (),
            ),
            name=self.name,
            fingerprint=self.fingerprint(),
            observed_until=self.start + timedelta(days=self.days),
        )

    def truth(
        self,
        first_day: int = 0,
        until_day: int | None = None,
        *,
        touches: bool = False,
        advance: Advance = lambda _: None,
    ) -> Truth:
        """The true contributions to the purchases of a period.

        Args:
            first_day: Its first day, from 0.
            until_day: The day after its last; None: the end of the observation.
            touches: Whether each touch is measured by itself, which takes most of the time.
            advance: Told of the events of the customers that are done.
        """

        def cohorts() -> Iterator[Cohort]:
            for number in range(-(-self.n_customers // SIZE)):
                cohort = self._cohort(number)
                yield cohort
                happened = (cohort.touched.sum(), cohort.visited.sum(), cohort.bought.sum())
                advance(len(cohort.arrival) + int(sum(happened)))

        until = self.days if until_day is None else until_day
        steps = slice(first_day * STEPS, until * STEPS)
        return truth_of(self.world, cohorts(), steps, touches=touches)

    def replay(
        self, plans: Sequence[Mapping[str, float]], first_day: int, until_day: int
    ) -> list[float]:
        """Expected purchases of a period if only parts of its touches had been there.

        Touches before the period stay, and so does everybody's luck: plans that keep the same of a
        channel keep the same touches.

        Args:
            plans: By channel, the part of its touches that is kept, by lot; unnamed channels: none.
            first_day: The first day of the period, from 0.
            until_day: The day after its last.
        """
        world = self.world
        kept = np.array([[plan.get(name, 0.0) for name in world.names] for plan in plans])
        steps = slice(first_day * STEPS, until_day * STEPS)
        found = np.zeros(len(plans))
        for number in range(-(-self.n_customers // SIZE)):
            random = np.random.default_rng((self.seed, number, _LOT))
            found += replayed(world, self._cohort(number), kept, steps, random)
        return [float(expected) for expected in found]

    def write(self, folder: Path, *, touches: bool = False, progress: Progress = lines) -> Truth:
        """Writes the log and the truth about it, whole or not at all.

        `events/`, to be read with ``data=files data.path=FOLDER/events``; `channels.parquet` and
        `customers.parquet`, and `touches.parquet` where asked for, as of `Truth`, with the
        identifiers and times of the log; `about.json`: the settings, the world and the totals.

        Args:
            folder: Which does not exist.
            touches: See `truth`.
            progress: Told how far it has come.

        Raises:
            OSError: The system does not let us.
        """
        beside = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(beside, ignore_errors=True)
        try:
            (beside / "events").mkdir(parents=True)
            n_events = 0
            with progress("log", None) as advance:
                for number, part in enumerate(self.open().parts):
                    events = part.frame.collect()
                    events.write_parquet(beside / f"events/part-{number:04}.parquet")
                    n_events += len(events)
                    advance(len(events))
            with progress("truth", n_events) as advance:
                truth = self.truth(touches=touches, advance=advance)
            _named(truth.customers, self).write_parquet(beside / "customers.parquet")
            truth.channels.write_parquet(beside / "channels.parquet")
            if truth.touches is not None:
                _named(truth.touches, self).write_parquet(beside / "touches.parquet")
            totals = {name: getattr(truth, name) for name in ("expected", "organic", "purchases")}
            about = {"settings": self.model_dump(mode="json"), "world": asdict(self.world)}
            (beside / "about.json").write_text(json.dumps({**about, **totals}, indent=1))
            beside.rename(folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        return truth

    def _cohort(self, number: int) -> Cohort:
        size = min(SIZE, self.n_customers - number * SIZE)
        return simulate(self.world, self.days, self.seed, number, size, self.holdout)

    def _part(self, part: int) -> pl.DataFrame:
        numbers = range(part * _COHORTS_PER_PART, (part + 1) * _COHORTS_PER_PART)
        return pl.concat(
            _events(self, self._cohort(number), number * SIZE)
            for number in numbers
            if number * SIZE < self.n_customers
        )


def _named(table: pl.DataFrame, settings: JourneySimulator) -> pl.DataFrame:
    """The same with the identifiers and times of the log."""
    ids = customer_ids(table["customer"].cast(pl.Int64).to_numpy()).alias("customer_id")
    table = table.drop("customer").insert_column(0, ids)
    if "day" not in table.columns:
        return table
    past = (pl.col("day") * MICROSECONDS_PER_DAY).cast(pl.Int64).cast(pl.Duration("us"))
    start = pl.lit(settings.start.replace(tzinfo=None)).cast(pl.Datetime("us"))
    return table.with_columns(day=start + past).rename({"day": "time"})


def customer_ids(number: NDArray[np.int64]) -> pl.Series:
    """(N,) identifiers of the customers with these numbers."""
    return pl.Series(number).cast(pl.String).str.zfill(8).str.replace("^", "c")


def _events(settings: JourneySimulator, cohort: Cohort, first: int) -> pl.DataFrame:
    """All events of a cohort, whose first customer has this number."""
    world = settings.world
    n = len(cohort.arrival)
    n_channels, steps = cohort.touched.shape[:2]
    # As of one more kind of channel each: visits, purchases, registrations.
    happens = np.concatenate(
        [cohort.touched, cohort.visited[None], cohort.bought[None], np.zeros((1, steps, n), bool)]
    )
    happens[-1, cohort.arrival, np.arange(n)] = True
    kind, step, who = np.nonzero(happens)
    within = np.concatenate([cohort.moment, np.zeros((1, steps, n), np.float32)])[kind, step, who]
    buys = kind == n_channels + 1
    channels = np.array([*world.names, "direct", "shop", "site"])
    types = np.array(["touch"] * n_channels + ["visit", "purchase", "registration"])
    cost = np.array([channel.cost for channel in world.channels] + [0.0] * 3)
    start = np.datetime64(settings.start.replace(tzinfo=None), "us")
    past = (step + within.astype(np.float64)) * (MICROSECONDS_PER_DAY // STEPS)
    events = pl.DataFrame(
        {
            "customer_id": customer_ids(first + who),
            "time": start + past.astype("timedelta64[us]"),
            "channel": channels[kind],
            "event_type": types[kind],
            "value": np.where(buys, cohort.value[step, who], np.nan),
            "cost": cost[kind],
        }
    ).with_columns(pl.col("value").fill_nan(None))
    if world.intent_proxy:
        events = events.with_columns(intent_score=cohort.score[who])
    if settings.holdout:
        groups = np.array([*world.names, "all", "none"])
        events = events.with_columns(held_out=groups[cohort.held_out[who]])
    return events
