"""What a simulated world is made of, and the worlds that can be chosen by name.

A customer's *intent* drives when they buy, and, as far as a channel is targeted, what they are
shown: that is confounding. Its strength is one number, 0 for none. The rest is causal: each touch
adds to a state that halves in its channel's half-life, the state saturates, and what is left of it
raises or lowers the logarithm of the rates of purchases and of churn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

STEPS = 4
"""Steps of a day; what happens in one has its effect from the next on."""


class Channel(NamedTuple):
    """One channel of touches.

    Attributes:
        name: In the log.
        rate: Touches per customer and day, on average.
        effect: On the logarithm of the rate of purchases, of one fresh touch, roughly.
        half_life: Days after which half of it is left.
        saturation: Touches at which more of them hardly add anything.
        targeting: How much more often it meets customers of high intent.
        churn: Effect on the logarithm of the rate of churn.
        cost: Of one touch.
    """

    name: str
    rate: float
    effect: float
    half_life: float
    saturation: float = 2.0
    targeting: float = 0.0
    churn: float = 0.0
    cost: float = 0.0


class Pair(NamedTuple):
    """Two channels that do together what neither does alone.

    Attributes:
        first: Name of a channel; of a sequence, the one that has to come before.
        second: Name of the other.
        effect: On the logarithm of the rate of purchases, per unit of both.
    """

    first: str
    second: str
    effect: float


@dataclass(frozen=True)
class World:
    """A structural model; rates are per day.

    Attributes:
        channels: Of touches.
        interactions: Pairs whose fresh touches strengthen each other, in either order.
        sequences: Pairs of which the second does more while the first is remembered.
        purchase_rate: Of a customer of middling intent without touches.
        churn_rate: Of the same; a customer who has churned buys no more.
        intent: Standard deviation of the intent's share in the logarithm of the rate of purchases.
        persistence: Share of the intent's variance that stays with the customer; the rest wanders.
        wandering_days: After which a wandering intent resembles itself by 1/e.
        confounding: How far intent drives the touches of targeted channels; 0: not at all.
        visits: Visits of a customer's own accord, which cause nothing but show the intent.
        intent_proxy: Correlation of a known score with the lasting part of the intent; 0: no score.
        weekly: Amplitude of the week in the logarithm of the rates of purchases and touches.
        yearly: The same of the year, from January.
    """

    channels: tuple[Channel, ...]
    interactions: tuple[Pair, ...] = ()
    sequences: tuple[Pair, ...] = ()
    purchase_rate: float = 0.006
    churn_rate: float = 0.002
    intent: float = 0.8
    persistence: float = 0.8
    wandering_days: float = 30.0
    confounding: float = 0.0
    visits: float = 0.0
    intent_proxy: float = 0.0
    weekly: float = 0.15
    yearly: float = 0.1

    @property
    def names(self) -> tuple[str, ...]:
        """Of the channels."""
        return tuple(channel.name for channel in self.channels)

    @property
    def causal(self) -> tuple[int, ...]:
        """The channels that touch the rates of purchase or churn in any way."""
        paired = {name for pair in self.interactions + self.sequences for name in pair[:2]}
        return tuple(
            i
            for i, channel in enumerate(self.channels)
            if channel.effect or channel.churn or channel.name in paired
        )


PLACEBO, HARMFUL = "retargeting", "popup"
"""The channel that does nothing but meets those who buy anyway; the one that does harm."""

_CHANNELS = (
    Channel("mail", 0.060, 0.80, 3.0, targeting=0.2, cost=0.02),
    Channel("search", 0.030, 1.60, 1.5, targeting=0.8, cost=0.80),
    Channel("social", 0.040, 0.70, 6.0, targeting=0.4, cost=0.15),
    Channel("display", 0.080, 0.25, 4.0, saturation=3.0, targeting=0.1, cost=0.03),
    Channel("affiliate", 0.020, 1.10, 4.0, targeting=0.6, cost=0.50),
    Channel(PLACEBO, 0.050, 0.0, 3.0, targeting=1.2, cost=0.06),
    Channel(HARMFUL, 0.040, -0.80, 4.0, targeting=0.3, churn=0.2, cost=0.01),
)

_PLAIN = World(_CHANNELS, visits=0.05)


def _rates(factor: float) -> tuple[Channel, ...]:
    return tuple(channel._replace(rate=channel.rate * factor) for channel in _CHANNELS)


PRESETS: Mapping[str, World] = {
    "unconfounded": _PLAIN,
    "confounded": replace(_PLAIN, confounding=0.9, intent_proxy=0.9),
    "order_effects": replace(
        _PLAIN,
        interactions=(Pair("mail", "social", 0.3),),
        sequences=(Pair("social", "search", 0.8), Pair("display", "affiliate", 0.8)),
    ),
    "sparse": replace(_PLAIN, channels=_rates(0.25), purchase_rate=0.004),
    "long_paths": replace(_PLAIN, channels=_rates(2.5), confounding=0.3, visits=0.1),
}
"""The worlds to choose from: `data.preset`."""
