"""Removal effects of a Markov chain over paths: how many conversions end when a channel is gone.

Source: Anderl, Becker, von Wangenheim and Schumann, "Mapping the customer journey: lessons learned
from graph-based online attribution modeling", IJRM 33 (2016).
"""

from __future__ import annotations

import logging
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse
from scipy.sparse.linalg import splu

from seqmarket.attribution.attributor import Attribution, Evidence
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.paths import Ints, Paths
from seqmarket.attribution.sharing import paths_with_an_end, shared_by_channel
from seqmarket.data.settings import Settings

log = logging.getLogger(__name__)


class Chain(NamedTuple):
    """A chain whose states are the last touches of a path; S states, the start is state 0.

    Attributes:
        order: Number of touches in a state.
        channel: (S,) the newest touch of each state; -1 for the start.
        origin: (N,) state before each transition that was seen.
        target: (N,) state after it; S for a conversion, S + 1 for none.
        times: (N,) how often it was seen.
    """

    order: int
    channel: Ints
    origin: Ints
    target: Ints
    times: Ints


class MarkovRemoval(Settings):
    """Markov removal effects, with paths that do not convert, and loops.

    The chain is fitted to all settled paths of the period. A channel's effect is the share of the
    probability to convert that is lost when every way into it leads nowhere. Effects are rescaled
    to the conversions that have touches, and shared by the channel's touches before conversions.
    They cannot be negative.

    Attributes:
        order: Touches that the next one depends on; `auto`: the best of 1 to `max_order` by the
            Bayesian information criterion (Katz, "On some criteria for estimating the order of a
            Markov chain", Technometrics 1981).
        max_order: Highest order that is tried.
    """

    order: Annotated[int, Field(ge=1, le=6)] | Literal["auto"] = "auto"
    max_order: int = Field(3, ge=1, le=6)

    signed: ClassVar[bool] = False

    def attribute(self, evidence: Evidence) -> Attribution:
        """See `Attributor`."""
        return shared_by_channel("markov", evidence.journeys, self._effects(evidence.journeys))

    def _effects(self, journeys: Journeys) -> Floats:
        """(K,) of the chain that is best, if there is a choice."""
        paths = paths_with_an_end("markov", journeys)
        if not len(paths.first):
            return np.zeros(len(journeys.channels))
        orders = range(1, self.max_order + 1) if self.order == "auto" else (self.order,)
        chains = [fit_chain(journeys, paths, order) for order in orders]
        chain = min(chains, key=bayesian_information)
        log.info("Markov chain of order %d, %d states", chain.order, len(chain.channel))
        return removal_effects(chain, len(journeys.channels))


def fit_chain(journeys: Journeys, paths: Paths, order: int) -> Chain:
    """Counts the transitions of some paths that have touches."""
    n, base = len(journeys.channels), len(journeys.channels) + 1
    found = [_transitions(journeys, part, order) for part in paths.parts()]
    codes, times = (np.concatenate(columns) for columns in zip(*found, strict=True))
    seen, which = np.unique(codes, return_inverse=True)
    count = np.zeros(len(seen), dtype=np.int64)
    np.add.at(count, which, times)
    before, following = seen // (n + 2), (seen % (n + 2)).astype(np.int64)
    states = np.unique(before)  # all of them: every path goes on or ends
    after = np.searchsorted(states, before % base ** (order - 1) * base + following + 1)
    target = np.where(following < n, after, len(states) + following - n)
    channel = (states % base).astype(np.int64) - 1
    return Chain(order, channel, np.searchsorted(states, before), target, count)


def _transitions(journeys: Journeys, paths: Paths, order: int) -> tuple[NDArray[Any], Ints]:
    """The transitions of some paths as numbers, and how often each is seen.

    A state is a number of `order` digits, the channels of the last touches plus 1, the newest one
    last, and 0 where there was none yet. One more digit is what follows: of n channels one, n for a
    conversion, or n + 1 for none. Where 64 bits are too few, numbers are Python's.
    """
    n, base = len(journeys.channels), len(journeys.channels) + 1
    number = np.int64 if base**order * (n + 2) <= np.iinfo(np.int64).max else object
    size = paths.stop - paths.first
    ends = np.where(paths.conversion >= 0, n, n + 1)
    channel = journeys.channel[paths.touches()].astype(number)
    following = np.insert(channel, np.cumsum(size), ends)
    place = np.arange(len(following)) - np.repeat(np.cumsum(size + 1) - size - 1, size + 1)
    state = np.zeros(len(following), dtype=number)
    for back in range(order, 0, -1):
        state *= base
        state += np.where(place < back, 0, np.roll(following, back) + 1)
    codes = state * (n + 2) + following
    if codes.max() > 4 * len(codes):  # too many to have a table of
        return np.unique(codes, return_counts=True)
    count = np.bincount(codes)
    seen = np.flatnonzero(count)
    return seen, count[seen]


def bayesian_information(chain: Chain) -> float:
    """Of a fitted chain; the smaller, the better."""
    leaving = np.bincount(chain.origin, chain.times)
    likelihood = (chain.times * np.log(chain.times / leaving[chain.origin])).sum()
    free = len(chain.times) - np.count_nonzero(leaving)
    return float(free * np.log(chain.times.sum()) - 2 * likelihood)


def removal_effects(chain: Chain, n_channels: int) -> Floats:
    """(K,) share of the probability to convert that is lost without each channel."""
    leaving = np.bincount(chain.origin, chain.times, minlength=len(chain.channel))
    probability = chain.times / leaving[chain.origin]
    everything = _converts(chain, probability, np.ones(len(chain.times), dtype=np.bool_))
    newest = np.append(chain.channel, [-1, -1])[chain.target]
    effect = np.zeros(n_channels)
    for channel in np.unique(chain.channel[chain.channel >= 0]):
        left = _converts(chain, probability, newest != channel)
        effect[channel] = 1 - left / everything if everything > 0 else 0.0
    return effect


def _converts(chain: Chain, probability: Floats, open_: NDArray[np.bool_]) -> float:
    """Probability to convert from the start, if only some of the transitions are open."""
    n = len(chain.channel)
    inner = open_ & (chain.target < n)
    moves = sparse.csc_matrix(
        (probability[inner], (chain.origin[inner], chain.target[inner])), shape=(n, n)
    )
    last = open_ & (chain.target == n)
    converting = np.zeros(n)
    np.add.at(converting, chain.origin[last], probability[last])
    solved = splu(sparse.identity(n, format="csc") - moves).solve(converting)
    return float(solved[0])
