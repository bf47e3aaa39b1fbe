"""How many customers have how many of something: exact quantiles, and who has suspiciously many."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

_FLOOR = 200

RULE = (
    "A journey is suspected to be a machine's if it has more than 200 events, more than ten times "
    "the upper quartile, and lies more than five standard deviations above the median, on a "
    "logarithmic scale and with the deviation taken from the quartiles. The same rule is applied "
    "to the events of each customer's busiest day."
)


@dataclass(frozen=True)
class Suspects:
    """Customers with so many events that a machine may have made them; see `RULE`.

    Attributes:
        customers: How many.
        events: How many events they have, or had on their busiest days, together.
        largest: The most of one of them.
        above: What the rule allows.
    """

    customers: int
    events: int
    largest: int
    above: int


def quantile(sizes: Mapping[int, int], share: float) -> float:
    """A quantile of sizes, linear between neighbours as by NumPy.

    Args:
        sizes: Size -> how many have it, not empty.
        share: From 0 to 1.
    """
    size = np.array(sorted(sizes))
    until = np.cumsum([sizes[key] for key in size.tolist()])
    rank = share * (int(until[-1]) - 1)
    low, high = (
        float(size[np.searchsorted(until, place, side="right")])
        for place in (math.floor(rank), math.ceil(rank))
    )
    return low + (high - low) * (rank - math.floor(rank))


def suspects(sizes: Mapping[int, int]) -> Suspects | None:
    """The suspiciously large sizes, if there are any."""
    if not sizes:
        return None
    lower, median, upper = (quantile(sizes, share) for share in (0.25, 0.5, 0.75))
    deviation = math.log(upper / lower) / 1.349  # of a normal distribution with these quartiles
    above = math.ceil(max(_FLOOR, 10 * upper, median * math.exp(5 * deviation)))
    beyond = {size: n for size, n in sizes.items() if size > above}
    if not beyond:
        return None
    events = sum(size * n for size, n in beyond.items())
    return Suspects(sum(beyond.values()), events, max(beyond), above)


def doubling(sizes: Mapping[int, int]) -> tuple[tuple[int, int, int], ...]:
    """Counts in ranges that double: 1, 2 to 3, 4 to 7, and so on.

    Returns:
        The least and the most size of each range, and how many have it.
    """
    if not sizes:
        return ()
    counts = [0] * max(sizes).bit_length()
    for size, n in sizes.items():
        counts[size.bit_length() - 1] += n
    return tuple((1 << place, (2 << place) - 1, n) for place, n in enumerate(counts))
