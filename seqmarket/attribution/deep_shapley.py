"""Shapley values of the channels before each conversion, played with the run's model.

Source: Shapley, "A value for n-person games" (1953); drawn orders after Castro, Gomez and Tejada,
"Polynomial calculation of the Shapley value based on sampling" (2009), each with its reverse.
"""

from __future__ import annotations

import logging
from typing import ClassVar

import numpy as np
from pydantic import Field

from seqmarket.attribution.asking import PurchaseModel
from seqmarket.attribution.attributor import Attribution, Evidence
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.paths import Ints
from seqmarket.attribution.sharing import divided
from seqmarket.attribution.without_touches import channels_of_paths, expected_without
from seqmarket.data.settings import Settings
from seqmarket.data.simulation.response import shapley_weights
from seqmarket.errors import SeqmarketError

log = logging.getLogger(__name__)

_MOST = 62
"""Channels whose sets fit in the bits of an integer."""

_AT_ONCE = 1 << 18
"""Sets that are listed before the model is asked about them."""


class DeepShapley(Settings):
    """Shapley values of what the model expects with the touches of each set of channels.

    The players are the channels of a conversion's path; touches of the others are taken out of the
    journey (`journeys_without`), and the model is asked what it expects just before the conversion.
    The values sum to the part of the conversion that is not organic (`CounterfactualRemoval`), by
    their nature and without scaling. Touches of one channel share its value alike.

    Attributes:
        exact_up_to: Channels of a path up to which all sets are asked about.
        samples: Orders of the channels that are drawn beyond, the same for all paths with as many.
        seed: Of the draws.
    """

    exact_up_to: int = Field(6, ge=1, le=12)
    samples: int = Field(20, ge=2, multiple_of=2)
    seed: int = Field(1, ge=0)

    signed: ClassVar[bool] = True
    asks_model: ClassVar[bool] = True

    def attribute(self, evidence: Evidence) -> Attribution:
        """See `Attributor`."""
        journeys, paths = evidence.journeys, evidence.journeys.converting
        model = PurchaseModel.of(evidence, "deep_shapley")
        path, _ = paths.rows()
        present = channels_of_paths(journeys)
        first = np.searchsorted(present.path, np.arange(len(paths.first)))
        player = present.of_touch - first[path]
        players = np.bincount(present.path, minlength=len(paths.first))
        everything = model.with_all_touches(journeys)
        worth = np.zeros(len(present.path))
        asked = 0
        for n in np.unique(players[players > 0]):
            sets, weights = self._game(int(n))
            alike = np.flatnonzero(players == n)
            asked += len(alike) * (len(sets) - 1)
            for some in np.array_split(alike, -(-len(alike) * len(sets) // _AT_ONCE)):
                answers = np.append(
                    _of_sets(model, journeys, some, sets[:-1], player), [everything[some]], axis=0
                )
                values = weights @ (answers / everything[some])  # (n, paths)
                worth[first[some] + np.arange(n)[:, None]] = values
        log.info(
            "deep_shapley: %s journeys without touches, for %s conversions",
            f"{asked:,}",
            f"{np.count_nonzero(players):,}",
        )
        return divided(
            "deep_shapley", "anyway", journeys, (worth / present.times)[present.of_touch]
        )

    def _game(self, n: int) -> tuple[Ints, Floats]:
        """Sets of n players as bits, rising, the last one of all; and their weights in each value.

        Returns:
            (S,) and (n, S).
        """
        if n > _MOST:
            raise SeqmarketError(
                f"a path touches {n} channels; sets of up to {_MOST} are compared",
                where="attribution=deep_shapley",
                fix="name fewer (attribution.journeys.touches.channel), or attribution=removal",
            )
        if n <= self.exact_up_to:
            sets = np.arange(2**n)
            inside = (sets >> np.arange(n)[:, None]) & 1 == 1
            weight, size = shapley_weights(n), np.bitwise_count(sets).astype(np.int64)
            return sets, np.where(
                inside, weight[np.maximum(size - 1, 0)], -weight[np.minimum(size, n - 1)]
            )
        random = np.random.default_rng((self.seed, n))
        drawn = random.permuted(np.tile(np.arange(n), (self.samples // 2, 1)), axis=1)
        orders = np.concatenate([drawn, drawn[:, ::-1]])
        joined = np.cumsum(np.int64(1) << orders, axis=1)
        sets, which = np.unique(np.insert(joined, 0, 0, axis=1), return_inverse=True)
        which = which.reshape(self.samples, n + 1)
        weights = np.zeros((n, len(sets)))
        np.add.at(weights, (orders, which[:, 1:]), 1 / self.samples)
        np.add.at(weights, (orders, which[:, :-1]), -1 / self.samples)
        return sets, weights


def _of_sets(
    model: PurchaseModel, journeys: Journeys, some: Ints, sets: Ints, player: Ints
) -> Floats:
    """(S, P) what is expected of P converting paths with the touches of each set alone.

    Args:
        model: What is asked.
        journeys: The journeys.
        some: (P,) the paths, rising.
        sets: (S,) bits of the players that stay.
        player: Of each touch of each converting path.
    """
    paths = journeys.converting
    size = paths.stop - paths.first
    path, touch = paths.take(some).rows()
    within = touch - paths.first[some][path]
    bit = player[(np.cumsum(size) - size)[some][path] + within]
    which, row = np.nonzero((sets[:, None] >> bit) & 1 == 0)
    question = which * len(some) + path[row]
    conversion = np.tile(some, len(sets))
    answers = expected_without(model, journeys, conversion, question, touch[row])
    return answers.reshape(len(sets), len(some))
