"""Learns what touches do to the rate of purchases, given all else that drives it.

Q  moments     P  pairs of a moment and an earlier touch     X  columns
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from seqmarket.attribution.columns import calendar_columns, slow_columns
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.moments import Moments, Pairs
from seqmarket.nn.touch_response import TouchResponse

_HISTORY = 20


class Believed(NamedTuple):
    """What is believed of the customers at Q moments.

    Attributes:
        mean: (Q,) of their intent.
        variance: (Q,).
        alive: (Q,) probability that they have not left.
    """

    mean: Floats
    variance: Floats
    alive: Floats


class PurchaseRate:
    """The rate of purchases: what is known of the customer, times the response to touches.

    Learnt by maximum likelihood of a Poisson process, with weak priors, by L-BFGS on all moments:
    there is no luck in it.

    Attributes:
        response: To touches.
        slope: What one unit of intent adds to its logarithm.
    """

    def __init__(
        self, journeys: Journeys, moments: Moments, pairs: Pairs, response: TouchResponse
    ) -> None:
        """Gathers what is asked about each moment.

        Args:
            journeys: Of the training period.
            moments: To learn from.
            pairs: Their earlier touches.
            response: At its start.
        """
        self.response = response
        customer, time = moments.customer, moments.time
        known = np.hstack([slow_columns(journeys, customer, time), calendar_columns(time)])
        spread = known.std(axis=0)
        known = (known - known.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0)
        self._known = torch.from_numpy(np.column_stack([np.ones(len(known)), known])).float()
        self._days = torch.from_numpy(moments.days).float()
        self._bought = torch.from_numpy(moments.purchase).float()
        self._age = torch.from_numpy(pairs.age)
        self._moment = torch.from_numpy(pairs.moment)
        self._channel = torch.from_numpy(journeys.channel_of(pairs.event))
        rate = moments.purchase.sum() / max(moments.days.sum(), 1e-9)
        self.slope = nn.Parameter(torch.tensor(0.3))
        self._coefficients = nn.Parameter(torch.zeros(self._known.shape[1]))
        self._coefficients.data[0] = float(np.log(max(rate, 1e-12)))

    def __copy__(self) -> PurchaseRate:
        """One that goes on by itself from here, and shares the moments."""
        other = object.__new__(PurchaseRate)
        other.__dict__.update(self.__dict__)
        other.response = copy.deepcopy(self.response)
        other.slope, other._coefficients = (
            nn.Parameter(own.detach().clone()) for own in (self.slope, self._coefficients)
        )
        return other

    def learn(self, about: Believed, weight: Floats, iterations: int) -> None:
        """Some iterations towards the likeliest rate.

        Args:
            about: What is believed of the customers at the moments.
            weight: (Q,) of the moments.
            iterations: Of L-BFGS.
        """
        mean, variance, alive = (torch.from_numpy(each).float() for each in about)
        count = torch.from_numpy(weight).float()
        days, bought = self._days * count * alive, self._bought * count
        scale = bought.sum().double().clamp(min=1.0)
        free = [self._coefficients, self.slope, *self.response.parameters()]
        optimizer = torch.optim.LBFGS(
            free, max_iter=iterations, history_size=_HISTORY, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            optimizer.zero_grad()
            log_rate = self._log_rate() + self.slope * mean
            # The mean of a log-normal is above the exponential of the mean.
            expected = (days * (log_rate + self.slope**2 * variance / 2).exp()).double().sum()
            found = expected - (bought * log_rate).double().sum() + self._penalty()
            (found / scale).backward()  # type: ignore[no-untyped-call]
            return (found / scale).detach()

        optimizer.step(loss)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def expected(self) -> Floats:
        """(Q,) purchases of middling intent in the days that each moment stands for."""
        return np.asarray((self._days * self._log_rate().exp()).double())

    def _penalty(self) -> Tensor:
        # Fewer purchases than columns, and the likeliest rate would be infinitely high.
        weights = self.slope.square() + self._coefficients[1:].square().sum()
        return self.response.penalty() + 0.5 * weights

    def _log_rate(self) -> Tensor:
        levels = self.response.levels(self._age, self._channel, self._moment, len(self._days))
        found: Tensor = self._known @ self._coefficients + self.response(levels)
        return found
