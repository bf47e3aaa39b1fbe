"""The rows that all contenders have answered, and what each said about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqmarket.comparison.contenders import Contender
from seqmarket.comparison.recorded import RecordedRun
from seqmarket.comparison.terms import Obstacles, find_obstacles, refuse
from seqmarket.errors import SeqmarketError
from seqmarket.metrics.amounts import AmountScores, DurationScores
from seqmarket.metrics.classification import BinaryScores
from seqmarket.metrics.influence import Influence
from seqmarket.metrics.paired import Member
from seqmarket.metrics.ranking import RankedScores
from seqmarket.metrics.resampling import Scores
from seqmarket.schema import TaskKind

_KEY = ("customer", "prediction_time", "nth")
"""A row: events of one moment are told apart by their place."""


@dataclass(frozen=True)
class MatchedTask:
    """One task, with the same N rows for everybody.

    Attributes:
        task: Its name.
        kind: Its kind.
        customer: (N,) whose row it is.
        answers: By run and model (see `run_key`): the prediction table's rows.
        scores: The same, ready to be evaluated.
        members: By contender, the runs that stand for it.
        rows: What was known of each row's customer: the rows of `row_table`.
    """

    task: str
    kind: TaskKind
    customer: NDArray[np.int64]
    answers: Mapping[str, pl.DataFrame]
    scores: Mapping[str, Scores]
    members: Mapping[str, Sequence[Member]]
    rows: pl.DataFrame

    def __len__(self) -> int:
        return len(self.customer)

    @property
    def n_customers(self) -> int:
        """Customers that the rows belong to."""
        return len(np.unique(self.customer))

    @property
    def label(self) -> NDArray[np.float64]:
        """(N,) labels of a task that is not categorical."""
        labels = next(iter(self.answers.values()))["label"]
        return np.asarray(labels.cast(pl.Float64).to_numpy())

    def probability(self, contender: str) -> NDArray[np.float64]:
        """(N,) of label 1, the mean over the contender's seeds."""
        names = [member.name for member in self.members[contender]]
        answers = [self.answers[name]["probability"].to_numpy() for name in names]
        return np.asarray(np.mean(answers, axis=0))

    def influence(self, contender: str, metric: str) -> Influence | None:
        """The mean over the contender's seeds; None where it is not worked out."""
        found = [self.scores[member.name].influence(metric) for member in self.members[contender]]
        known = [item for item in found if item is not None]
        if len(known) < len(found):
            return None
        return Influence(
            float(np.mean([item.estimate for item in known])),
            np.mean([item.rows for item in known], axis=0),
        )

    def take(self, kept: NDArray[np.bool_]) -> MatchedTask:
        """Some of the rows."""
        answers = {name: frame.filter(kept) for name, frame in self.answers.items()}
        return MatchedTask(
            self.task,
            self.kind,
            self.customer[kept],
            answers,
            {name: _scores(self.kind, frame) for name, frame in answers.items()},
            self.members,
            self.rows.filter(kept) if len(self.rows) else self.rows,
        )


@dataclass(frozen=True)
class Matching:
    """The tasks that all contenders can be compared on.

    Attributes:
        tasks: By name.
        obstacles: What differs between the runs; empty unless they were restricted.
        left_out: Tasks, or rows, that are not compared, each with the reason.
    """

    tasks: Mapping[str, MatchedTask]
    obstacles: Sequence[str]
    left_out: Sequence[str]


def run_key(run: RecordedRun, model: str) -> str:
    """By which the scores of a model of a run are found."""
    return f"{run.key} {model}"


def match(contenders: Sequence[Contender], *, restrict: bool = False) -> Matching:
    """Finds the rows that are the same for all.

    A contender that does not answer a task, such as a baseline, is left out of that task.

    Args:
        contenders: Who takes part.
        restrict: Compare runs that differ in data, split, labels or rows on the rows that they
            share, and leave out the tasks whose labels differ.

    Raises:
        SeqmarketError: The runs differ and are not to be restricted, or no task is left.
    """
    obstacles = find_obstacles(contenders)
    if not restrict:
        refuse(obstacles.texts, contenders)
    left_out: list[str] = []
    tables = {
        task: _tables_of(task, contenders)
        for task in contenders[0].runs[0].predictions["task"].unique(maintain_order=True)
    }
    matched: dict[str, MatchedTask] = {}
    for task, (tables_of, members) in tables.items():
        if task in obstacles.tasks:
            left_out.append(f"{task}: its label is defined differently")
        elif len(members) < 2:
            left_out.append(f"{task}: {' and '.join(members) or 'nobody'} alone answers it")
        else:
            common, dropped = _common(task, tables_of, obstacles)
            if dropped and restrict:
                left_out.append(f"{task}: {dropped:,} rows that not all runs have")
            if common is not None:
                matched[task] = _matched(task, common, members, contenders[0].runs[0])
    if not restrict:
        refuse(obstacles.texts, contenders)  # of the rows themselves
    if not any(len(item) for item in matched.values()):
        raise SeqmarketError(
            "these runs have no task and no row in common",
            where=", ".join(contender.name for contender in contenders),
            fix="compare runs of the same tasks, with test periods that overlap",
        )
    return Matching(matched, obstacles.texts, left_out)


def _tables_of(
    task: str, contenders: Sequence[Contender]
) -> tuple[dict[str, pl.DataFrame], dict[str, list[Member]]]:
    tables: dict[str, pl.DataFrame] = {}
    members: dict[str, list[Member]] = {}
    for contender in contenders:
        kin = tuple(run_key(run, contender.model) for run in contender.kin)
        for run in contender.runs:
            frame = run.predictions.filter(task=task, model=contender.model)
            if len(frame):
                nth = pl.int_range(pl.len()).over("customer", "prediction_time").alias("nth")
                name = run_key(run, contender.model)
                tables[name] = frame.with_columns(nth)
                members.setdefault(contender.name, []).append(Member(name, kin))
    return tables, members


def _common(
    task: str, tables: Mapping[str, pl.DataFrame], obstacles: Obstacles
) -> tuple[dict[str, pl.DataFrame] | None, int]:
    """The same rows of all tables in the same order, and how many of the first are not among."""
    names = list(tables)
    first = tables[names[0]]
    what = [*_KEY, "label"]
    if all(tables[name].select(what).equals(first.select(what)) for name in names[1:]):
        return dict(tables), 0
    shared = first.select(what)
    for name in names[1:]:
        shared = shared.join(tables[name].select(what), on=what, how="inner", maintain_order="left")
    dropped = max(len(table) for table in tables.values()) - len(shared)
    obstacles.texts.append(f"rows of {task} ({len(shared):,} are the same, {dropped:,} are not)")
    if not len(shared):
        return None, dropped
    return {
        name: shared.join(tables[name], on=what, how="left", maintain_order="left")
        for name in names
    }, dropped


def _matched(
    task: str,
    tables: Mapping[str, pl.DataFrame],
    members: Mapping[str, Sequence[Member]],
    run: RecordedRun,
) -> MatchedTask:
    first = next(iter(tables.values()))
    kind = _kind(first)
    described = run.rows.filter(task=task).with_columns(
        pl.int_range(pl.len()).over("customer", "prediction_time").alias("nth")
    )
    rows = first.select(_KEY).join(described, on=_KEY, how="left", maintain_order="left")
    present = set(tables)
    known = {
        name: [Member(m.name, tuple(s for s in m.seeds if s in present)) for m in of]
        for name, of in members.items()
    }
    return MatchedTask(
        task,
        kind,
        first["customer"].to_numpy(),
        tables,
        {name: _scores(kind, frame) for name, frame in tables.items()},
        known,
        rows,
    )


def _kind(frame: pl.DataFrame) -> TaskKind:
    if frame["predicted"].null_count() < len(frame):
        return "categorical"
    if frame["quantities"].null_count() == len(frame):
        return "binary"
    return "amount" if frame["quantities"].list.len().max() == 2 else "duration"


def _scores(kind: TaskKind, frame: pl.DataFrame) -> Scores:
    if kind == "categorical":
        classes = pl.concat([frame["label"], frame["predicted"]]).unique().sort()
        place = pl.int_range(len(classes), eager=True)
        label, predicted = (
            frame[name].replace_strict(classes, place).to_numpy() for name in ("label", "predicted")
        )
        n = len(frame)
        return RankedScores(
            label,
            above=frame["rank"].to_numpy() - 1,
            ties=frame["ties"].to_numpy(),
            probability=frame["probability"].to_numpy(),
            votes=(np.arange(n), predicted, np.ones(n)),
        )
    label = frame["label"].cast(pl.Float64).to_numpy()
    if kind == "binary":
        return BinaryScores(label, frame["probability"].to_numpy())
    width = int(frame["quantities"].list.len().max())  # type: ignore[arg-type]
    quantities = frame["quantities"].explode().to_numpy().reshape(-1, width)
    return (AmountScores if kind == "amount" else DurationScores)(label, quantities)
