"""How far the methods agree with each other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from scipy.stats import spearmanr

from seqmarket.attribution.attributor import Attribution, by_customer, shares_of
from seqmarket.attribution.journeys import Floats, Journeys


def comparison_table(journeys: Journeys, attributions: Mapping[str, Attribution]) -> pl.DataFrame:
    """One row per method and other method, itself included.

    Columns: `method`, `organic_is`, `total` (conversions divided), `organic`, `organic_share` (of
    the total), `negative` (sum of the channels' credit below 0), `other`, `rank_correlation`
    (Spearman's, of the credit of the channels that are touched; null where all have the same) and
    `share_difference` (mean absolute, of their shares; null where the credit of all touches is not
    above 0).
    """
    touched = np.unique(journeys.channel)
    credit = {
        name: by_customer(journeys, found.credit).sum(axis=0)[touched]
        for name, found in attributions.items()
    }
    rows = []
    for name, found in attributions.items():
        organic = float(found.organic.sum())
        own = {
            "method": name,
            "organic_is": found.organic_is,
            "total": found.total,
            "organic": organic,
            "organic_share": organic / found.total if found.total else None,
            "negative": float(credit[name][credit[name] < 0].sum()),
        }
        for other in attributions:
            pair = credit[name], credit[other]
            rows.append(
                {
                    **own,
                    "other": other,
                    "rank_correlation": _rank_correlation(*pair),
                    "share_difference": _share_difference(*pair),
                }
            )
    return pl.DataFrame(rows, infer_schema_length=None)


def _rank_correlation(one: Floats, other: Floats) -> float | None:
    if len(one) < 2 or not np.ptp(one) or not np.ptp(other):
        return None
    return float(spearmanr(one, other).statistic)


def _share_difference(one: Floats, other: Floats) -> float | None:
    difference = np.abs(shares_of(one) - shares_of(other))
    return float(difference.mean()) if np.isfinite(difference).any() else None
