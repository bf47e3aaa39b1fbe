"""The model card: what a run made, from what, how well it does, and what it is not for.

Follows the sections of Mitchell et al., Model cards for model reporting (FAT* 2019), as far as the
facts of a run can fill them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from seqmarket.training.results import TaskResult, metric_name, standings
from seqmarket.training.summary import caption, to_markdown

FEW_ROWS = 100
"""A class with fewer test rows is named as too small to judge."""
FEW_POSITIVES = 200
"""A binary task with fewer of either label is named as too small to judge."""


@dataclass(frozen=True)
class TaskDefinition:
    """What is predicted, in words.

    Attributes:
        name: Name of the task.
        definition: What the probability is of, with its window.
        as_of: Who is asked about, and when.
    """

    name: str
    definition: str
    as_of: str


@dataclass(frozen=True)
class CalibrationFacts:
    """The effect of post-hoc calibration on one task.

    Attributes:
        method: Such as `platt` or `temperature`.
        metric: What was measured, such as `calibration_error` or `log_loss`.
        before: Its value without calibration, on the rows of the final table.
        after: Its value with calibration.
    """

    method: str
    metric: str
    before: float
    after: float


@dataclass(frozen=True)
class TrainingCost:
    """What the training took.

    Attributes:
        wall_seconds: Wall-clock time of the fit.
        epochs: Epochs completed.
        best_epoch: The one whose weights were kept; None where there are no epochs.
        events_per_second: Events seen in training per second; None where not measured.
        threads: CPU threads.
        device: Such as `cpu` or `1 x cuda`.
    """

    wall_seconds: float
    epochs: int
    best_epoch: int | None
    events_per_second: float | None
    threads: int
    device: str = "cpu"


@dataclass(frozen=True)
class CardFacts:
    """Everything that a model card is written from.

    Attributes:
        run_name: Name of the run.
        model: Name of its own model.
        n_parameters: Trainable parameters; None for a model without.
        data_name: Name of the data source.
        fingerprint: Content fingerprint of the encoded store.
        periods: First and last day of each part, by name, such as `train`.
        n_customers: Customers in the log.
        n_events: Events in the log.
        tasks: What is predicted.
        results: The final table.
        calibration: By task; a task may be missing.
        cost: What the training took.
        environment: Versions and machine facts, by name.
        overrides: The command line's overrides of the configuration.
        class_rows: Test rows of each class of each categorical task.
        deep: Whether the own model is a neural network.
        members: Networks that answer together.
    """

    run_name: str
    model: str
    n_parameters: int | None
    data_name: str
    fingerprint: str
    periods: Mapping[str, tuple[date, date]]
    n_customers: int
    n_events: int
    tasks: Sequence[TaskDefinition]
    results: Sequence[TaskResult]
    cost: TrainingCost
    calibration: Mapping[str, CalibrationFacts] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    overrides: Sequence[str] = ()
    class_rows: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    deep: bool = True
    members: int = 1


def model_card(facts: CardFacts) -> str:
    """Writes the card as Markdown.

    It holds aggregates only: no customer, no identifier. Passwords inside URLs among the overrides
    are masked.
    """
    parameters = "" if facts.n_parameters is None else f" with {facts.n_parameters:,} parameters"
    kind = "A neural sequence model" if facts.deep else "A baseline model"
    sections = [
        f"# {facts.model}: {facts.run_name}",
        f"{kind}{parameters}, which reads a customer's history of events up to a prediction time "
        f"and answers for that moment: {', '.join(task.name for task in facts.tasks)}.",
        "## In short\n\n" + _bullets(_in_short(facts)),
        "## What is predicted\n\n"
        + _bullets(f"**{task.name}**: {task.definition}. {task.as_of}" for task in facts.tasks)
        + "\n\nOnly events at or before the prediction time are inputs; a label is decided "
        "strictly after it. A row whose label window runs past the end of the observation is "
        "left out, not counted as negative.",
        "## Data\n\n" + _bullets(_data(facts)),
        "## Results\n\nEvery model is evaluated on the same rows of the test period, which took no "
        "part in training, in early stopping or in calibration.\n\n"
        + to_markdown(facts.results).strip(),
        "## Calibration\n\n" + _calibration(facts),
        "## Intended use\n\n" + _bullets(_intended_use(facts)),
        "## Limits\n\n" + _bullets(_limits(facts)),
        "## Training\n\n" + _bullets(_training(facts.cost)),
        "## To repeat it\n\n" + _repeat(facts),
    ]
    return "\n\n".join(sections) + "\n"


def _in_short(facts: CardFacts) -> Iterable[str]:
    for result in facts.results:
        found = standings(result)
        below = [standing for standing in found if not standing.at_or_above]
        metrics = ", ".join(metric_name(standing.metric) for standing in found)
        if not found:
            yield f"**{result.task}**: {result.model} was not compared with any baseline."
        elif not below:
            yield f"**{result.task}**: at or above the best baseline on {metrics}."
        else:
            named = ", ".join(f"{metric_name(s.metric)} ({s.baseline})" for s in below)
            beyond = sum(standing.decided for standing in below)
            yield (
                f"**{result.task}**: **below the best baseline** on {named}; "
                f"{beyond} of {len(below)} beyond sampling error."
            )


def _data(facts: CardFacts) -> Iterable[str]:
    yield (
        f"{facts.data_name}: {facts.n_events:,} events of {facts.n_customers:,} customers, "
        f"fingerprint `{facts.fingerprint}`"
    )
    for name, (first, last) in facts.periods.items():
        yield f"{name}: {first:%Y-%m-%d} to {last:%Y-%m-%d}"
    for result in facts.results:
        yield f"test rows of {result.task}: {caption(result)}"


def _calibration(facts: CardFacts) -> str:
    if not facts.calibration:
        return "The probabilities are the model's own; no calibration was fitted."
    lines = [
        "Fitted on validation rows, measured on test rows. Lower is better.",
        "",
        "| task | method | measure | before | after |",
        "|---|---|---|---|---|",
    ]
    for task, found in facts.calibration.items():
        lines.append(
            f"| {task} | {found.method} | {metric_name(found.metric)} "
            f"| {found.before:.4f} | {found.after:.4f} |"
        )
    worse = [task for task, found in facts.calibration.items() if found.after > found.before]
    if worse:
        lines += ["", f"Calibration made it worse on: {', '.join(worse)}."]
    return "\n".join(lines)


def _intended_use(facts: CardFacts) -> Iterable[str]:
    names = ", ".join(task.name for task in facts.tasks)
    yield (
        f"Meant for scoring customers of the same source as {facts.data_name}, as of a time: to "
        f"order and to size groups by {names}."
    )
    yield (
        "Not meant for decisions with legal or similarly serious effects on a person, for "
        "customers of another business, or for channels the training period did not show."
    )


def _limits(facts: CardFacts) -> Iterable[str]:
    yield (
        "The data are observational: predictions are not effects. That mailed customers buy more "
        "does not say that a mailing makes them buy."
    )
    if "test" in facts.periods:
        first, last = facts.periods["test"]
        yield (
            f"Measured on one period, {first:%Y-%m-%d} to {last:%Y-%m-%d}. Intervals cover the "
            "sampling of customers, not another season, price level or campaign plan."
        )
    if facts.deep:
        seeds = "Trained once with one seed; another seed gives other figures."
        if facts.members > 1:
            seeds = (
                f"The mean of {facts.members} networks, each from a seed of its own; other seeds "
                "give other figures."
            )
        yield (
            f"{seeds} Attention weights describe where the model looks; "
            "they are no explanation of cause."
        )
    yield "Channels and categories that first appear after the training period count as unknown."
    for result in facts.results:
        n_positives = result.n_positives
        if (
            n_positives is not None
            and min(n_positives, result.n_rows - n_positives) < FEW_POSITIVES
        ):
            yield (
                f"{result.task}: only {n_positives:,} of {result.n_rows:,} test rows are positive; "
                "its figures are uncertain."
            )
    for task, rows in facts.class_rows.items():
        small = [f"{name} ({n:,})" for name, n in rows.items() if n < FEW_ROWS]
        if small:
            yield (
                f"{task}: too few test rows to judge {', '.join(small)}; "
                "a good average can hide poor predictions there."
            )


def _training(cost: TrainingCost) -> Iterable[str]:
    minutes, seconds = divmod(round(cost.wall_seconds), 60)
    yield f"wall time: {minutes} min {seconds} s on {cost.device}, {cost.threads} threads"
    if cost.best_epoch is not None:
        yield f"epochs: {cost.epochs}, weights of epoch {cost.best_epoch}"
    if cost.events_per_second is not None:
        yield f"speed: {cost.events_per_second:,.0f} events/s"


def _repeat(facts: CardFacts) -> str:
    overrides = [re.sub(r"(?<=://)[^/@\s]+(?=@)", "***", item) for item in facts.overrides]
    lines = ["Overrides of the default configuration:", "", "```"]
    lines += [*(overrides or ["(none)"]), "```"]
    if facts.environment:
        lines += ["", "| environment | |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in facts.environment.items()]
    return "\n".join(lines)


def _bullets(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)
