"""What would have been bought, had some of the touches not been paid for.

C  channels     D  steps     N  customers     P  plans
"""

from __future__ import annotations

import numpy as np

from seqmarket.data.simulation.cohort import Cohort
from seqmarket.data.simulation.response import Floats, Response
from seqmarket.data.simulation.world import World


def replayed(
    world: World, cohort: Cohort, kept: Floats, steps: slice, random: np.random.Generator
) -> Floats:
    """(P,) expected purchases of a cohort in a period.

    Args:
        world: In which it was simulated.
        cohort: The customers.
        kept: (P, C) part of the touches of the period that stay, by lot.
        steps: The period: its first step, and the one after its last.
        random: Of the lot, which is the same for all plans.
    """
    until = slice(steps.stop)
    lot = random.random(cohort.touched.shape, dtype=np.float32)[:, until]
    lot[:, : steps.start] = -1.0  # what came before is there
    response, touched = Response(world), cohort.touched[:, until]
    background, churning = cohort.background[until], cohort.churning[until]
    return np.array(
        [
            response.expected(
                touched & (lot < part[:, None, None]), background, churning, steps
            ).sum()
            for part in kept
        ]
    )
