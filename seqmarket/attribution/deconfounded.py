"""A neural response to touches, learnt jointly with the hidden intent that confounds it."""

from __future__ import annotations

import copy
import logging
from datetime import timedelta
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field

from seqmarket.attribution.attributor import Attribution, Evidence
from seqmarket.attribution.coalitions import credit_touches, shapley_values
from seqmarket.attribution.effects import Believed, PurchaseRate
from seqmarket.attribution.intent import HiddenIntent
from seqmarket.attribution.jackknife import Groups, check_purchases, with_replicates
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.moments import Pairs, earlier_touches, moments_to_learn_from
from seqmarket.attribution.signals import Blocks, gather_signals
from seqmarket.data.settings import PositiveDuration, Settings
from seqmarket.nn.touch_response import TouchResponse

log = logging.getLogger(__name__)

_AT_FIRST, _IN_A_ROUND = 40, 12
"""Iterations for the response, before the intent is asked and then in every round."""

_WITHOUT_SOME = 60
"""Iterations where it goes on without some customers, in one go: L-BFGS begins anew in every round.
After three rounds of twelve, intervals were a fifth too narrow."""

_TURNS = 2
"""Of the intent, in every round."""


class Deconfounded(Settings):
    """Shapley values of a neural response to touches, with the customer's intent held fixed.

    Fitted on the training period. Credit is signed, and what would have been bought without any
    touch of the lookback is organic. What a channel does by making customers leave is seen as far
    as it shows within the lookback.

    Attributes:
        hidden: Units of the network for what channels do together; 0: channels add up.
        intent: Whether a hidden intent is inferred; without it, all must be in known features.
        block: Length of the stretches in which the intent is constant.
        rounds: Turns between the intent and the response.
        per_purchase: Moments without a purchase that are drawn for each purchase.
        most: How many are drawn at most.
        exact_up_to: Channels before a conversion up to which all sets are tried; beyond, orders
            are drawn.
        samples: Number of orders.
        groups: Groups of customers, each of which is left out once for the intervals; 0: none.
        seed: Of the draws.
    """

    hidden: int = Field(8, ge=0)
    intent: bool = True
    block: PositiveDuration = timedelta(days=12)
    rounds: int = Field(12, ge=1)
    per_purchase: float = Field(10.0, gt=0)
    most: int = Field(600_000, ge=1_000)
    exact_up_to: int = Field(10, ge=1, le=16)
    samples: int = Field(200, ge=1)
    groups: Groups = 10
    seed: int = Field(1, ge=0)

    signed: ClassVar[bool] = True

    def attribute(self, evidence: Evidence) -> Attribution:
        """See `Attributor`."""
        past, journeys = evidence.history, evidence.journeys
        check_purchases(past, "deconfounded")
        everybody = JointModel(past, self)
        members = past.members.astype(np.float64)
        everybody.learn(members, _AT_FIRST, self.rounds)
        time = np.asarray(journeys.events.time[journeys.conversion])
        pairs = earlier_touches(journeys, journeys.converts, time)

        def credit_with(weight: Floats) -> Attribution:
            model = everybody
            if not weight.all():
                # Without some customers little changes: it goes on from what all have shown.
                model = copy.copy(everybody)
                model.learn(weight * members, _WITHOUT_SOME, 1)
            return self._credit(journeys, pairs, model.rate.response)

        return with_replicates(journeys, credit_with, groups=self.groups, seed=self.seed)

    def _credit(self, journeys: Journeys, pairs: Pairs, response: TouchResponse) -> Attribution:
        channel = torch.from_numpy(journeys.channel_of(pairs.event))
        age, moment = torch.from_numpy(pairs.age), torch.from_numpy(pairs.moment)
        with torch.no_grad():
            levels = response.levels(age, channel, moment, len(journeys.conversion))
            felt = response.felt(age, channel)
        values, organic = shapley_values(
            levels.double().numpy(),
            lambda some: _effect(response, some),
            exact_up_to=self.exact_up_to,
            samples=self.samples,
            seed=self.seed,
        )
        each = felt.double().numpy()
        return credit_touches("deconfounded", journeys, pairs, values, organic, each)


@torch.no_grad()
def _effect(response: TouchResponse, levels: Floats) -> Floats:
    return np.asarray(response(torch.from_numpy(levels).float()).double())


class JointModel:
    """The rate of purchases and the hidden intent, learnt by turns.

    Attributes:
        rate: Of purchases.
        intent: Of the customers; None: not asked for.
    """

    def __init__(self, journeys: Journeys, settings: Deconfounded) -> None:
        """Gathers what is learnt from.

        Args:
            journeys: Of the training period.
            settings: Of the method.
        """
        moments = moments_to_learn_from(
            journeys,
            per_purchase=settings.per_purchase,
            most=settings.most,
            longest=settings.block / 2,
            seed=settings.seed,
        )
        pairs = earlier_touches(journeys, moments.customer, moments.time)
        touches = np.bincount(journeys.channel_of(pairs.event), minlength=len(journeys.channels))
        lookback = journeys.settings.lookback / timedelta(days=1)
        response = TouchResponse(
            torch.from_numpy(touches > 0), settings.hidden, lookback / 8, settings.seed
        )
        self.rate = PurchaseRate(journeys, moments, pairs, response)
        self.intent: HiddenIntent | None = None
        blocks = Blocks.of(journeys, settings.block)
        self._shape = (journeys.n_customers, blocks.number)
        self._customer = moments.customer
        self._cell = blocks.cell(moments.customer, moments.time)
        if settings.intent:
            self.intent = HiddenIntent(gather_signals(journeys, blocks))
        log.info(
            "deconfounded: learns from %s purchases and %s other moments",
            f"{int(moments.purchase.sum()):,}",
            f"{int((moments.days > 0).sum()):,}",
        )

    def __copy__(self) -> JointModel:
        """One that goes on by itself from here, and shares what is learnt from."""
        other = object.__new__(JointModel)
        other.__dict__.update(self.__dict__)
        other.rate, other.intent = copy.copy(self.rate), copy.copy(self.intent)
        return other

    def learn(self, weight: Floats, first: int, rounds: int) -> None:
        """Learns both.

        Args:
            weight: (C,) of the customers.
            first: Iterations for the response before the first round.
            rounds: In each, the intent is inferred, and then the response is learnt.
        """
        each = weight[self._customer]
        self.rate.learn(self._believed(), each, first)
        if self.intent is None:
            return
        for _ in range(rounds):
            expected = np.zeros(self._shape)
            np.add.at(expected.ravel(), self._cell, self.rate.expected())
            slope = self.intent.learn(expected, float(self.rate.slope.detach()), weight, _TURNS)
            with torch.no_grad():
                self.rate.slope.fill_(slope)
            self.rate.learn(self._believed(), each, _IN_A_ROUND)

    def _believed(self) -> Believed:
        n = len(self._cell)
        if self.intent is None:
            return Believed(np.zeros(n), np.zeros(n), np.ones(n))
        found = (self.intent.mean, self.intent.variance, self.intent.alive)
        return Believed(*(part.ravel()[self._cell] for part in found))
