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
from seqmarket.attribution.paths import Ints
from seqmarket.attribution.sharing import observed
from seqmarket.data.settings import Settings


class PathTouches(NamedTuple):
    """The touches of all converting paths, N of them, path after path.

    Attributes:
        path: (N,) the path.
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
        paths = journeys.converting
        path, touch = paths.rows()
        size = (paths.stop - paths.first)[path]
        place = touch - paths.first[path]
        touches = PathTouches(
            path,
            journeys.channel[touch],
            place,
            size - 1 - place,
            journeys.days_before(paths, path, touch),
        )
        weight = self.weights(touches, journeys)
        part = weight / np.bincount(path, weight, minlength=len(paths.first))[path]
        credit, value = np.zeros((2, len(journeys.touch)))
        np.add.at(credit, touch, part)
        np.add.at(value, touch, part * journeys.value[path])
        return observed(self.name, journeys, credit, value)
