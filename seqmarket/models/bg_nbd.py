"""BG/NBD and Gamma-Gamma: whether customers buy again, and for how much, from a few numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from seqmarket.errors import SeqmarketError
from seqmarket.nn.per_task import PerTask, answerable
from seqmarket.nn.repurchase import BetaGeometric, Histories
from seqmarket.nn.rfm import amount_before
from seqmarket.nn.spend import GammaGamma
from seqmarket.schema import (
    MICROSECONDS_PER_DAY,
    EventArrays,
    LabelTable,
    SequenceSpec,
    TaskKind,
    WindowRule,
)

_EVER = np.iinfo(np.int64).max // 4
_CERTAIN = 1e-9
"""No probability is closer to 0 or 1: nobody has left for sure."""


@dataclass(frozen=True)
class Fit:
    """What was learnt for one task.

    Attributes:
        purchases: How often customers buy.
        spend: What a purchase is worth; None where the task does not ask.
    """

    purchases: BetaGeometric
    spend: GammaGamma | None


class BgNbd:
    """The probabilistic models of customer base analysis, fitted by maximum likelihood.

    It sees of each customer the number of days with a purchase, the first and the last of them,
    and the summed value. Purchases of one day (UTC) count once. A customer who has not bought yet
    is taken for one whose first event was a first purchase, of unknown value. Instead of purchases,
    a task of one's own may wait for other events.

    It learns from histories, not from labels: each customer counts once, as seen in their newest
    row of the table. So windows may be longer than the training period; and in a run it is
    fitted on the customers as they stand at the end of that.

    Sources: Fader, Hardie and Lee (2005) and Fader and Hardie (2013); see `seqmarket.nn.repurchase`
    and `seqmarket.nn.spend`. Other than in the second, first purchases are a part of the spend,
    and customers who bought once have a mean of their own.

    Args:
        spec: Names of the data.
    """

    kinds: ClassVar[frozenset[TaskKind]] = frozenset({"binary", "amount"})
    needs_labels: ClassVar[bool] = False

    def __init__(self, spec: SequenceSpec) -> None:
        self._spec = spec
        self._fits: PerTask[Fit] = PerTask("bg_nbd")

    def fit(self, events: EventArrays, tables: Mapping[str, LabelTable]) -> None:
        """Fits the parameters, task by task; no label is looked at."""
        for task, table in answerable(tables, self.kinds, "bg_nbd").items():
            newest = table.take(_newest_rows(table))
            seen, total = self._seen(events, newest)
            bought = seen.days > 0
            if not bought.any():
                raise SeqmarketError(
                    f"the baseline bg_nbd needs customers who have bought, and the task '{task}' "
                    "has none in training",
                    where="model, baselines",
                    fix="leave it out: ~model@baselines.bg_nbd, or move data.split.train_end",
                )
            spend = None
            if table.kind == "amount":
                worth = bought & (total > 0)
                if not worth.any():
                    raise SeqmarketError(
                        "the baseline bg_nbd needs purchases with a value above 0, and the task "
                        f"'{task}' has none in training",
                        where="data.columns.value",
                        fix="leave it out: ~model@baselines.bg_nbd, or name the column of values",
                    )
                days = seen.days[worth]
                spend = GammaGamma.fit(days, total[worth] / days)
            self._fits[task] = Fit(BetaGeometric.fit(seen.take(bought)), spend)

    def predict(self, events: EventArrays, table: LabelTable) -> NDArray[np.float64]:
        """(N,) probabilities of label 1, or (N, 2) expected amounts and medians."""
        fit, rule = self._fits[table.task], _window(table)
        days = rule.window / MICROSECONDS_PER_DAY
        seen, total = self._seen(events, table)
        if fit.spend is None:
            buys = np.clip(fit.purchases.buys(seen, days), _CERTAIN, 1 - _CERTAIN)
            return buys if rule.outcome == "happens" else 1 - buys
        mean = fit.purchases.expected(seen, days) * fit.spend.expected(seen.days, total)
        median = fit.spend.median_of_sum(fit.purchases, seen, total, days)
        return np.stack([mean, median], axis=1)

    def learnt(self, task: str) -> Fit:
        """The parameters of a task."""
        return self._fits[task]

    def _seen(
        self, events: EventArrays, table: LabelTable
    ) -> tuple[Histories, NDArray[np.float64]]:
        """The rows' histories, and what their purchases were worth in all; returns may reduce it.

        Values below 0 in all are taken for 0.
        """
        among = _window(table).target.mask(events, self._spec)
        total = amount_before(events, table, _EVER, among)
        return Histories.of(events, table, among), np.maximum(total, 0.0)


def _newest_rows(table: LabelTable) -> NDArray[np.int64]:
    """One row per customer: the last by prediction time."""
    order = np.lexsort((table.time, table.customer))
    last = np.diff(table.customer[order], append=-1) != 0
    return np.asarray(order[last])


def _window(table: LabelTable) -> WindowRule:
    if not isinstance(table.rule, WindowRule):
        raise SeqmarketError(
            f"the baseline bg_nbd answers questions about a window, and the table of "
            f"'{table.task}' does not say which",
            where="LabelTable.rule",
            fix="give the WindowRule by which the table was labelled",
        )
    return table.rule
