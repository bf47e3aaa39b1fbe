"""Standard errors without resampling: from how much each row moves a metric.

To first order a metric is a sum over rows, so its variance is that of the sums over customers
(Obuchowski, "Nonparametric analysis of clustered ROC curve data", Biometrics 1997; for the AUROC of
independent rows it is DeLong's). It takes no time, so it serves for many slices, and it checks what
the bootstrap says by other means.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Influence(NamedTuple):
    """A metric on all rows, and what each row adds to it.

    Attributes:
        estimate: The metric.
        rows: (N,) influence of each row; they sum to 0. All NaN where the metric is undefined.
    """

    estimate: float
    rows: NDArray[np.float64]


def mean_influence(values: NDArray[np.float64]) -> Influence:
    """Of the mean of (N,) values."""
    if len(values) == 0:
        return Influence(np.nan, np.empty(0))
    mean = float(values.mean())
    return Influence(mean, (values - mean) / len(values))


def clustered_error(influence: NDArray[np.float64], customer: NDArray[Any]) -> float:
    """Standard error of a metric, or of a difference of two, whose rows have these influences.

    Args:
        influence: (N,) of each row; of a paired difference, the difference of the two.
        customer: (N,) whose row it is.

    Returns:
        The standard error; NaN with fewer than two customers.
    """
    _, index = np.unique(customer, return_inverse=True)
    sums = np.bincount(index, influence)
    n_customers = len(sums)
    if n_customers < 2:
        return float("nan")
    return float(np.sqrt(n_customers / (n_customers - 1) * (sums @ sums)))
