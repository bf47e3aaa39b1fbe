"""What each touch contributed: one table for any set of methods."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from seqmarket.attribution.attributor import Attribution
from seqmarket.attribution.journeys import Journeys


def attribution_table(journeys: Journeys, attributions: Mapping[str, Attribution]) -> pl.DataFrame:
    """One row per touch and method.

    Columns: `method`, `customer` (the row of the customer in the store, not an identifier), `touch`
    (its place among the customer's events, from 0), `time` (UTC), `channel`, `credit` (conversions,
    signed), `value`.
    """
    names = np.array(journeys.channels)
    touches = pl.DataFrame(
        {
            "customer": journeys.customer,
            "touch": journeys.touch - journeys.events.offsets[journeys.customer],
            "time": pl.Series(journeys.time).cast(pl.Datetime("us", "UTC")),
            "channel": names[journeys.channel],
        }
    )
    return pl.concat(
        touches.with_columns(credit=found.credit, value=found.value).insert_column(
            0, pl.Series([method], dtype=pl.String).new_from_index(0, len(touches)).alias("method")
        )
        for method, found in attributions.items()
    )
