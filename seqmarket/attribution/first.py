"""The first touch of a path has all the credit."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.rules import PathTouches, Rule


class FirstTouch(Rule):
    """The first touch of a path has all the credit."""

    name: ClassVar[str] = "first"

    def weights(self, touches: PathTouches, journeys: Journeys) -> Floats:
        """See `Rule`."""
        return np.asarray((touches.place == 0).astype(np.float64))
