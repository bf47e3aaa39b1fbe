"""A small seeded log of made-up journeys, for tests and demonstrations.

Each customer belongs to a segment, which sets how often they act, how readily they buy and how
soon they are lost; a device; and a rate of their own. Channels follow a Markov chain, the time to
the next event and the probability of a purchase depend on the channel, and after each event the
customer may be lost for good. So what comes next, who buys and who is lost can all be learnt from
the journey, and none of it can be known.
"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
from pydantic import Field

from seqmarket.data.raw_log import RawLog
from seqmarket.data.reading import RawPart
from seqmarket.data.settings import Moment, Settings
from seqmarket.data.sources.protocol import fingerprint_of
from seqmarket.data.validation import EventSchema
from seqmarket.schema import MICROSECONDS_PER_DAY

_REVISION = 1

CHANNELS = ("display", "social", "search", "email", "direct", "store")
_TRANSITIONS = np.array(
    [  # to: display social search email direct store
        [0.30, 0.15, 0.35, 0.05, 0.10, 0.05],
        [0.15, 0.40, 0.25, 0.05, 0.10, 0.05],
        [0.05, 0.05, 0.20, 0.10, 0.50, 0.10],
        [0.05, 0.05, 0.15, 0.25, 0.40, 0.10],
        [0.05, 0.05, 0.10, 0.35, 0.30, 0.15],
        [0.10, 0.05, 0.05, 0.25, 0.10, 0.45],
    ]
)
_BUYING = np.array([0.01, 0.02, 0.10, 0.12, 0.35, 0.60])  # probability that an event is a purchase
_WAITING = np.array([1.3, 1.2, 0.3, 0.9, 1.1, 1.4])  # time to the next event, relative
_COST = np.array([0.02, 0.10, 0.60, 0.01, 0.0, 0.0])

SEGMENTS = ("loyal", "occasional", "passing")
_SEGMENT_SHARE = np.array([0.25, 0.45, 0.30])
_EVENTS_PER_DAY = np.array([0.35, 0.15, 0.20])
_BUYING_FACTOR = np.array([1.3, 1.0, 0.4])
_LOSS = np.array([0.004, 0.02, 0.10])  # probability of being lost after an event

DEVICES = ("desktop", "mobile", "tablet")
_DEVICE_SHARE = np.array([0.40, 0.45, 0.15])


class SyntheticJourneys(Settings):
    """Journeys of made-up customers; the same settings give the same log.

    Attributes:
        name: Of the log, in reports and runs.
        n_customers: Number of customers.
        days: Length of the observation.
        seed: Of the random numbers.
        start: Start of the observation.
    """

    name: str = "synthetic"
    n_customers: int = Field(500, ge=1)
    days: int = Field(240, ge=1)
    seed: int = Field(1, ge=0)
    start: Moment = datetime(2024, 1, 1, tzinfo=UTC)

    def check(self) -> None:
        """See `EventSource`. Nothing can be missing."""

    def fingerprint(self) -> str:
        """See `EventSource`. Another version of NumPy may draw other numbers, so it counts."""
        options = self.model_dump(mode="json", exclude={"name"})
        return fingerprint_of(_REVISION, {**options, "numpy": np.__version__})

    def family(self) -> None:
        """See `EventSource`. It is one log, and does not grow."""

    def open(self) -> RawLog:
        """See `EventSource`."""
        events, customers = self._generate()
        return RawLog(
            parts=(RawPart(events.lazy(), "synthetic"),),
            schema=EventSchema(
                categorical=("device",), numeric=("pages",), static_categorical=("segment",)
            ),
            name=self.name,
            fingerprint=self.fingerprint(),
            customers=customers,
        )

    def _generate(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The events, one round of all customers who are still there after the other."""
        random = np.random.default_rng(self.seed)
        n = self.n_customers
        segment = random.choice(len(SEGMENTS), n, p=_SEGMENT_SHARE)
        device = random.choice(len(DEVICES), n, p=_DEVICE_SHARE)
        rate = _EVENTS_PER_DAY[segment] * random.gamma(4.0, 1 / 4.0, n)
        ready = _BUYING_FACTOR[segment] * random.lognormal(0.0, 0.3, n)
        basket = random.lognormal(3.0, 0.5, n)

        who = np.arange(n)  # the customers who are still there
        day = random.uniform(0.0, 0.5 * self.days, n)  # customers arrive during the first half
        channel = random.choice(len(CHANNELS), n, p=[0.25, 0.25, 0.25, 0.0, 0.15, 0.10])
        rounds = []
        while who.size:
            buys = random.random(who.size) < np.minimum(_BUYING[channel] * ready[who], 0.9)
            value = np.round(basket[who] * random.lognormal(0.0, 0.4, who.size), 2)
            pages = 1.0 + random.poisson(2.0 + 4.0 * buys)
            seen_on = np.where(
                random.random(who.size) < 0.85, device[who], random.choice(len(DEVICES), who.size)
            )
            online = channel != CHANNELS.index("store")
            rounds.append(
                (
                    who,
                    day,
                    channel,
                    buys,
                    np.where(buys, value, np.nan),
                    np.where(online, pages, np.nan),
                    np.where(online, seen_on, -1),
                )
            )
            stays = random.random(who.size) >= _LOSS[segment[who]]
            day = day + random.exponential(_WAITING[channel] / rate[who])
            steps = _TRANSITIONS[channel].cumsum(axis=1)
            channel = (random.random((who.size, 1)) >= steps[:, :-1]).sum(axis=1)
            stays &= day < self.days
            who, day, channel = who[stays], day[stays], channel[stays]

        who, day, channel, buys, value, pages, seen_on = map(
            np.concatenate, zip(*rounds, strict=True)
        )
        start = np.datetime64(self.start.replace(tzinfo=None), "us")
        ids = np.array([f"c{number:06d}" for number in range(n)])
        events = pl.DataFrame(
            {
                "customer_id": ids[who],
                "time": start + (day * MICROSECONDS_PER_DAY).astype("timedelta64[us]"),
                "channel": np.array(CHANNELS)[channel],
                "event_type": np.where(buys, "purchase", "touch"),
                "value": value,
                "cost": _COST[channel],
                "device": np.array([*DEVICES, ""])[seen_on],
                "pages": pages,
            },
        ).with_columns(pl.col("value", "pages").fill_nan(None))
        customers = pl.DataFrame({"customer_id": ids, "segment": np.array(SEGMENTS)[segment]})
        return events, customers
