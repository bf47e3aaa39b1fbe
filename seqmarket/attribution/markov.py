"""Removal effects of a Markov chain over paths: how many conversions end when a channel is gone.

Source: Anderl, Becker, von Wangenheim and Schumann, "Mapping the customer journey: lessons learned
from graph-based online attribution modeling", IJRM 33 (2016).
"""

from __future__ import annotations

import logging
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse
from scipy.sparse.linalg import splu

from seqmarket.attribution.attributor import Attribution, Evidence
from seqmarket.attribution.journeys import Floats, Ints, Journeys, Paths
from seqmarket.attribution.sharing import shared_by_channel
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
        journeys = evidence.journeys
        paths = journeys.settled
        if not len(paths.first):
            return shared_by_channel("markov", journeys, np.zeros(len(journeys.channels)))
        orders = range(1, self.max_order + 1) if self.order == "auto" else (self.order,)
        chains = [fit_chain(journeys, paths, order) for order in orders]
        chain = min(chains, key=bayesian_information)
        log.info("Markov chain of order %d, %d states", chain.order, len(chain.channel))
        effect = removal_effects(chain, len(journeys.channels))
        return shared_by_channel("markov", journeys, effect)


def fit_chain(journeys: Journeys, paths: Paths, order: int) -> Chain:
    """Counts the transitions of some paths."""
    base = len(journeys.channels) + 1
    path, touch = paths.rows()
    channel = journeys.channel[touch]
    place = touch - paths.first[path]
    code = np.zeros(1 + len(touch), dtype=np.int64)  # of the start, and of each touch
    for back in reversed(range(order)):
        # By rank among those that were seen: powers of many channels fit in no integer.
        code = np.unique(code, return_inverse=True)[1] * base
        earlier = channel[np.maximum(np.arange(len(touch)) - back, 0)] + 1
        code[1:] += np.where(place >= back, earlier, 0)
    before = np.where(place > 0, code[:-1], 0)
    ends = np.cumsum(paths.stop - paths.first) - 1
    codes, state = np.unique(code, return_inverse=True)
    state = state[1:]
    n = len(codes)
    origin = np.concatenate([np.searchsorted(codes, before), state[ends]])
    target = np.concatenate([state, np.where(paths.conversion >= 0, n, n + 1)])
    seen, count = np.unique(origin * (n + 2) + target, return_counts=True)
    return Chain(order, codes % base - 1, seen // (n + 2), seen % (n + 2), count)


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
