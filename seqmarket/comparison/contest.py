"""The contenders on the same rows: every score, every paired difference, corrected."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.comparison.contenders import Contender
from seqmarket.comparison.matched import MatchedTask, Matching
from seqmarket.metrics.influence import clustered_error
from seqmarket.metrics.paired import Member, PairedDifference, holm, paired_difference
from seqmarket.metrics.resampling import Bootstrap, Interval, bootstrap_metrics
from seqmarket.training.results import HIGHER_IS_BETTER, main_metrics


@dataclass(frozen=True)
class Challenge:
    """One contender against the reference on one metric.

    Attributes:
        contender: Name of the contender.
        metric: The metric.
        difference: Contender minus reference.
        adjusted: The p-value, corrected for all tests of the comparison; NaN: it is not one of
            them, as only the foremost metric of each task is tested.
        check: The same difference's standard error without resampling (of the AUROC: DeLong's,
            clustered by customer); NaN where it is not worked out.
    """

    contender: str
    metric: str
    difference: PairedDifference
    adjusted: float
    check: float

    def verdict(self, level: float) -> str:
        """`better`, `worse` or `no difference`; empty where it is not tested."""
        if math.isnan(self.adjusted):
            return ""
        if self.adjusted >= 1 - level:
            return "no difference"
        is_higher = self.difference.estimate > 0
        return "better" if is_higher == HIGHER_IS_BETTER[self.metric] else "worse"


@dataclass(frozen=True)
class TaskContest:
    """All contenders on one task.

    Attributes:
        matched: The rows, and what was said about them.
        drawn: Metrics on the same resamples, by run (see `run_key`).
        members: By contender, the runs that stand for it.
        reference: What the others are compared with; None: there is nobody who answers.
        challenges: Every contender but the reference, on every metric.
    """

    matched: MatchedTask
    drawn: Bootstrap
    members: Mapping[str, Sequence[Member]]
    reference: str | None
    challenges: Sequence[Challenge] = ()

    @property
    def foremost(self) -> str:
        """The metric that is tested."""
        return main_metrics(self.matched.task, self.matched.kind)[0]

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics, the main ones first."""
        main = main_metrics(self.matched.task, self.matched.kind)
        return (*main, *(metric for metric in self.drawn.metrics if metric not in main))

    def interval(self, contender: str, metric: str) -> Interval:
        """The mean over the contender's seeds, with its interval over customers."""
        place = self.drawn.metrics.index(metric)
        names = [member.name for member in self.members[contender]]
        estimate = float(np.mean([self.drawn.estimates[name][place] for name in names]))
        draws = np.mean([self.drawn.draws[name][:, place] for name in names], axis=0)
        draws = draws[~np.isnan(draws)]
        tail = (1 - self.drawn.level) / 2
        low, high = np.quantile(draws, [tail, 1 - tail]) if len(draws) else (np.nan, np.nan)
        return Interval(estimate, float(low), float(high))

    def seeds(self, contender: str, metric: str) -> NDArray[np.float64]:
        """The metric of each seed."""
        place = self.drawn.metrics.index(metric)
        names = [member.name for member in self.members[contender]]
        return np.array([self.drawn.estimates[name][place] for name in names])

    def challenge(self, contender: str, metric: str) -> Challenge | None:
        """A contender against the reference; None for the reference itself."""
        found = (t for t in self.challenges if t.contender == contender and t.metric == metric)
        return next(found, None)


@dataclass(frozen=True)
class Contest:
    """A finished comparison.

    Attributes:
        contenders: Who took part.
        challengers: Names of those whose differences are tested; the others are only shown.
        tasks: By name.
        matching: What was left out to have the same rows.
        n_resamples: Resamples of the customers.
        level: Confidence level.
    """

    contenders: Sequence[Contender]
    challengers: Sequence[str]
    tasks: Mapping[str, TaskContest]
    matching: Matching
    n_resamples: int
    level: float

    @property
    def n_tests(self) -> int:
        """Comparisons that share one error."""
        challenges = (c for task in self.tasks.values() for c in task.challenges)
        return sum(not math.isnan(challenge.adjusted) for challenge in challenges)


def run_contest(
    contenders: Sequence[Contender],
    matching: Matching,
    *,
    reference: str | None = None,
    n_resamples: int = 2_000,
    level: float = 0.95,
    seed: int = 0,
    tell: Callable[[str], None] = lambda line: None,
) -> Contest:
    """Compares everybody with the reference on every task.

    The reference is the one that is named, or the first. Where all are models of one run, what it
    trained is tested against the strongest of its baselines on each task. So is any task that the
    reference does not answer.

    Args:
        contenders: Who takes part.
        matching: The same rows of all.
        reference: A contender's name; None: as said above.
        n_resamples: Resamples of the customers.
        level: Confidence level.
        seed: Of the resamples.
        tell: Says how far it has come.
    """
    first = contenders[0]
    within = len({run.key for c in contenders for run in c.runs}) == 1 and first.is_own
    if reference is None and not within:
        reference = first.name
    tasks: dict[str, TaskContest] = {}
    for name, matched in matching.tasks.items():
        tell(f"{name}: {len(matched):,} rows, {n_resamples:,} resamples")
        drawn = bootstrap_metrics(
            matched.customer, matched.scores, n_resamples=n_resamples, seed=seed, level=level
        )
        known = reference if reference in matched.members else None
        task = TaskContest(matched, drawn, matched.members, known)
        if known is None:
            task = replace(task, reference=_strongest(task, without=first.name))
        tasks[name] = replace(task, challenges=_challenges(task))
    challengers = [first.name] if reference is None else [c.name for c in contenders]
    tasks = _corrected(tasks, challengers)
    challengers = [name for name in challengers if name != reference]
    return Contest(contenders, challengers, tasks, matching, n_resamples, level)


def _strongest(task: TaskContest, without: str) -> str | None:
    """Who has the best estimate of the foremost metric."""
    sign = 1.0 if HIGHER_IS_BETTER[task.foremost] else -1.0
    values = {
        name: sign * float(task.seeds(name, task.foremost).mean())
        for name in task.members
        if name != without
    }
    return max(values, key=lambda name: values[name], default=None)


def _challenges(task: TaskContest) -> list[Challenge]:
    reference = task.reference
    if reference is None:
        return []
    return [
        Challenge(
            contender,
            metric,
            paired_difference(
                task.drawn,
                metric,
                task.members[contender],
                task.members[reference],
                higher_is_better=HIGHER_IS_BETTER[metric],
            ),
            math.nan,
            _check(task, contender, reference, metric),
        )
        for contender in task.members
        if contender != reference
        for metric in task.metrics
    ]


def _check(task: TaskContest, contender: str, reference: str, metric: str) -> float:
    moved = [task.matched.influence(name, metric) for name in (contender, reference)]
    if moved[0] is None or moved[1] is None:
        return math.nan
    return clustered_error(moved[0].rows - moved[1].rows, task.matched.customer)


def _corrected(
    tasks: Mapping[str, TaskContest], challengers: Sequence[str]
) -> dict[str, TaskContest]:
    """With p-values of each task's foremost metric that are corrected for their number."""
    tested = [
        (name, challenge)
        for name, task in tasks.items()
        for challenge in task.challenges
        if challenge.metric == task.foremost and challenge.contender in challengers
    ]
    p_values = holm([challenge.difference.p_value for _, challenge in tested])
    adjusted = {
        (name, challenge.contender, challenge.metric): p_value
        for (name, challenge), p_value in zip(tested, p_values, strict=True)
    }
    return {
        name: replace(
            task,
            challenges=[
                replace(c, adjusted=adjusted.get((name, c.contender, c.metric), math.nan))
                for c in task.challenges
            ],
        )
        for name, task in tasks.items()
    }


def result_table(contest: Contest) -> pl.DataFrame:
    """One row per task, contender and metric, with the difference to the reference."""
    rows = []
    for name, task in contest.tasks.items():
        for contender in task.members:
            for metric in task.metrics:
                value = task.interval(contender, metric)
                challenge = task.challenge(contender, metric)
                seeds = task.seeds(contender, metric)
                rows.append(
                    {
                        "task": name,
                        "contender": contender,
                        "metric": metric,
                        "estimate": value.estimate,
                        "low": value.low,
                        "high": value.high,
                        "seeds": len(seeds),
                        "seed_sd": float(seeds.std(ddof=1)) if len(seeds) > 1 else None,
                        "reference": task.reference,
                        **_difference_columns(challenge, contest),
                        "rows": len(task.matched),
                        "customers": task.matched.n_customers,
                    }
                )
    return pl.DataFrame(rows, infer_schema_length=None)


def _difference_columns(challenge: Challenge | None, contest: Contest) -> dict[str, object]:
    names = (
        *("difference", "difference_low", "difference_high", "p_value", "adjusted_p_value"),
        *("probability_better", "detectable", "check_error"),
    )
    if challenge is None:
        return dict.fromkeys(names) | {"verdict": None}
    found = challenge.difference
    values = (
        *(found.estimate, found.low, found.high, found.p_value, challenge.adjusted),
        *(found.better, found.detectable(contest.level, contest.n_tests), challenge.check),
    )
    plain = (None if math.isnan(value) else value for value in values)
    return dict(zip(names, plain, strict=True)) | {
        "verdict": challenge.verdict(contest.level) or None
    }
