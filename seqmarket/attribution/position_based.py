"""The first and the last touch of a path have most of the credit, those between share the rest."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.rules import PathTouches, Rule


class PositionBased(Rule):
    """The first and the last touch have most of the credit ("U-shaped").

    Where none lies between, the two have all of it, in proportion.

    Attributes:
        first: Share of the first touch.
        last: Share of the last one.
    """

    first: float = Field(0.4, gt=0, lt=1)
    last: float = Field(0.4, gt=0, lt=1)

    name: ClassVar[str] = "position_based"

    def weights(self, touches: PathTouches, journeys: Journeys) -> Floats:
        """See `Rule`."""
        between = np.maximum(touches.place + touches.left - 1, 1)
        middle = max(1 - self.first - self.last, 0.0) / between  # not below 0 by rounding
        ends = (touches.place == 0) * self.first + (touches.left == 0) * self.last
        return np.asarray(np.where((touches.place == 0) | (touches.left == 0), ends, middle))

    @model_validator(mode="after")
    def _at_most_all(self) -> Self:
        if self.first + self.last > 1:
            raise ValueError("first and last have more than all of the credit")
        return self
