"""What touches cost, in the log's own currency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqmarket.schema import EventArrays, SequenceSpec


def cost_of(
    events: EventArrays, spec: SequenceSpec, touch: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(N,) the cost of some touches as it was in the log; 0 where the log has none."""
    # Its feature is a scaled logarithm of it.
    names = [feature.name for feature in spec.numeric]
    if "cost" not in names:
        return np.zeros(len(touch))
    at = names.index("cost")
    feature = spec.numeric[at]
    scaled = events.features[touch, at].astype(np.float64)
    logarithm = scaled * feature.scale + feature.center
    if feature.has_missing:
        flags = len(names) + sum(f.has_missing for f in spec.numeric[:at])
        logarithm = np.where(events.features[touch, flags] > 0, 0.0, logarithm)
    # A cost of 0 comes back as the rounding of its float32, and a return on that would be told.
    rounding = np.finfo(np.float32).eps * abs(feature.center)
    logarithm = np.where(np.abs(logarithm) <= rounding, 0.0, logarithm)
    return np.asarray(np.sign(logarithm) * np.expm1(np.abs(logarithm)))
