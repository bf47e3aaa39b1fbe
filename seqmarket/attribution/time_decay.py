"""A touch counts by how long before the conversion it was."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

import numpy as np

from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.rules import PathTouches, Rule
from seqmarket.data.settings import PositiveDuration


class TimeDecay(Rule):
    """A touch counts half as much as one that is a half-life closer to the conversion.

    By elapsed time, not by the number of touches between.

    Attributes:
        half_life: The time.
    """

    half_life: PositiveDuration = timedelta(days=7)

    name: ClassVar[str] = "time_decay"

    def weights(self, touches: PathTouches, journeys: Journeys) -> Floats:
        """See `Rule`."""
        halvings = touches.days / (self.half_life / timedelta(days=1))
        # Relative to the newest touch, so that nothing underflows.
        newest = np.full(int(touches.path.max(initial=-1)) + 1, np.inf)
        np.minimum.at(newest, touches.path, halvings)
        return np.asarray(0.5 ** (halvings - newest[touches.path]))
