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
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.paths import Ints, Paths
from seqmarket.attribution.sharing import shared_by_channel
from seqmarket.data.settings import Settings

log = logging.getLogger(__name__)

Ranks = NDArray[np.int32]


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
    channel = journeys.channel[paths.touches()]
    stops = np.cumsum(paths.stop - paths.first)
    starts = np.append(0, stops[:-1])
    base = len(journeys.channels)
    codes, state = np.zeros(0, dtype=np.int64), np.zeros(len(channel), dtype=np.int32)
    for _ in range(order):
        # State 0 is the start; any other is the state of a touch less before it, and its channel.
        before = _before(state, starts)
        codes, state = _ranked(before * np.int64(base) + channel)
        state += 1
    n = 1 + len(codes)
    origin = np.concatenate([_before(state, starts), state[stops - 1]])
    ends = np.where(paths.conversion >= 0, n, n + 1).astype(np.int32)
    target = np.concatenate([state, ends])
    seen, which = _ranked(origin * np.int64(n + 2) + target)
    count = np.bincount(which)
    return Chain(order, np.append(-1, codes % base), seen // (n + 2), seen % (n + 2), count)


def _before(state: Ranks, starts: Ints) -> Ranks:
    """(N,) the state before each touch."""
    before = np.roll(state, 1)
    before[starts] = 0
    return before


def _ranked(codes: Ints) -> tuple[Ints, Ranks]:
    """The codes that occur, ascending, and which of them each one is."""
    highest = codes.max(initial=0)
    if highest > len(codes):  # too many to have a table of
        occur, rank = np.unique(codes, return_inverse=True)
        return occur, rank.astype(np.int32)
    seen = np.zeros(highest + 1, dtype=np.bool_)
    seen[codes] = True
    return np.flatnonzero(seen), (np.cumsum(seen, dtype=np.int32) - 1)[codes]


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
