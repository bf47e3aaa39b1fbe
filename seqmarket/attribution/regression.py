"""Poisson regression of purchases on faded, saturated counts of touches, with the customer known.

The honest simple competitor: what it lacks is interactions, order, and an intent that it would have
to infer from more than counts.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from itertools import pairwise
from typing import ClassVar, NamedTuple

import numpy as np
from pydantic import Field
from sklearn.linear_model import PoissonRegressor

from seqmarket.attribution.attributor import Attribution, Evidence
from seqmarket.attribution.grid import Grid, make_grid
from seqmarket.attribution.incremental import spread_over_touches
from seqmarket.attribution.journeys import Floats, Ints, Journeys
from seqmarket.data.settings import PositiveDuration, Settings
from seqmarket.data.simulation.response import shapley_weights
from seqmarket.schema import MICROSECONDS_PER_DAY, SPECIAL_TOKENS

log = logging.getLogger(__name__)


class Series(NamedTuple):
    """Events that fade: N of them, of several kinds.

    Attributes:
        customer: (N,).
        time: (N,) microseconds.
        kind: (N,) from 0.
    """

    customer: Ints
    time: Ints
    kind: Ints


class Regression(Settings):
    """Regression on faded counts; credit is the Shapley value of what it expects without channels.

    Fitted on the training period. Besides the touches it is told of other events, which fade
    likewise, how long the customer has been known, the day of the week, and the static features.
    Not of purchases: touches led to them, so that who met much and bought no more would seem
    unwilling, and the touches weak. Credit is signed, and what is expected without any is organic.

    Attributes:
        half_lives: In days, of the counts.
        saturation: Touches at which more of them hardly count.
        every: Longest stretch of time for which a rate is taken to be constant.
        penalty: Ridge penalty on standardised columns.
        exact_up_to: Channels up to which all sets are tried; beyond, `samples` orders are drawn.
        samples: Number of orders.
        seed: Of the orders.
    """

    half_lives: tuple[float, ...] = (1.0, 3.0, 7.0, 21.0)
    saturation: float = Field(2.0, gt=0)
    every: PositiveDuration = timedelta(days=1)
    penalty: float = Field(1e-5, ge=0)
    exact_up_to: int = Field(10, ge=1, le=16)
    samples: int = Field(200, ge=1)
    seed: int = Field(1, ge=0)

    signed: ClassVar[bool] = True

    def attribute(self, evidence: Evidence) -> Attribution:
        """See `Attributor`."""
        past, journeys = evidence.history, evidence.journeys
        n = len(journeys.channels)
        grid = make_grid(past.events, past.period, self.every)
        touched, known = self._columns(past, grid)
        kept = np.ptp(touched, axis=0) > 0
        mean, spread = known.mean(axis=0), known.std(axis=0) + 1e-9
        scale = touched[:, kept].std(axis=0)
        design = np.hstack([touched[:, kept] / scale, (known - mean) / spread])
        # Few columns, many rows: Newton's method takes six steps where others take hundreds.
        fitted = PoissonRegressor(alpha=self.penalty, solver="newton-cholesky", tol=1e-6).fit(
            design, grid.purchases / grid.days, sample_weight=grid.days
        )
        log.info("regression on %s stretches of time", f"{len(grid.time):,}")
        effect = np.zeros(touched.shape[1])
        effect[kept] = fitted.coef_[: kept.sum()] / scale
        other = fitted.coef_[kept.sum() :] / spread

        grid = make_grid(journeys.events, journeys.period, self.every)
        touched, known = self._columns(journeys, grid)
        background = fitted.intercept_ + (known - mean) @ other + np.log(grid.days)
        parts = (touched * effect).reshape(len(grid.time), n, -1).sum(axis=2)
        credit, organic = self._shapley(parts, background)
        return spread_over_touches("regression", journeys, grid, credit, organic)

    def _columns(self, journeys: Journeys, grid: Grid) -> tuple[Floats, Floats]:
        """What the touches of each channel amount to, (G, K * H), and everything else, (G, ...)."""
        events, lives = journeys.events, np.array(self.half_lives)
        touch = journeys.every_touch
        channel = journeys.channel_of(touch)
        touches = Series(journeys.owner[touch], events.time[touch], channel)
        state = faded(touches, len(journeys.channels), lives, grid)
        touched = self.saturation * -np.expm1(-state / self.saturation)
        others = np.flatnonzero(~journeys.is_touch & ~events.purchase)
        kind = events.event_type[others].astype(np.int64)
        rest = Series(journeys.owner[others], events.time[others], kind)
        also = np.log1p(faded(rest, len(journeys.spec.event_type.categories) + 2, lives, grid))
        day = grid.time / MICROSECONDS_PER_DAY
        since = day - events.time[events.offsets[grid.customer]] / MICROSECONDS_PER_DAY
        week = 2 * np.pi * day / 7
        static = events.static_features[grid.customer]
        categories = [
            events.static_categorical[grid.customer, i, None] == np.arange(SPECIAL_TOKENS, f.size)
            for i, f in enumerate(journeys.spec.static_categorical)
        ]
        columns = [also, np.log1p(since)[:, None], np.sin(week)[:, None], np.cos(week)[:, None]]
        return touched, np.hstack([*columns, static, *categories]).astype(np.float64)

    def _shapley(self, parts: Floats, background: Floats) -> tuple[Floats, Floats]:
        """(G, K) Shapley values of the expected purchases, and (G,) what is expected of none."""
        used = np.flatnonzero(np.abs(parts).max(axis=0) > 0)
        credit = np.zeros_like(parts)
        organic = np.exp(background)
        if len(used) <= self.exact_up_to:
            weight = shapley_weights(max(len(used), 1))
            for mask in range(2 ** len(used)):
                inside = [c for i, c in enumerate(used) if mask >> i & 1]
                outside = [c for c in used if c not in inside]
                expected = np.exp(background + parts[:, inside].sum(axis=1))
                for c in inside:
                    credit[:, c] += weight[len(inside) - 1] * expected
                for c in outside:
                    credit[:, c] -= weight[len(inside)] * expected
            return credit, organic
        random = np.random.default_rng(self.seed)
        for _ in range(self.samples):
            so_far, before = background.copy(), organic
            for c in random.permutation(used):
                so_far += parts[:, c]
                after = np.exp(so_far)
                credit[:, c] += (after - before) / self.samples
                before = after
        return credit, organic


def faded(series: Series, kinds: int, half_lives: Floats, grid: Grid) -> Floats:
    """(G, kinds * H) counts of each kind of event at the beginning of each stretch, faded."""
    n, g = len(series.time), len(grid.time)
    customer = np.concatenate([series.customer, grid.customer])
    time = np.concatenate([series.time, grid.time])
    asks = np.repeat([0, 1], [n, g])
    order = np.lexsort((asks, time, customer))
    customer, time = customer[order], time[order] / MICROSECONDS_PER_DAY
    row = order - n
    starts = np.searchsorted(customer, customer)
    place = np.arange(n + g) - starts
    by_place = np.argsort(place, kind="stable")
    bounds = np.searchsorted(place[by_place], np.arange(int(place.max(initial=-1)) + 2))
    n_customers = int(customer.max(initial=-1)) + 1
    state = np.zeros((n_customers, kinds, len(half_lives)))
    last = np.zeros(n_customers)
    out = np.empty((g, kinds, len(half_lives)), dtype=np.float32)
    for first, stop in pairwise(bounds):
        rows = by_place[first:stop]
        who, now = customer[rows], time[rows]
        state[who] *= 0.5 ** ((now - last[who])[:, None, None] / half_lives)
        last[who] = now
        asked = row[rows] >= 0
        out[row[rows][asked]] = state[who[asked]]
        happens = rows[~asked]
        state[customer[happens], series.kind[order[happens]]] += 1.0
    return np.asarray(out.reshape(g, -1), dtype=np.float64)
