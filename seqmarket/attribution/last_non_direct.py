"""The last touch that is no visit of the customer's own accord has all the credit."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.rules import PathTouches, Rule


class LastNonDirect(Rule):
    """The last touch that is not direct; the last one, where all are.

    Direct channels are those of `journeys.direct`. Unless some are named, it is `last`.
    """

    name: ClassVar[str] = "last_non_direct"

    def weights(self, touches: PathTouches, journeys: Journeys) -> Floats:
        """See `Rule`."""
        direct = [journeys.channels.index(name) for name in journeys.settings.direct]
        # Later touches count for more, and any other than a direct one for more than all of those.
        rank = touches.place + np.where(np.isin(touches.channel, direct), 0, len(touches.path))
        best = np.zeros(int(touches.path.max(initial=-1)) + 1, dtype=np.int64)
        np.maximum.at(best, touches.path, rank)
        return np.asarray(rank == best[touches.path], dtype=np.float64)
