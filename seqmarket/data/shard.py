"""The validated events of some customers, as arrays: what the rooms of the engine hand on.

Texts are codes into a `Lexicon`: the sorted distinct texts of a column over the whole log, so that
a code, unlike an id of a vocabulary, depends on no split, and the order of codes is that of texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

ORDER, POSITION = "__order", "__position"
"""Numbers beyond those of a log that order events of one time: the declared one, the position."""

Lexicon = Mapping[str, tuple[str, ...]]
"""Column -> its distinct texts, sorted."""


@dataclass(frozen=True)
class Shard:
    """Events of c customers, e in all; those of customer i are ``offsets[i]:offsets[i + 1]``.

    Customers are in the order of their hash; a customer's events in the order of time, and events
    of the same time in the order of the declared `order`, then of their content.

    Attributes:
        customer_id: (c,) String.
        offsets: (c + 1,) int64.
        time: (e,) int64 microseconds since 1970-01-01 UTC.
        codes: channel, event_type and the categorical features: (e,) int32 codes, -1 for a null.
        numbers: value, cost and the numeric features: (e,) float64, NaN for a null; and `ORDER` or
            `POSITION`, where there is one.
        static_codes: The customers' categorical features: (c,) int32 codes, -1 for a null.
        static_numbers: The customers' numeric features: (c,) float64, NaN for a null.
    """

    customer_id: pl.Series
    offsets: NDArray[np.int64]
    time: NDArray[np.int64]
    codes: Mapping[str, NDArray[np.int32]]
    numbers: Mapping[str, NDArray[np.float64]]
    static_codes: Mapping[str, NDArray[np.int32]]
    static_numbers: Mapping[str, NDArray[np.float64]]

    @property
    def n_customers(self) -> int:
        """C."""
        return len(self.customer_id)

    @property
    def n_events(self) -> int:
        """E."""
        return len(self.time)

    @property
    def customer(self) -> NDArray[np.int64]:
        """(e,) index of each event's customer."""
        return np.repeat(np.arange(self.n_customers), np.diff(self.offsets))

    def keep(self, events: NDArray[np.bool_]) -> Shard:
        """The shard with these events only, and the customers that still have one.

        Args:
            events: (e,) which events stay.
        """
        length = np.diff(np.concatenate([[0], np.cumsum(events)])[self.offsets])
        stays = length > 0
        return Shard(
            customer_id=self.customer_id.filter(pl.Series(stays)),
            offsets=np.concatenate([[0], np.cumsum(length[stays])]).astype(np.int64),
            time=self.time[events],
            codes={name: column[events] for name, column in self.codes.items()},
            numbers={name: column[events] for name, column in self.numbers.items()},
            static_codes={name: column[stays] for name, column in self.static_codes.items()},
            static_numbers={name: column[stays] for name, column in self.static_numbers.items()},
        )
