"""From what a channel is worth to what its touches are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from seqmarket.attribution.attributor import Attribution, Organic
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.paths import Ints, Paths, slices
from seqmarket.errors import SeqmarketError

ROUNDING = 1e-5
"""Share of what a float32 model expects below which a difference says nothing."""

_MOST_ERROR = 0.5
"""Standard error of what is organic, in all conversions, above which nothing is said."""


def paths_with_an_end(method: str, journeys: Journeys) -> Paths:
    """The settled paths, from which rates are estimated.

    Raises:
        SeqmarketError: Conversions have touches, and none of their paths is settled.
    """
    paths, converting = journeys.settled, journeys.converting
    if not len(paths.first) and (converting.first < converting.stop).any():
        raise SeqmarketError(
            "no path began early enough in the period for what came of it to be known",
            where=f"attribution={method}; {journeys.period}",
            fix="take a journeys.lookback that is shorter than the period",
        )
    return paths


def shared_by_channel(method: str, journeys: Journeys, worth: Floats) -> Attribution:
    """Divides the conversions that have touches by the worth of the channels.

    A channel's part is shared alike by its touches on paths that end with a conversion; a
    conversion without a touch is organic.

    Args:
        method: Name of the method.
        journeys: The journeys.
        worth: (K,) of the channels, in any unit; may be negative.

    Raises:
        SeqmarketError: The worth of all channels together is not positive.
    """
    paths = journeys.converting
    touched = paths.stop > paths.first
    credit, value = np.zeros((2, len(journeys.touch)))
    on_paths = np.zeros(len(worth), dtype=np.int64)
    for some in paths.parts():
        touch = some.touches()
        np.add.at(credit, touch, 1.0)  # how often it counts
        on_paths += np.bincount(journeys.channel[touch], minlength=len(worth))
    worth = np.where(on_paths > 0, worth, 0.0)
    if touched.any() and worth.sum() <= 0:
        raise SeqmarketError(
            f"by {method}, all channels together are worth nothing",
            where=f"attribution={method}",
            fix="take a method that leaves conversions organic, such as regression",
        )
    share = worth / (worth.sum() * np.maximum(on_paths, 1)) if touched.any() else worth
    conversions, values = touched.sum() * share, journeys.value[touched].sum() * share
    for touches in slices(len(credit)):
        channel = journeys.channel[touches]
        value[touches] = values[channel] * credit[touches]
        credit[touches] *= conversions[channel]
    return observed(method, journeys, credit, value)


def shared_within(
    method: str, journeys: Journeys, parts: Callable[[Paths, Ints, Ints], Floats]
) -> Attribution:
    """Divides each conversion that has touches among those of its path.

    Args:
        method: Name of the method.
        journeys: The journeys.
        parts: Given some of the paths, and for each of their touches the path (from 0) and the
            touch, what part of the conversion each of these has.
    """
    credit, value = np.zeros((2, len(journeys.touch)))
    values = journeys.value
    for some in journeys.converting.parts():
        path, touch = some.rows()
        part = parts(some, path, touch)
        np.add.at(credit, touch, part)
        np.add.at(value, touch, part * values[some.conversion[path]])
    return observed(method, journeys, credit, value)


def observed(method: str, journeys: Journeys, credit: Floats, value: Floats) -> Attribution:
    """Credits of the conversions that have touches; all others are organic."""
    paths = journeys.converting
    alone = paths.stop == paths.first
    organic, organic_value = np.zeros((2, journeys.n_customers))
    np.add.at(organic, journeys.converts[alone], 1.0)
    np.add.at(organic_value, journeys.converts[alone], journeys.value[alone])
    return Attribution(method, "untouched", credit, organic, value, organic_value)


def divided(method: str, organic_is: Organic, journeys: Journeys, part: Floats) -> Attribution:
    """Divides each conversion by the parts that its touches have; what they leave is organic.

    Args:
        method: Name of the method.
        organic_is: What it means by that.
        journeys: The journeys.
        part: Of each conversion for each touch of its path, signed, in the order of
            `journeys.converting.rows()`.

    Raises:
        SeqmarketError: Conversions that would have come anyway are meant, and there is no telling
            how many.
    """
    path, touch = journeys.converting.rows()
    left = 1.0 - np.bincount(path, part, minlength=len(journeys.conversion))
    if organic_is == "anyway":
        check_telling(method, left.astype(np.float64))
    credit, value = np.zeros((2, len(journeys.touch)))
    np.add.at(credit, touch, part)
    np.add.at(value, touch, part * journeys.value[path])
    organic, organic_value = np.zeros((2, journeys.n_customers))
    np.add.at(organic, journeys.converts, left)
    np.add.at(organic_value, journeys.converts, left * journeys.value)
    return Attribution(method, organic_is, credit, organic, value, organic_value)


def check_telling(method: str, left: Floats) -> None:
    """Refuses what would have come anyway, where there is no telling how much that is.

    Where a model expected next to nothing of purchases that came, everything is many times that.

    Args:
        method: Name of the method.
        left: (V,) part of each conversion that would have come anyway.

    Raises:
        SeqmarketError: The standard error of their sum is large beside their number.
    """
    error = left.std() / np.sqrt(len(left)) if len(left) else 0.0
    if error > _MOST_ERROR:
        raise SeqmarketError(
            "just before many of the purchases next to none was expected, so that what is expected "
            f"without touches tells nothing: organic would be {left.mean():.0%} of them, with a "
            f"standard error of {error:.0%}",
            where=f"attribution={method}",
            fix="if other events go with a purchase, keep them out: journeys.margin=1h, or longer",
        )


def scaled_to(total: Floats, effect: Floats, group: Ints) -> Floats:
    """Scales effects so that those of a group sum to its total, and each keeps its sign.

    Positive effects are multiplied by a factor ``a``, negative ones by ``1 / a``: the one such pair
    that gives the total. It exists also where effects cancel each other and their sum is nearly 0,
    which a common factor would divide by, and no sum of either sign exceeds the total and the
    geometric mean of both sums. Effects below `ROUNDING` count as 0. Where what is left has not the
    total's sign anywhere, there is nothing to scale, and the group shares its total alike.

    Args:
        total: (G,).
        effect: (N,).
        group: (N,) from 0.
    """
    effect = np.where(np.abs(effect) < ROUNDING, 0.0, effect)
    up = np.bincount(group, np.maximum(effect, 0.0), minlength=len(total))
    down = np.bincount(group, np.maximum(-effect, 0.0), minlength=len(total))
    size = np.bincount(group, minlength=len(total))
    # a * up - down / a is the total, and the product of both sums is not changed.
    larger = (np.abs(total) + np.sqrt(total**2 + 4 * up * down)) / 2
    smaller = up * down / np.where(larger > 0, larger, 1.0)
    positive = np.where(total >= 0, larger, smaller) / np.where(up > 0, up, 1.0)
    negative = np.where(total >= 0, smaller, larger) / np.where(down > 0, down, 1.0)
    scaled = effect * np.where(effect > 0, positive[group], negative[group])
    some = np.where(total >= 0, up, down) > 0
    return np.where(some[group], scaled, (total / np.maximum(size, 1))[group])
