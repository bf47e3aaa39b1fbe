"""Counterfactual removal: what the run's model expects of a journey without some of its touches."""

from __future__ import annotations

import logging
from typing import ClassVar

import numpy as np

from seqmarket.attribution.asking import PurchaseModel, touched
from seqmarket.attribution.attributor import Attribution, Evidence
from seqmarket.attribution.sharing import divided, scaled_to
from seqmarket.attribution.without_touches import channels_of_paths, expected_without
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
    asks_model: ClassVar[bool] = True

    def attribute(self, evidence: Evidence) -> Attribution:
        """See `Attributor`."""
        journeys, paths = evidence.journeys, evidence.journeys.converting
        model = PurchaseModel.of(evidence, "removal")
        path, touch = paths.rows()
        present = channels_of_paths(journeys)
        n_channels = np.bincount(present.path, minlength=len(paths.first))

        # What is the same question is asked once: all of a path's touches, a channel's where there
        # are others, a touch where its channel has others in the path.
        asked = touched(journeys)
        channels = np.flatnonzero(n_channels[present.path] > 1)
        touches = np.flatnonzero((present.times > 1)[present.of_touch] & self.single_touches)
        by_channel = np.argsort(present.of_touch, kind="stable")
        rows = by_channel[np.isin(present.of_touch[by_channel], channels)]
        conversion = np.concatenate([asked, present.path[channels], path[touches]])
        question = np.concatenate(
            [
                np.searchsorted(asked, path),
                len(asked) + np.searchsorted(channels, present.of_touch[rows]),
                len(asked) + len(channels) + np.arange(len(touches)),
            ]
        )
        out = np.concatenate([touch, touch[rows], touch[touches]])
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
        effect = total[present.path]
        effect[channels] = without_channel
        of_channel = scaled_to(total, effect, present.path)
        part = np.zeros(len(path))
        part[touches] = without_touch
        return divided("removal", "anyway", journeys, scaled_to(of_channel, part, present.of_touch))
