"""How unsure a method is of what it learnt: everything anew without each group of customers.

Source: the delete-a-group jackknife; Kott, "The delete-a-group jackknife" (2001).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field
from scipy.stats import t as student

from seqmarket.attribution.attributor import Attribution, by_customer
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.errors import SeqmarketError


def _several(groups: int) -> int:
    if groups == 1:
        raise ValueError("without the only group nobody is left: 0, or at least 2")
    return groups


Groups = Annotated[int, Field(ge=0), AfterValidator(_several)]
"""How many groups of customers are left out, one after the other; 0: none."""


def with_replicates(
    journeys: Journeys, credit_with: Callable[[Floats], Attribution], *, groups: int, seed: int
) -> Attribution:
    """What is found from all customers, and without each group of them.

    Args:
        journeys: Whose conversions are divided.
        credit_with: Of (C,) weights of the customers in what is learnt.
        groups: How many; 0: none is left out.
        seed: Of who is in which.
    """
    n = journeys.n_customers
    found = credit_with(np.ones(n))
    if not groups:
        return found
    group = np.random.default_rng(seed).permutation(np.arange(n) % groups)
    rows = []
    for left_out in range(groups):
        stays = (group != left_out).astype(np.float64)
        other = credit_with(stays)
        each = by_customer(journeys, other.credit * stays[journeys.customer]).sum(axis=0)
        rows.append(np.append(each, (other.organic * stays).sum()))
    return replace(found, replicates=np.stack(rows) * groups / (groups - 1))


def jackknife_interval(estimate: Floats, replicates: Floats, level: float) -> Floats:
    """(2, ...) bounds, by Student's t with as many degrees of freedom as groups, less one.

    Args:
        estimate: (...) from all customers.
        replicates: (G, ...) without each group, of the same magnitude.
        level: Of the interval.
    """
    groups = len(replicates)
    squares = np.square(replicates - replicates.mean(axis=0)).sum(axis=0)
    error = np.sqrt((groups - 1) / groups * squares)
    reach = student.ppf((1 + level) / 2, groups - 1) * error
    return np.stack([estimate - reach, estimate + reach])


def check_purchases(history: Journeys, method: str) -> None:
    """Makes sure that there is something to learn from.

    Raises:
        SeqmarketError: The training period has no purchase.
    """
    if not len(history.purchases):
        raise SeqmarketError(
            "there is no purchase in the training period to learn from",
            where=f"attribution.{method}",
            fix="leave the method out, or lengthen the period (data.split.train_fraction)",
        )
