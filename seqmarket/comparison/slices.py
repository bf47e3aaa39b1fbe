"""Where a difference holds: the same comparison within one kind of customer or moment."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import NormalDist

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import t as student

from seqmarket.comparison.contest import Contest, TaskContest
from seqmarket.comparison.matched import MatchedTask
from seqmarket.metrics.influence import clustered_error, mean_influence
from seqmarket.metrics.paired import holm, seed_variances, total_error
from seqmarket.training.asked import STATIC
from seqmarket.training.results import HIGHER_IS_BETTER

LEAST_CUSTOMERS = 10
"""A cell with fewer is not shown: it would say more about them than about the models.

Of a yes or no, so many must have had either answer.
"""

_LARGEST = 12
_OTHERS, _UNKNOWN = "all others", "not known"
_NAMES = {
    "last_channel": "channel of the last event",
    "events": "events so far",
    "recency": "days since the last event",
    "tenure": "days since the first event",
    "spent": "value of purchases so far",
}
_SCHEMA = {
    "task": pl.String,
    "slice": pl.String,
    "value": pl.String,
    "contender": pl.String,
    "metric": pl.String,
    "rows": pl.Int64,
    "customers": pl.Int64,
    "estimate": pl.Float64,
    "estimate_error": pl.Float64,
    "difference": pl.Float64,
    "difference_low": pl.Float64,
    "difference_high": pl.Float64,
    "adjusted_p_value": pl.Float64,
    "calibration": pl.Float64,
    "calibration_low": pl.Float64,
    "calibration_high": pl.Float64,
}


def slice_table(contest: Contest) -> tuple[pl.DataFrame, int]:
    """Every contender in every cell, on the foremost metric of each task.

    Intervals are from the influence of each row, clustered by customer, and from the variance
    between seeds where it is known. P-values of the differences to the reference are corrected for
    the cells of one contender and task.

    Returns:
        Columns: `task`, `slice` (what is told apart), `value` (of the cell), `contender`, `metric`,
        `rows`, `customers`, `estimate` and its standard error, `difference` to the reference with
        its interval and p-value (null for the reference), and for a yes or no `calibration`: the
        mean probability minus the observed rate, with its interval. And the number of cells that
        are left out as having fewer than `LEAST_CUSTOMERS` customers.
    """
    rows: list[dict[str, object]] = []
    small = 0
    for name, task in contest.tasks.items():
        for kind, values in _kinds(task.matched.rows):
            for value in _names(values):
                cell = task.matched.take((values == value).to_numpy())
                if _fewest_customers(cell) < LEAST_CUSTOMERS:
                    small += 1
                    continue
                place = {"task": name, "slice": kind, "value": value}
                rows += [place | found for found in _cell(cell, task, contest)]
    return _with_adjusted(pl.DataFrame(rows, schema=_SCHEMA)), small


def worst(
    table: pl.DataFrame, contender: str, level: float, most: int = 3
) -> Sequence[Mapping[str, object]]:
    """The cells in which a contender is worse than the reference, the worst first.

    Args:
        table: Of `slice_table`.
        contender: Who.
        level: Of the corrected test.
        most: So many at the most.
    """
    sign = pl.col("metric").replace_strict(
        {name: 1.0 if higher else -1.0 for name, higher in HIGHER_IS_BETTER.items()},
        return_dtype=pl.Float64,
    )
    found = (
        table.filter(contender=contender)
        .with_columns(gain=sign * pl.col("difference"))
        .filter((pl.col("gain") < 0) & (pl.col("adjusted_p_value") < 1 - level))
        .sort("adjusted_p_value", "gain")
    )
    return found.head(most).to_dicts()


def _fewest_customers(cell: MatchedTask) -> int:
    """Of a yes or no, those with the rarer answer: a few of them make no ranking."""
    if cell.kind != "binary":
        return cell.n_customers
    return min(len(np.unique(cell.customer[cell.label == label])) for label in (0, 1))


def _kinds(rows: pl.DataFrame) -> Iterator[tuple[str, pl.Series]]:
    """Each way to divide the rows, and the cell of each row: an ordered enumeration."""
    for column in rows.columns:
        if column not in _NAMES and not column.startswith(STATIC):
            continue
        values = rows[column]
        cells = _largest(values) if values.dtype == pl.String else _bands(values)
        if len(_names(cells)) > 1:
            yield _NAMES.get(column, column.removeprefix(STATIC)), cells


def _largest(values: pl.Series) -> pl.Series:
    """The most frequent texts, and the others together."""
    counts = values.drop_nulls().value_counts(sort=True)[values.name]
    kept, others = counts.head(_LARGEST), counts.slice(_LARGEST)
    named = values.replace(others, pl.repeat(_OTHERS, len(others), eager=True))
    names = [*kept, *([_OTHERS] if len(others) else [])]
    return _enumerated(named, names)


def _bands(values: pl.Series) -> pl.Series:
    """Quarters of the rows, by rounded bounds; equal values stay together."""
    known = values.cast(pl.Float64).fill_nan(None)
    numbers = known.drop_nulls().to_numpy()
    if not len(numbers):
        return _enumerated(known.cast(pl.String), [])
    bounds = sorted({_rounded(float(q)) for q in np.quantile(numbers, [0.25, 0.5, 0.75])})
    bounds = [bound for bound in bounds if numbers.min() <= bound < numbers.max()]
    names = [_band(bounds, place) for place in range(len(bounds) + 1)]
    index = np.searchsorted(np.array(bounds), known.fill_null(0.0).to_numpy())
    cells = pl.Series(names, dtype=pl.String).gather(pl.Series(index))
    cells = cells.to_frame("cell").select(pl.when(known.is_not_null()).then("cell")).to_series()
    return _enumerated(cells, names)


def _names(cells: pl.Series) -> list[str]:
    assert isinstance(cells.dtype, pl.Enum)
    return cells.dtype.categories.to_list()


def _enumerated(values: pl.Series, names: Sequence[str]) -> pl.Series:
    """The values in the order of their names; what is missing comes last."""
    if values.null_count():
        values, names = values.fill_null(_UNKNOWN), [*names, _UNKNOWN]
    return values.cast(pl.Enum(names))


def _band(bounds: list[float], place: int) -> str:
    if not bounds:
        return "all"
    if place == 0:
        return f"up to {bounds[0]:,.4g}"
    if place == len(bounds):
        return f"above {bounds[-1]:,.4g}"
    return f"{bounds[place - 1]:,.4g} to {bounds[place]:,.4g}"


def _rounded(value: float) -> float:
    """Two significant digits."""
    if value == 0 or not math.isfinite(value):
        return value
    return round(value, 1 - math.floor(math.log10(abs(value))))


def _cell(cell: MatchedTask, task: TaskContest, contest: Contest) -> Iterator[dict[str, object]]:
    metric = task.foremost
    reach = NormalDist().inv_cdf((1 + contest.level) / 2)
    base = None if task.reference is None else cell.influence(task.reference, metric)
    for contender in cell.members:
        own = cell.influence(contender, metric)
        if own is None or math.isnan(own.estimate):
            continue
        found: dict[str, object] = {
            "contender": contender,
            "metric": metric,
            "rows": len(cell),
            "customers": cell.n_customers,
            "estimate": own.estimate,
            "estimate_error": clustered_error(own.rows, cell.customer),
        }
        if base is not None and contender != task.reference:
            found |= _difference(cell, (contender, str(task.reference)), metric, contest.level)
        if cell.kind == "binary":
            excess: NDArray[np.float64] = cell.probability(contender) - cell.label
            bias = mean_influence(excess)
            error = clustered_error(bias.rows, cell.customer)
            found |= {
                "calibration": bias.estimate,
                "calibration_low": bias.estimate - reach * error,
                "calibration_high": bias.estimate + reach * error,
            }
        yield found


def _difference(
    cell: MatchedTask, pair: tuple[str, str], metric: str, level: float
) -> dict[str, object]:
    own, base = (cell.influence(name, metric) for name in pair)
    assert own is not None  # or the metric would not be cut into slices
    assert base is not None
    difference = own.estimate - base.estimate
    sampling = clustered_error(own.rows - base.rows, cell.customer) ** 2
    estimates = {
        seed: found.estimate
        for name in pair
        for member in cell.members[name]
        for seed in member.seeds
        if (found := cell.scores[seed].influence(metric)) is not None
    }
    error, freedom = total_error(
        sampling, seed_variances(estimates, [cell.members[name] for name in pair])
    )
    reach = float(student.isf((1 - level) / 2, freedom)) * error
    p_value = float(2 * student.sf(abs(difference) / error, freedom)) if error > 0 else 1.0
    return {
        "difference": difference,
        "difference_low": difference - reach,
        "difference_high": difference + reach,
        "adjusted_p_value": p_value,
    }


def _with_adjusted(table: pl.DataFrame) -> pl.DataFrame:
    """The p-values of each contender and task, corrected for the number of cells."""
    parts = []
    for part in table.partition_by("task", "contender", maintain_order=True):
        p_values = [math.nan if p is None else p for p in part["adjusted_p_value"]]
        adjusted = pl.Series("adjusted_p_value", holm(p_values)).fill_nan(None)
        parts.append(part.with_columns(adjusted.cast(pl.Float64)))
    return pl.concat(parts) if parts else table
