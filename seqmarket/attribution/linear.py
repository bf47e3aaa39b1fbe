"""All touches of a path share the credit alike."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.rules import PathTouches, Rule


class Linear(Rule):
    """All touches of a path share the credit alike."""

    name: ClassVar[str] = "linear"

    def weights(self, touches: PathTouches, journeys: Journeys) -> Floats:
        """See `Rule`."""
        return np.asarray(np.ones(len(touches.path)))
