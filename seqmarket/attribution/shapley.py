"""Shapley values of a game between channels, played with the paths that were seen.

Source: Shapley, "A value for n-person games" (1953); for paths, Zhao, Mahboobi and Bagheri,
"Shapley value methods for attribution modeling in online advertising", arXiv:1804.05327.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from seqmarket.attribution.attributor import Attribution, Evidence
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.paths import Ints, Paths
from seqmarket.attribution.sharing import paths_with_an_end, shared_by_channel, shared_within
from seqmarket.data.settings import Settings
from seqmarket.data.simulation.response import shapley_weights
from seqmarket.errors import SeqmarketError

_MOST = 63
"""Channels whose sets fit in the bits of an integer."""


class ShapleySets(Settings):
    """Shapley values over the sets of channels that paths touch, whatever their order and number.

    The worth of a set of channels is, by `game`:

    - `conversions`: the number of paths that convert and touch no other channel. The Shapley value
      then is that each conversion is shared alike by the channels of its path: never negative.
    - `rate`: the share of settled paths that convert, among those that touch no other channel.
      Its values may be negative, and are as unsure as the rates of the rarest sets.

    Attributes:
        game: The worth of a set.
        exact_up_to: Number of channels up to which the `rate` game is solved exactly.
        samples: Orders of the channels that are drawn beyond that.
        seed: Of the draws.
    """

    game: Literal["conversions", "rate"] = "conversions"
    exact_up_to: int = Field(16, ge=1, le=20)
    samples: int = Field(2_000, ge=1)
    seed: int = Field(1, ge=0)

    signed: ClassVar[bool] = True

    def attribute(self, evidence: Evidence) -> Attribution:
        """See `Attributor`."""
        journeys = evidence.journeys
        if self.game == "conversions":
            return self._shared_alike(journeys)
        worth = np.zeros(len(journeys.channels))
        paths = paths_with_an_end("shapley", journeys)
        times = np.zeros(len(journeys.channels), dtype=np.int64)
        for some in paths.parts():
            times += np.bincount(journeys.channel[some.touches()], minlength=len(times))
        used = np.flatnonzero(times)
        n = len(used)
        if n > _MOST:
            raise SeqmarketError(
                f"paths touch {n} channels; the game of rates is played with up to {_MOST}",
                where="attribution=shapley, game=rate",
                fix="name fewer (journeys.touches.channel), or take game=conversions",
            )
        if n:
            masks, total, converted = _sets(journeys, paths, used)
            if n <= self.exact_up_to:
                worth[used] = _exact(n, _rates(n, masks, total, converted))
            else:
                worth[used] = self._sampled(n, masks, total, converted)
        return shared_by_channel("shapley", journeys, worth)

    @staticmethod
    def _shared_alike(journeys: Journeys) -> Attribution:
        n = len(journeys.channels)

        def parts(_: Paths, path: Ints, touch: Ints) -> Floats:
            both, place, times = np.unique(
                path * n + journeys.channel[touch], return_inverse=True, return_counts=True
            )
            distinct = np.bincount(both // n)
            return np.asarray(1.0 / (distinct[path] * times[place]))

        return shared_within("shapley", journeys, parts)

    def _sampled(self, n: int, masks: Ints, total: Floats, converted: Floats) -> Floats:
        """Mean gain of each channel over drawn orders of joining."""
        random = np.random.default_rng(self.seed)
        known: dict[int, float] = {0: 0.0}
        gains = np.zeros(n)
        for _ in range(self.samples):
            present, before = 0, 0.0
            for channel in random.permutation(n):
                present |= 1 << int(channel)
                if present not in known:
                    inside = (masks & ~np.int64(present)) == 0
                    paths = total[inside].sum()
                    known[present] = float(converted[inside].sum() / paths) if paths else 0.0
                gains[channel] += known[present] - before
                before = known[present]
        return gains / self.samples


def _sets(journeys: Journeys, paths: Paths, used: Ints) -> tuple[Ints, Floats, Floats]:
    """The sets of channels that paths touch, as bits; of each, all paths and those that convert."""
    masks, which = np.unique(
        np.concatenate([_mask(journeys, some, used) for some in paths.parts()]),
        return_inverse=True,
    )
    total = np.bincount(which, minlength=len(masks)).astype(np.float64)
    converted = np.bincount(which, paths.conversion >= 0, minlength=len(masks))
    return masks, total, np.asarray(converted, dtype=np.float64)


def _mask(journeys: Journeys, paths: Paths, used: Ints) -> Ints:
    """(P,) the channels that each path touches, as bits."""
    path, touch = paths.rows()
    mask = np.zeros(len(paths.first), dtype=np.int64)
    np.bitwise_or.at(mask, path, np.int64(1) << np.searchsorted(used, journeys.channel[touch]))
    return mask


def _rates(n: int, masks: Ints, total: Floats, converted: Floats) -> Floats:
    """(2^n,) rate among the paths that touch nothing outside each set."""
    sums = np.zeros((2, 2**n))
    sums[:, masks] = total, converted
    for channel in range(n):
        halves = sums.reshape(2, -1, 2, 2**channel)
        halves[:, :, 1] += halves[:, :, 0]
    return np.asarray(sums[1] / np.maximum(sums[0], 1))


def _exact(n: int, worth: Floats) -> Floats:
    size, weight = np.bitwise_count(np.arange(2**n)), shapley_weights(n)
    values = np.zeros(n)
    for channel in range(n):
        without = np.flatnonzero((np.arange(2**n) >> channel) % 2 == 0)
        gain = worth[without | 1 << channel] - worth[without]
        values[channel] = (weight[size[without]] * gain).sum()
    return values
