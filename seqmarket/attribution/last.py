"""The last touch of a path has all the credit."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.rules import PathTouches, Rule


class LastTouch(Rule):
    """The last touch of a path has all the credit."""

    name: ClassVar[str] = "last"

    def weights(self, touches: PathTouches, journeys: Journeys) -> Floats:
        """See `Rule`."""
        return np.asarray((touches.left == 0).astype(np.float64))
