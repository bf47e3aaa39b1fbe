"""Counterfactual removal: what the run's model expects of a journey without some of its touches."""

from __future__ import annotations

import logging
from typing import ClassVar

import numpy as np

from seqmarket.attribution.asking import PurchaseModel, touched
from seqmarket.attribution.attributor import Attribution, Evidence
from seqmarket.attribution.sharing import divided, scaled_to
from seqmarket.attribution.without_touches import expected_without
from seqmarket.data.settings import Settings

log = logging.getLogger(__name__)


class CounterfactualRemoval(Settings):
    """Takes touches out of the journey before each conversion and asks the model again.

    With F for what the model expects just before a conversion, the part ``F(none) / F(all)`` of it
    is organic, where all touches of its path are taken out: by thinning (Lewis and Shedler,
    "Simulation of nonhomogeneous Poisson processes by thinning", 1979), purchases that come at one
    rate and are kept with the ratio of two rates come at the other. Summed over conversions, that
    is unbiased if the model's rates are those of the world with and without touches, and if the
    ratio of what a window holds is that of the rates at the moment; it is more than 1 where touches
    did harm.

    The rest, ``1 - F(none) / F(all)``, is divided among channels, then each channel's credit among
    its touches. Removal effects do not sum to it by themselves: two touches that can stand in for
    each other are each worth nothing. They are scaled so that they do, and keep their signs
    (`scaled_to`).

    Attributes:
        single_touches: Whether each touch is taken out alone, to divide its channel's credit; if
            not, touches of a channel share it alike, in less time.
    """

    single_touches: bool = True

    signed: ClassVar[bool] = True

    def attribute(self, evidence: Evidence) -> Attribution:
        """See `Attributor`."""
        journeys, paths = evidence.journeys, evidence.journeys.converting
        model = PurchaseModel.of(evidence, "removal")
        path, touch = paths.rows()
        n = len(journeys.channels)
        pair, of_pair, times = np.unique(
            path * n + journeys.channel[touch], return_inverse=True, return_counts=True
        )
        path_of_pair = pair // n
        n_channels = np.bincount(path_of_pair, minlength=len(paths.first))

        # What is the same question is asked once: all of a path's touches, a channel's where there
        # are others, a touch where its channel has others in the path.
        asked = touched(journeys)
        channels = np.flatnonzero(n_channels[path_of_pair] > 1)
        touches = np.flatnonzero((times > 1)[of_pair] & self.single_touches)
        by_pair = np.argsort(of_pair, kind="stable")
        in_channels = by_pair[np.isin(of_pair[by_pair], channels)]
        conversion = np.concatenate([asked, path_of_pair[channels], path[touches]])
        question = np.concatenate(
            [
                np.searchsorted(asked, path),
                len(asked) + np.searchsorted(channels, of_pair[in_channels]),
                len(asked) + len(channels) + np.arange(len(touches)),
            ]
        )
        out = np.concatenate([touch, touch[in_channels], touch[touches]])
        log.info(
            "removal: %s journeys without touches, for %s conversions",
            f"{len(conversion):,}",
            f"{len(asked):,}",
        )
        everything = model.with_all_touches(journeys)
        less = expected_without(model, journeys, conversion, question, out)
        lost = 1 - less / everything[conversion]
        none, without_channel, without_touch = np.split(
            lost, np.cumsum([len(asked), len(channels)])
        )

        total = np.zeros(len(paths.first))
        total[asked] = none
        effect = total[path_of_pair]
        effect[channels] = without_channel
        of_channel = scaled_to(total, effect, path_of_pair)
        part = np.zeros(len(path))
        part[touches] = without_touch
        return divided("removal", journeys, scaled_to(of_channel, part, of_pair))
