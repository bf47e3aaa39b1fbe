"""Was the comparison fair: how the data were split, what was fitted where, and the canaries."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from seqmarket.comparison.contest import Contest, TaskContest
from seqmarket.metrics.classification import BinaryScores
from seqmarket.metrics.influence import clustered_error

_SUSPICIOUS = 0.99
"""An AUROC of which one asks first whether an input holds the label."""

_CANARY_ERRORS = 4.0


class Check(NamedTuple):
    """One line of the checklist.

    Attributes:
        name: What was looked at.
        outcome: Whether it holds; `fact`: there is nothing to hold.
        text: What was found.
    """

    name: str
    outcome: Literal["holds", "look", "fact"]
    text: str


def checklist(contest: Contest) -> list[Check]:
    """Everything that a reviewer would ask of the data before she believes a difference."""
    run = contest.contenders[0].runs[0]
    periods = run.terms["split"]["periods"]
    kind = run.terms["split"]["kind"]
    spans = (f"{fold} {start[:10]} to {end[:10]}" for fold, (start, end) in periods.items())
    same = not contest.matching.obstacles
    return [
        Check(
            "Same log, split, labels and rows",
            "holds" if same else "look",
            "in all runs, checked row by row"
            if same
            else "; ".join(contest.matching.obstacles) + ": only what is shared is compared",
        ),
        Check("How it was split", "fact", f"by {kind.replace('_', ' ')}: {', '.join(spans)} (UTC)"),
        *(_periods(contest) if kind == "time" else []),
        *_rows(contest),
        *_shuffled(contest),
        *_too_good(contest),
        Check(
            "What was fitted where",
            "fact",
            "vocabularies, scalings, networks and baselines on the training period; the epoch and "
            f"the calibration ({run.config['training']['calibration']}) on the validation period; "
            "nothing on the test",
        ),
    ]


def _periods(contest: Contest) -> Iterator[Check]:
    """Of tasks about a window: no cutoff before the test begins, no window beyond its end."""
    run = contest.contenders[0].runs[0]
    starts, ends = zip(*run.terms["split"]["periods"].values(), strict=True)
    begin, end = datetime.fromisoformat(starts[-1]), datetime.fromisoformat(ends[-1])
    early, late, windows = 0, 0, 0
    for name, task in contest.tasks.items():
        window = run.terms["labels"][name]["rule"].get("window")
        if window is None:
            continue
        windows += 1
        times = task.matched.rows["prediction_time"]
        early += int((times < begin).sum())
        late += int((times + timedelta(microseconds=window) > end).sum())
    if windows:
        yield Check(
            "Label windows lie within the test",
            "look" if early + late else "holds",
            f"{early:,} rows are asked before it begins, {late:,} windows end after it",
        )


def _rows(contest: Contest) -> Iterator[Check]:
    key = ("customer", "prediction_time", "nth")
    frames = [task.matched.rows.select("recency", *key) for task in contest.tasks.values()]
    repeated = sum(int(frame.select(key).is_duplicated().sum()) for frame in frames)
    early = sum(int((frame["recency"] < 0).sum()) for frame in frames)
    unknown = sum(frame["recency"].null_count() for frame in frames)
    yield Check(
        "No row knows the future, none is asked twice",
        "look" if repeated or early or unknown else "holds",
        f"{early:,} rows are asked before their newest event, {repeated:,} are repeated"
        + (f", {unknown:,} are not described" if unknown else ""),
    )


def _binary(contest: Contest) -> Iterator[tuple[str, TaskContest]]:
    return ((name, task) for name, task in contest.tasks.items() if task.matched.kind == "binary")


def _shuffled(contest: Contest) -> Iterator[Check]:
    """With labels dealt out anew no model may look good: else the evaluation itself leaks."""
    worst, errors = 0.5, 0.0
    found = False
    for _, task in _binary(contest):
        matched = task.matched
        label = np.random.default_rng(0).permutation(matched.label)
        for contender in matched.members:
            moved = BinaryScores(label, matched.probability(contender)).influence("auroc")
            if moved is None or np.isnan(moved.estimate):
                continue
            error = clustered_error(moved.rows, matched.customer)
            distance = abs(moved.estimate - 0.5) / error if error > 0 else 0.0
            if not found or distance > errors:
                worst, errors = moved.estimate, distance
            found = True
    if found:
        yield Check(
            "Label-shuffle canary",
            "holds" if errors < _CANARY_ERRORS else "look",
            f"with shuffled labels the AUROC farthest from .5 is {worst:.3f}, "
            f"{errors:.1f} standard errors away",
        )


def _too_good(contest: Contest) -> Iterator[Check]:
    best = max(
        (
            (float(task.seeds(contender, "auroc").mean()), contender, name)
            for name, task in _binary(contest)
            for contender in task.members
        ),
        default=None,
    )
    if best is not None:
        yield Check(
            "Nothing is too good to be true",
            "look" if best[0] > _SUSPICIOUS else "holds",
            f"the best AUROC is {best[0]:.3f}, of {best[1]} at {best[2]}",
        )


def check_table(checks: list[Check]) -> pl.DataFrame:
    """The checklist as a table."""
    return pl.DataFrame(checks, schema=["check", "outcome", "text"], orient="row")
