"""What rules have in common: each conversion is divided among the touches of its path.

A conversion whose path has no touch is organic. Rules look at no journey without a conversion, so
they cannot tell what a touch adds; they describe.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqmarket.attribution.attributor import Attribution, Evidence
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.paths import Ints, Paths
from seqmarket.attribution.sharing import shared_within
from seqmarket.data.settings import Settings


class PathTouches(NamedTuple):
    """The touches of some converting paths, N of them, path after path.

    Attributes:
        path: (N,) the path, from 0.
        channel: (N,) the channel.
        place: (N,) from 0.
        left: (N,) how many follow in the path.
        days: (N,) from the touch to the conversion.
    """

    path: Ints
    channel: NDArray[np.int32]
    place: Ints
    left: Ints
    days: Floats


class Rule(Settings, ABC):
    """A rule: how much each touch of a path counts, relative to the others."""

    signed: ClassVar[bool] = False
    name: ClassVar[str]

    @abstractmethod
    def weights(self, touches: PathTouches, journeys: Journeys) -> Floats:
        """(N,) weights of at least 0, not all 0 in any path."""

    def attribute(self, evidence: Evidence) -> Attribution:
        """See `Attributor`."""
        journeys = evidence.journeys

        def parts(paths: Paths, path: Ints, touch: Ints) -> Floats:
            place = touch - paths.first[path]
            touches = PathTouches(
                path,
                journeys.channel[touch],
                place,
                paths.stop[path] - 1 - touch,
                journeys.days_before(paths, path, touch),
            )
            weight = self.weights(touches, journeys)
            return np.asarray(weight / np.bincount(path, weight)[path])

        return shared_within(self.name, journeys, parts)
