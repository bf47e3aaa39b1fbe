"""What a purchase is worth: the Gamma-Gamma model, and sums over purchases yet to come.

Amounts of one customer are gamma distributed (shape ``p``), and so are, over the customers, the
inverse scales (``q``, ``gamma``). How much is spent has nothing to do with how often.

Source: Fader and Hardie, "The Gamma-Gamma model of monetary value" (2013),
brucehardie.com/notes/025. Symbols are theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betainc, gammaln

from seqmarket.nn.repurchase import BetaGeometric, Floats, Histories

_ROWS = 1024
"""Medians are computed for that many rows at once."""
_TAIL = 1e-4
"""Numbers of purchases beyond which this probability is left are not told apart."""
_MOST = 2000
"""Nor are more purchases than that in one window."""
_BISECTIONS = 40


@dataclass(frozen=True)
class GammaGamma:
    """The parameters of the model, and what follows from them.

    Attributes:
        p: Shape of a customer's amounts.
        q: Shape of the inverse scales, above 1.
        gamma: Inverse scale of the inverse scales, in the log's own currency.
    """

    p: float
    q: float
    gamma: float

    @classmethod
    def fit(cls, count: NDArray[np.int64], mean: Floats) -> Self:
        """Maximum likelihood, by L-BFGS-B on the logarithms of p, q - 1 and gamma.

        Args:
            count: (N,) purchases of each customer, 1 or more.
            mean: (N,) their mean amounts, above 0.
        """
        unit = float(mean.mean())

        def loss(logs: Floats) -> float:
            p, above, gamma = np.exp(logs).tolist()
            return -float(cls(p, 1 + above, gamma).log_likelihoods(count, mean / unit).mean())

        found = minimize(
            loss,
            np.log([2.0, 2.0, 1.0]),
            method="L-BFGS-B",
            bounds=((-5.0, 9.0), (-7.0, 9.0), (-9.0, 9.0)),
            options={"ftol": 1e-14, "gtol": 1e-7, "maxiter": 2000, "maxfun": 20_000},
        )
        p, above, gamma = np.exp(found.x).tolist()
        return cls(p, 1 + above, gamma * unit)

    def log_likelihoods(self, count: NDArray[np.int64], mean: Floats) -> Floats:
        """(N,) of each customer's mean amount; equation (1a) of the source."""
        p, q, gamma, n = self.p, self.q, self.gamma, count.astype(np.float64)
        constant = gammaln(p * n + q) - gammaln(p * n) - gammaln(q)
        log_n, log_mean = np.log(n), np.log(mean)
        return np.asarray(
            constant
            + q * np.log(gamma)
            + (p * n - 1) * log_mean
            + p * n * log_n
            - (p * n + q) * np.log(gamma + n * mean)
        )

    def expected(self, count: NDArray[np.int64], total: Floats) -> Floats:
        """(N,) expected amount of a purchase, after `count` purchases worth `total` in all."""
        return np.asarray(self.p * (self.gamma + total) / (self.p * count + self.q - 1))

    def median_of_sum(
        self, purchases: BetaGeometric, seen: Histories, total: Floats, days: float
    ) -> Floats:
        """(N,) median of the summed amounts in the days after the prediction time.

        Given n purchases, the sum z is so distributed that ``z / (z + gamma + total)`` is beta
        (p n, q + p count): the gamma rate of the sum is itself a gamma variable. The numbers of
        purchases are weighted by their probabilities, and the median is found by bisection.

        Args:
            purchases: How many there will be.
            seen: The customers.
            total: (N,) what their purchases were worth so far.
            days: Length of the window.
        """
        median = np.zeros(len(total))
        none = 1.0 - purchases.buys(seen, days)
        # Alike numbers of purchases together: those who buy most decide how far one has to count.
        rows = np.flatnonzero(none < 0.5)
        rows = rows[np.argsort(none[rows], kind="stable")]
        for first in range(0, len(rows), _ROWS):
            part = rows[first : first + _ROWS]
            known = seen.take(part)
            shares = _counts(purchases, known, days, none[part])  # (M, n)
            number = np.arange(1, shares.shape[1] + 1)
            rest = (self.q + self.p * known.days)[:, None]
            low, high = np.zeros(len(part)), np.ones(len(part))
            for _ in range(_BISECTIONS):
                middle = (low + high) / 2
                below = betainc(self.p * number, rest, middle[:, None])
                enough = none[part] + (shares * below).sum(axis=1) >= 0.5
                low, high = np.where(enough, low, middle), np.where(enough, middle, high)
            median[part] = (self.gamma + total[part]) * middle / (1.0 - middle)
        return median


def _counts(purchases: BetaGeometric, seen: Histories, days: float, none: Floats) -> Floats:
    """(N, n) probabilities of 1 to n purchases, of which hardly more are made."""
    columns: list[Floats] = []
    left = 1.0 - none
    while left.max() > _TAIL and len(columns) < _MOST:
        columns.append(purchases.exactly(seen, days, len(columns) + 1))
        left = left - columns[-1]
    return np.stack(columns, axis=1)
