"""How far credit is from the truth, where a simulated world tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.stats import spearmanr

from seqmarket.attribution.attributor import Attribution, by_customer, shares_of
from seqmarket.attribution.journeys import Journeys
from seqmarket.data.simulation.truth import Truth


@dataclass(frozen=True)
class TruthScores:
    """One method beside the truth; shares are of the credit of all touches together.

    Attributes:
        share_error: Mean absolute error of the channels' shares; NaN where the credit of all
            touches is not above 0.
        rank_correlation: Spearman's, of the channels' credit.
        organic_error: Organic conversions over the true ones, less 1.
        total_error: All conversions over the expected ones, less 1.
        placebo_share: Part of all positive credit that goes to channels that do nothing.
        harm_seen: Whether every channel that does harm has negative credit; None: there is none.
        channels: Those of the world, and others that have credit: `channel`, `share`,
            `true_share`, `credit`, `true_credit`, `error` (of the share).
    """

    share_error: float
    rank_correlation: float
    organic_error: float
    total_error: float
    placebo_share: float
    harm_seen: bool | None
    channels: pl.DataFrame


def against_truth(journeys: Journeys, found: Attribution, truth: Truth) -> TruthScores:
    """Compares what a method says of a period with what is true of it.

    Args:
        journeys: Of that period.
        found: What the method says.
        truth: Of the same period: Shapley values of the channels.
    """
    worth = dict(truth.channels.select("channel", "shapley").iter_rows())
    each = by_customer(journeys, found.credit).sum(axis=0)
    # What else counts as a touch, such as a visit, does nothing in the world.
    others = dict.fromkeys(np.array(journeys.channels)[each != 0].tolist(), 0.0)
    given = dict(zip(journeys.channels, each, strict=True))
    names = list(worth | others)
    # A channel that the training period did not show has no place of its own.
    credit = np.array([given.get(name, 0.0) for name in names])
    true = np.array([worth.get(name, 0.0) for name in names])
    share, true_share = shares_of(credit), shares_of(true)
    harmful = true < 0
    positive = credit[credit > 0].sum()
    return TruthScores(
        share_error=float(np.abs(share - true_share).mean()),
        rank_correlation=float(spearmanr(credit, true).statistic) if np.ptp(credit) else 0.0,
        organic_error=float(found.organic.sum() / truth.organic - 1),
        total_error=float(found.total / truth.expected - 1),
        placebo_share=float(credit[(true == 0) & (credit > 0)].sum() / positive)
        if positive > 0
        else 0.0,
        harm_seen=bool((credit[harmful] < 0).all()) if harmful.any() else None,
        channels=pl.DataFrame(
            {
                "channel": names,
                "share": share,
                "true_share": true_share,
                "credit": credit,
                "true_credit": true,
                "error": share - true_share,
            }
        ),
    )


def truth_table(
    journeys: Journeys, attributions: Mapping[str, Attribution], truth: Truth
) -> pl.DataFrame:
    """One row per method: its scores against the truth, the best share error first."""
    rows = []
    for method, found in attributions.items():
        scores = against_truth(journeys, found, truth)
        plain = {name: value for name, value in vars(scores).items() if name != "channels"}
        rows.append({"method": method, **plain})
    return pl.DataFrame(rows).sort("share_error")
