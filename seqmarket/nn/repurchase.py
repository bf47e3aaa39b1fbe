"""How often customers buy again until they leave for good, and unseen: the BG/NBD model.

While a customer is alive, purchases come at a rate of their own; after each repeat purchase they
leave with a probability of their own. Rates are gamma distributed over the customers (``r``,
``alpha``), probabilities of leaving beta distributed (``a``, ``b``).

Source: Fader, Hardie and Lee, "Counting your customers the easy way: an alternative to the
Pareto/NBD model", Marketing Science 24 (2005). Symbols are theirs, all times are in days.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betainc, betaln, expit, gammaln, hyp2f1

from seqmarket.schema import MICROSECONDS_PER_DAY, EventArrays, LabelTable

Floats = NDArray[np.float64]

_BOUNDS = ((-9.0, 6.0), (-9.0, 9.0), (-9.0, 9.0), (-9.0, 9.0))
"""Of the logarithms of the parameters, of alpha in mean ages: where nobody leaves, or nobody comes
back, the likelihood rises without end."""
_LARGE = 10.0
"""From here on, `a` is large."""


class Histories(NamedTuple):
    """All that the model wants to know of N customers.

    Attributes:
        days: (N,) int64 days (UTC) with a purchase; 0 before the first.
        repeats: (N,) x, those days without the first.
        last: (N,) t_x, days from the first to the last of them.
        age: (N,) T, days from the first of them to the prediction time; of a customer who has not
            bought yet, from their first event.
    """

    days: NDArray[np.int64]
    repeats: Floats
    last: Floats
    age: Floats

    @classmethod
    def of(cls, events: EventArrays, table: LabelTable, among: NDArray[np.bool_]) -> Histories:
        """Summarises each row's customer, up to and including the row's event.

        Purchases of one day count once, as is customary: they are one visit to the shop.

        Args:
            events: All customers' events.
            table: The N rows.
            among: (E,) which events are purchases.
        """
        first = events.offsets[table.customer]
        index = np.flatnonzero(among)
        day = events.time[index] // MICROSECONDS_PER_DAY
        before = np.concatenate([[0], np.cumsum(among)])
        start, end = before[first], before[table.event + 1]
        # Counted from the second on: whether the first is on a new day is about another customer.
        new_days = np.concatenate([[0], np.cumsum(np.diff(day, prepend=-1) != 0)])
        some = end > start
        earliest, newest = np.append(day, 0)[start], np.append(day, 0)[end - 1]
        days = np.where(some, new_days[end] - new_days[np.minimum(start + 1, end)] + 1, 0)
        begin = np.where(some, earliest, events.time[first] // MICROSECONDS_PER_DAY)
        return cls(
            days=days,
            repeats=np.maximum(days - 1, 0).astype(np.float64),
            last=np.where(some, newest - earliest, 0).astype(np.float64),
            age=table.time / MICROSECONDS_PER_DAY - begin,
        )

    def take(self, rows: NDArray[np.generic]) -> Histories:
        """The histories with these indices, or where this mask holds."""
        return Histories(*(column[rows] for column in self))


@dataclass(frozen=True)
class BetaGeometric:
    """The parameters of the model, and what follows from them.

    Attributes:
        r: Shape of the rates of purchase.
        alpha: Their inverse scale, days.
        a: First parameter of the probabilities of leaving.
        b: Second parameter.
    """

    r: float
    alpha: float
    a: float
    b: float

    @classmethod
    def fit(cls, seen: Histories) -> Self:
        """Maximum likelihood, by L-BFGS-B on the logarithms of the parameters.

        Args:
            seen: Customers who have bought, one or more.
        """
        unit = max(float(seen.age.mean()), 1.0)
        columns = np.stack([seen.repeats, seen.last, seen.age], axis=1)
        alike, count = np.unique(columns, axis=0, return_counts=True)  # few differ in a large log
        repeats, last, age = alike.T
        distinct = Histories(repeats.astype(np.int64) + 1, repeats, last / unit, age / unit)

        def loss(logs: Floats) -> float:
            each = cls(*np.exp(logs).tolist()).log_likelihoods(distinct)
            return -float(np.dot(count, each)) / float(count.sum())

        found = minimize(
            loss,
            np.log([0.5, 0.5, 1.0, 2.0]),
            method="L-BFGS-B",
            bounds=_BOUNDS,
            options={"ftol": 1e-14, "gtol": 1e-7, "maxiter": 2000, "maxfun": 20_000},
        )
        r, alpha, a, b = np.exp(found.x).tolist()
        return cls(r, alpha * unit, a, b)

    def log_likelihoods(self, seen: Histories) -> Floats:
        """(N,) of each customer's purchases after the first; equation (6) of the source."""
        r, alpha, a, b, x = self.r, self.alpha, self.a, self.b, seen.repeats
        common = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + betaln(a, b + x) - betaln(a, b)
        alive, gone = self._branches(seen)
        return np.asarray(common + np.logaddexp(alive, gone))

    def alive(self, seen: Histories) -> Floats:
        """(N,) probability that a customer has not left; 1 before the first repeat purchase."""
        alive, gone = self._branches(seen)
        return np.asarray(expit(alive - gone))

    def buys(self, seen: Histories, days: float) -> Floats:
        """(N,) probability of a purchase in the days after the prediction time.

        To buy nothing until T + t is to be seen the same at T + t, so its probability is the ratio
        of the likelihoods L(x, t_x, T + t) / L(x, t_x, T), and one minus it is
        ``P(alive) * (1 - ((alpha + T) / (alpha + T + t)) ** (r + x))``.
        """
        since = self.alpha + seen.age
        none = np.exp((self.r + seen.repeats) * (np.log(since) - np.log(since + days)))
        return np.asarray(self.alive(seen) * (1.0 - none))

    def expected(self, seen: Histories, days: float) -> Floats:
        """(N,) purchases that are expected in the days after the prediction time.

        Equation (10) of the source. As it stands it overflows for customers with hundreds of
        purchases, transformed by Euler's formula only where ``a`` is large; so both are used.
        """
        a = self.a if abs(self.a - 1) > 1e-6 else 1 + 1e-6  # a limit exists there
        k, b = self.r + seen.repeats, self.b + seen.repeats
        c, passed = a + b - 1, days / (self.alpha + seen.age + days)
        if a < _LARGE:
            left = (1 - passed) ** (a - 1) * hyp2f1(c - k, a - 1, c, passed)
        else:
            left = (1 - passed) ** k * hyp2f1(k, b, c, passed)
        return np.asarray(self.alive(seen) * c / (a - 1) * (1 - left))

    def exactly(self, seen: Histories, days: float, n: int) -> Floats:
        """(N,) probability of n purchases, 1 or more, in the days after the prediction time.

        Equation (8) of the source for customers who are alive, whose rates and probabilities of
        leaving are distributed as their histories say.
        """
        r, alpha, b = self.r + seen.repeats, self.alpha + seen.age, self.b + seen.repeats
        passed = days / (alpha + days)
        log_pmf = gammaln(r + n) - gammaln(r) - gammaln(n + 1.0)
        log_pmf += r * np.log1p(-passed) + n * np.log(passed)
        stays = np.exp(betaln(self.a, b + n) - betaln(self.a, b) + log_pmf)
        leaves = np.exp(betaln(self.a + 1, b + n - 1) - betaln(self.a, b)) * betainc(n, r, passed)
        return np.asarray(self.alive(seen) * (stays + leaves))

    def _branches(self, seen: Histories) -> tuple[Floats, Floats]:
        """(N,) logarithms of the two terms of the likelihood: alive at T, or gone at t_x."""
        r, alpha, x = self.r, self.alpha, seen.repeats
        alive = -(r + x) * np.log(alpha + seen.age)
        again = np.maximum(x, 1.0)
        gone = np.log(self.a) - np.log(self.b + again - 1) - (r + x) * np.log(alpha + seen.last)
        return alive, np.where(x > 0, gone, -np.inf)
