"""What every attribution method is, and what it yields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from seqmarket.attribution.journeys import Journeys

if TYPE_CHECKING:  # torch and its memory are for methods that ask the model
    from seqmarket.training.checkpoint import TrainedModel

Floats = NDArray[np.float64]

Organic = Literal["untouched", "anyway", "elsewhere"]
"""What is not given to touches: conversions without a touch on their path, conversions that would
have come without any touch, or the weight that lies on something else."""


class Evidence(NamedTuple):
    """What a method may look at.

    Attributes:
        journeys: Of the period whose conversions are attributed.
        history: Of the training period, for methods that learn effects.
        trained: The run's model, for methods that ask it; None: there is none.
    """

    journeys: Journeys
    history: Journeys
    trained: TrainedModel | None = None


@dataclass(frozen=True)
class Attribution:
    """What each touch contributed, signed, and what would have happened anyway.

    Credits conserve: ``credit.sum() + organic.sum()`` are the observed conversions, and their
    values likewise.

    Attributes:
        method: Name.
        organic_is: What `organic` means.
        credit: (M,) conversions per touch.
        organic: (C,) conversions per customer that no touch is credited with.
        value: (M,) value per touch.
        organic_value: (C,) value per customer.
        replicates: (G, K + 1) credit of the channels and what is organic, learnt and counted
            without each of G groups of customers, and brought to the size of all; None: nothing
            was learnt.
    """

    method: str
    organic_is: Organic
    credit: Floats
    organic: Floats
    value: Floats
    organic_value: Floats
    replicates: Floats | None = None

    @property
    def total(self) -> float:
        """Conversions that were divided."""
        return float(self.credit.sum() + self.organic.sum())


class Attributor(Protocol):
    """A method, built by keyword from `conf/attribution/<method>.yaml`.

    Attributes:
        signed: Whether credit may be negative. A method that cannot show harm says so here.

    A method that asks the run's model says so by ``asks_model = True``, and is checked with one of
    drawn weights (`faithfulness_table`).
    """

    signed: ClassVar[bool]

    def attribute(self, evidence: Evidence) -> Attribution:
        """Divides the conversions of the journeys among their touches.

        Raises:
            SeqmarketError: The method cannot be used on these journeys.
        """
        ...


def by_customer(journeys: Journeys, credit: Floats) -> Floats:
    """(C, K) credit of each channel for each customer."""
    n = len(journeys.channels)
    summed = np.zeros((journeys.n_customers, n))
    np.add.at(summed, (journeys.customer, journeys.channel), credit)
    return summed


def shares_of(credit: Floats) -> Floats:
    """(..., K) part of the credit of all touches that each of K channels has.

    NaN where that is not above 0: there are no shares of nothing, or of harm.
    """
    total = credit.sum(axis=-1, keepdims=True)
    return np.asarray(credit / np.where(total > 0, total, np.nan))
