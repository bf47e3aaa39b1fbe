"""Poisson regression of purchases on faded, saturated counts of touches, with the customer known.

The honest simple competitor: what it lacks is interactions, order, half-lives of its channels, and
an intent that it would have to infer from more than counts.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from sklearn.linear_model import PoissonRegressor

from seqmarket.attribution.attributor import Attribution, Evidence
from seqmarket.attribution.coalitions import credit_touches, shapley_values
from seqmarket.attribution.columns import calendar_columns, slow_columns
from seqmarket.attribution.jackknife import Groups, check_purchases, with_replicates
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.moments import (
    Moments,
    Pairs,
    earlier_events,
    earlier_touches,
    moments_to_learn_from,
)
from seqmarket.attribution.paths import Ints
from seqmarket.data.settings import PositiveDuration, Settings

log = logging.getLogger(__name__)

_ALMOST_NOTHING = 1e-6


class Regression(Settings):
    """Regression on faded counts; credit is the Shapley value of what it expects without channels.

    Fitted on the training period. Besides the touches of the lookback it is told of other events,
    which fade likewise, how long the customer has been known, the season, and the static features.
    Not of purchases: touches led to them, so that who met much and bought no more would seem
    unwilling, and the touches weak. Credit is signed, and what is expected without any is organic.

    Attributes:
        half_lives: In days, of the counts.
        saturation: Touches at which more of them hardly count.
        per_purchase: Moments without a purchase that are drawn for each purchase.
        most: How many are drawn at most.
        longest: Longest stretch of time that one such moment stands for.
        penalty: Ridge penalty on standardised columns.
        exact_up_to: Channels before a conversion up to which all sets are tried; beyond, orders
            are drawn.
        samples: Number of orders.
        groups: Groups of customers, each of which is left out once for the intervals; 0: none.
        seed: Of the draws.
    """

    half_lives: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (1.0, 3.0, 7.0, 21.0), min_length=1
    )
    saturation: float = Field(2.0, gt=0)
    per_purchase: float = Field(10.0, gt=0)
    most: int = Field(600_000, ge=1_000)
    longest: PositiveDuration = timedelta(days=7)
    penalty: float = Field(1e-5, ge=0)
    exact_up_to: int = Field(10, ge=1, le=16)
    samples: int = Field(200, ge=1)
    groups: Groups = 10
    seed: int = Field(1, ge=0)

    signed: ClassVar[bool] = True

    def attribute(self, evidence: Evidence) -> Attribution:
        """See `Attributor`."""
        past, journeys = evidence.history, evidence.journeys
        check_purchases(past, "regression")
        moments = moments_to_learn_from(
            past,
            per_purchase=self.per_purchase,
            most=self.most,
            longest=self.longest,
            seed=self.seed,
        )
        design, n_touched = self._design(past, moments)
        fit = _Fit(design, moments, self.penalty)
        log.info("regression: learns from %s moments", f"{len(moments.time):,}")
        time = np.asarray(journeys.events.time[journeys.conversion])
        pairs = earlier_touches(journeys, journeys.converts, time)
        touched = self._touched(journeys, pairs, len(time))

        def credit_with(weight: Floats) -> Attribution:
            effect = fit(weight[moments.customer])[:n_touched]
            return self._credit(journeys, pairs, touched * effect)

        return with_replicates(journeys, credit_with, groups=self.groups, seed=self.seed)

    def _credit(self, journeys: Journeys, pairs: Pairs, each: Floats) -> Attribution:
        """From (V, K * H) effects at the conversions."""
        shape = len(each), len(journeys.channels), len(self.half_lives)
        parts = each.reshape(shape).sum(axis=2)
        values, organic = shapley_values(
            parts,
            lambda some: np.asarray(some.sum(axis=1)),
            exact_up_to=self.exact_up_to,
            samples=self.samples,
            seed=self.seed,
        )
        lookback = journeys.settings.lookback / timedelta(days=1)
        felt = 0.5 ** (pairs.age.astype(np.float64) / (lookback / 4))
        return credit_touches("regression", journeys, pairs, values, organic, felt)

    def _design(self, journeys: Journeys, moments: Moments) -> tuple[Floats, int]:
        """(Q, X) columns, and how many of them, the first, are of touches."""
        customer, time = moments.customer, moments.time
        touched = self._touched(
            journeys, earlier_touches(journeys, customer, time), len(moments.time)
        )
        events = journeys.events
        others = np.flatnonzero(~journeys.is_touch & ~events.purchase)
        pairs = earlier_events(journeys, others, customer, time)
        kinds = journeys.spec.event_type.size
        also = np.log1p(self._faded(pairs, events.event_type.astype(np.int64), kinds, len(time)))
        known = [slow_columns(journeys, customer, time), calendar_columns(time)]
        return np.hstack([touched, also, *known]), touched.shape[1]

    def _touched(self, journeys: Journeys, pairs: Pairs, n: int) -> Floats:
        """(N, K * H) what the touches of each channel amount to."""
        channel = journeys.channel_of(np.arange(journeys.events.n_events))
        state = self._faded(pairs, channel, len(journeys.channels), n)
        return np.asarray(self.saturation * -np.expm1(-state / self.saturation))

    def _faded(self, pairs: Pairs, kind: Ints, kinds: int, n: int) -> Floats:
        """(N, kinds * H) counts of each kind of event, faded."""
        cell = pairs.moment * kinds + kind[pairs.event]
        counts = [np.bincount(cell, 0.5 ** (pairs.age / h), n * kinds) for h in self.half_lives]
        return np.stack(counts, axis=1).reshape(n, kinds * len(counts)).astype(np.float64)


class _Fit:
    """The regression, which begins where it ended the last time."""

    def __init__(self, design: Floats, moments: Moments, penalty: float) -> None:
        spread = design.std(axis=0)
        self._changes = spread > 1e-9  # what never does has no effect
        self._spread = spread[self._changes]
        changing = design[:, self._changes]
        self._columns = (changing - changing.mean(axis=0)) / self._spread
        # A purchase has a moment and no days. In the likelihood that is a rate over almost none.
        self._days = np.where(moments.purchase > 0, _ALMOST_NOTHING, moments.days)
        self._rate = moments.purchase / self._days
        self._model = PoissonRegressor(
            alpha=penalty, solver="newton-cholesky", max_iter=100, tol=1e-6, warm_start=True
        )

    def __call__(self, weight: Floats) -> Floats:
        """(X,) what each column adds to the logarithm of the rate, of weighted moments."""
        known = self._days * weight > 0
        with np.errstate(over="ignore", invalid="ignore"):  # a step too far, which it takes back
            self._model.fit(
                self._columns[known], self._rate[known], sample_weight=(self._days * weight)[known]
            )
        effect = np.zeros(len(self._changes))
        effect[self._changes] = self._model.coef_ / self._spread
        return effect
