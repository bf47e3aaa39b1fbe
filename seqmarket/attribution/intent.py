"""The intent of customers, which nobody sees: it drives what they meet and what they buy.

All that happens to a customer is one joint model: touches of each channel, visits of their own
accord, and purchases are Poisson processes, the logarithms of whose rates rise with one hidden
intent, each as steeply as the log shows. The intent stays in part and wanders in part (a Gaussian
process). The rates of the touches are the propensities: who meets which channel. And a customer may
have left, which nobody sees either: then visits and purchases end, and touches go on.

Told of the intent that is likely given the whole journey, the response to touches is learnt without
the confounding that went through it. That needs touches of different channels, or visits, to show
the intent together: a hidden cause of one channel alone is not found.

Source: variational inference for Poisson log-normal models as in Chiquet, Mariadassou and Robin,
"The Poisson-lognormal model as a versatile framework for the joint analysis of species abundances"
(2021); the idea of a substitute confounder is Wang and Blei's, "The blessings of multiple causes"
(2019), the customer who may have left that of Fader, Hardie and Lee, "Counting your customers the
easy way" (2005).

    C  customers     D  blocks of time     S  series of events     X  columns
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from seqmarket.attribution.journeys import Floats
from seqmarket.attribution.signals import Signals

_CHUNK = 4096
_STEP = 1.0
_JITTER = 1e-6


class HiddenIntent:
    """A Gaussian for each customer's intent in all blocks, and what the rates make of it.

    Attributes:
        mean: (C, D) of the intent, which has unit variance before anything is seen.
        variance: (C, D).
        slope: (S,) what one unit of it adds to the logarithm of each rate.
        alive: (C, D) probability that a customer has not left.
        lasting: Share of the intent's variance that stays.
        memory: Days after which the rest resembles itself by 1/e.
    """

    def __init__(self, signals: Signals) -> None:
        s, c, d = signals.counts.shape
        self._signals = signals
        self.mean, self.variance = np.zeros((c, d)), np.ones((c, d))
        self.slope = np.full(s, 0.3)
        self.alive = np.ones((c, d))
        self.lasting, self.memory = 0.6, 30.0
        self._level = np.zeros((s, signals.columns.shape[2]))
        events = signals.counts.sum(axis=(1, 2))
        self._level[:, 0] = np.log(np.maximum(events, 0.5) / signals.days.sum())
        self._leaving = np.array([np.log(1e-3), 0.0])  # per day; and by intent
        self._leaves = np.zeros((c, d))

    def __copy__(self) -> HiddenIntent:
        """One that goes on by itself from here, and shares the signals."""
        other = object.__new__(HiddenIntent)
        parts = self.__dict__.items()
        other.__dict__.update(
            {name: part.copy() if isinstance(part, np.ndarray) else part for name, part in parts}
        )
        return other

    def learn(self, expected: Floats, slope: float, weight: Floats, turns: int) -> float:
        """Expectation and maximisation by turns; the rate of purchases is learnt elsewhere.

        Args:
            expected: (C, D) purchases that the response to touches and all that is known lead to
                expect of a customer of middling intent who has not left.
            slope: Of purchases.
            weight: (C,) of the customers in what is learnt for all.
            turns: How many.

        Returns:
            The slope of purchases, as the intent is scaled now.
        """
        self.slope[-1] = slope
        for _ in range(turns):
            base = self._base(expected)
            self._infer_alive(base)
            moment = self._infer_intent(base, weight)
            self._fit_kernel(moment)
            base = self._base(expected)
            for series in range(len(self.slope) - 1):
                self._fit_rate(series, base[series], weight)
            self._fit_leaving(weight)
        return float(self.slope[-1])

    def _base(self, expected: Floats) -> Floats:
        """(S, C, D) events expected of middling intent, of customers who have not left."""
        signals = self._signals
        log_rate = np.einsum("cdx,sx->scd", signals.columns, self._level)
        base = signals.days * np.exp(log_rate)
        base[-1] = expected
        return np.asarray(base)

    def _kernel(self, lasting: float, memory: float) -> Floats:
        day = np.arange(self.mean.shape[1]) * self._signals.block_days
        wandering = np.exp(-np.abs(day[:, None] - day) / memory)
        return np.asarray(lasting + (1 - lasting) * wandering + _JITTER * np.eye(len(day)))

    def _infer_alive(self, base: Floats) -> None:
        """Who has not left: the longer the silence where events were expected, the fewer."""
        signals, own = self._signals, self._signals.own
        slope = self.slope[own][:, None, None]
        silent = base[own] * np.exp(slope * self.mean + slope**2 * self.variance / 2)
        silent = silent.sum(axis=0)
        block = np.arange(self.mean.shape[1])
        after, newest = block > signals.newest[:, None], block == signals.newest[:, None]
        hazard = signals.days * np.exp(self._leaving[0] + self._expected_of(self._leaving[1]))
        hazard = np.where(after, hazard, np.where(newest, hazard * signals.left[:, None], 0.0))
        silence = np.cumsum(np.where(after, silent, 0.0), axis=1)
        stayed = np.cumsum(hazard, axis=1)
        # Leaving at the end of a block, and never: each with the silence up to then.
        left = -np.expm1(-hazard) * np.exp(-(stayed - hazard) - silence)
        never = np.exp(-stayed[:, -1] - silence[:, -1])
        total = left.sum(axis=1) + never
        self._leaves = left / total[:, None]
        later = np.cumsum(self._leaves[:, ::-1], axis=1)[:, ::-1] + (never / total)[:, None]
        self.alive = np.where(after, np.maximum(later, 1e-9), 1.0)

    def _expected_of(self, slope: float) -> Floats:
        return slope * self.mean + slope**2 * self.variance / 2

    def _infer_intent(self, base: Floats, weight: Floats) -> Floats:
        """A Newton step towards each customer's most likely intent, and its spread.

        Returns:
            (D, D) the mean of what it is times itself.
        """
        signals = self._signals
        prior = np.linalg.inv(self._kernel(self.lasting, self.memory))
        rate = base * np.where(signals.own[:, None, None], self.alive, 1.0)
        leaving = signals.days * self.alive * np.exp(self._leaving[0])
        rate = np.concatenate([rate, leaving[None]])
        slope = np.append(self.slope, self._leaving[1])[:, None, None]
        moment = np.zeros_like(prior)
        for start in range(0, len(self.mean), _CHUNK):
            some = slice(start, start + _CHUNK)
            mean, variance = self.mean[some], self.variance[some]
            happened = np.concatenate([signals.counts[:, some], self._leaves[None, some]])
            for _ in range(2):
                expected = rate[:, some] * np.exp(slope * mean + slope**2 * variance / 2)
                known = (slope**2 * expected).sum(axis=0)
                spread = np.linalg.inv(prior + known[:, :, None] * np.eye(len(prior)))
                pull = (slope * (happened - expected)).sum(axis=0) - mean @ prior
                step = np.einsum("cij,cj->ci", spread, pull)
                mean = mean + np.clip(step, -_STEP, _STEP)
                variance = np.diagonal(spread, axis1=1, axis2=2)
            self.mean[some], self.variance[some] = mean, variance
            own = weight[some]
            moment += np.einsum("c,cij->ij", own, spread) + (mean * own[:, None]).T @ mean
        return np.asarray(moment / weight.sum())

    def _fit_kernel(self, moment: Floats) -> None:
        """How much of the intent stays; its scale goes into the slopes (Liu, Rubin and Wu, 1998).

        Source: Liu, Rubin and Wu, "Parameter expansion to accelerate EM" (1998).
        """
        kernel = self._kernel(self.lasting, self.memory)
        scale = np.sqrt(np.trace(np.linalg.solve(kernel, moment)) / len(kernel))
        self.slope *= scale
        self._leaving[1] *= scale
        self.mean /= scale
        self.variance /= scale**2
        moment = moment / scale**2

        def loss(free: Floats) -> float:
            trial = self._kernel(*_bounded(free))
            fit = np.trace(np.linalg.solve(trial, moment))
            return float(np.linalg.slogdet(trial)[1] + fit)

        start = np.array([np.log(self.lasting / (1 - self.lasting)), np.log(self.memory)])
        found = minimize(loss, start, method="Nelder-Mead", options={"maxiter": 40})
        self.lasting, self.memory = _bounded(found.x)

    def _fit_rate(self, series: int, base: Floats, weight: Floats) -> None:
        """One Newton step for the level and the slope of a series."""
        signals = self._signals
        if signals.own[series]:
            base = base * self.alive
        step = _newton(
            signals.columns,
            self.mean,
            self.variance,
            base,
            signals.counts[series],
            float(self.slope[series]),
            weight,
        )
        self._level[series] += step[:-1]
        self.slope[series] += step[-1]

    def _fit_leaving(self, weight: Floats) -> None:
        signals = self._signals
        base = signals.days * self.alive * np.exp(self._leaving[0])
        ones = np.ones((*base.shape, 1))
        about = self.mean, self.variance, base, self._leaves
        self._leaving += _newton(ones, *about, float(self._leaving[1]), weight)


def _bounded(free: Floats) -> tuple[float, float]:
    lasting = np.clip(1 / (1 + np.exp(-free[0])), 0.02, 0.98)
    return float(lasting), float(np.clip(np.exp(free[1]), 3.0, 365.0))


def _newton(
    columns: Floats,
    mean: Floats,
    variance: Floats,
    base: Floats,
    counts: Floats,
    slope: float,
    weight: Floats,
) -> Floats:
    """(X + 1,) Newton's step for what adds to the level, by column, and for the slope."""
    on = base > 0
    x, m, v = columns[on], mean[on], variance[on]
    w = np.broadcast_to(weight[:, None], base.shape)[on]
    expected = w * base[on] * np.exp(slope * m + slope**2 * v / 2)
    happened = w * counts[on]
    tilted = m + slope * v
    gradient = np.append(x.T @ (happened - expected), (happened * m - expected * tilted).sum())
    both = np.column_stack([x, tilted])
    curvature = (both * expected[:, None]).T @ both
    curvature[-1, -1] += (expected * v).sum()
    curvature += _JITTER * np.eye(len(curvature)) * max(float(np.trace(curvature)), 1.0)
    step = np.linalg.solve(curvature, gradient)
    return np.asarray(np.clip(step, -0.5, 0.5))
