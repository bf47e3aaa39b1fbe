"""What a deep model is trained on, and which tasks each head then answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from seqmarket.data.dense import HazardObjective, NextObjective, Objective, WindowObjective
from seqmarket.errors import SeqmarketError
from seqmarket.nn.hazard import HazardHead
from seqmarket.nn.heads import BinaryHead, ClassHead, PointReader
from seqmarket.nn.next_event import NextEventHead
from seqmarket.nn.value import WIDTH, ValueHead
from seqmarket.schema import (
    MICROSECONDS_PER_DAY,
    PURCHASES,
    EventFilter,
    NextRule,
    SequenceSpec,
    WindowRule,
)
from seqmarket.training.config import TrainingConfig
from seqmarket.training.tasks import Task


@dataclass(frozen=True)
class Trained:
    """One head: what it learns from, and what it answers.

    Attributes:
        name: Key in the metrics of the training, and of the head in the model.
        tasks: The tasks that it answers.
        points: The training points.
        weight: Of its loss in the sum.
    """

    name: str
    tasks: tuple[Task, ...]
    points: Objective
    weight: float

    def make_head(self, spec: SequenceSpec, d_model: int, settings: TrainingConfig) -> nn.Module:
        """The untrained head."""

        def reader(n_out: int) -> PointReader:
            return PointReader(d_model, spec, n_out, settings.head_hidden, settings.head_dropout)

        first = self.tasks[0]
        match self.points:
            case HazardObjective():
                rules = [task.rule for task in self.tasks if isinstance(task.rule, WindowRule)]
                windows = {rule.task: rule.window / MICROSECONDS_PER_DAY for rule in rules}
                absent = {rule.task: rule.outcome == "absent" for rule in rules}
                bins = max(settings.hazard_bins, 2 * len(rules))
                return HazardHead(reader(bins), windows, absent)
            case WindowObjective() if first.kind == "amount":
                return ValueHead(first.name, reader(WIDTH))
            case WindowObjective():
                return BinaryHead(first.name, reader(1), first.positive_weight)
            case NextObjective(censored=False):
                n_classes = len(first.classes(spec))
                return ClassHead(first.name, reader(n_classes), settings.label_smoothing)
            case NextObjective():
                classes = first.classes(spec)
                size = max(len(classes), 1), settings.time_components
                return NextEventHead(
                    reader(NextEventHead.parameters_of(*size)),
                    spec,
                    *size,
                    class_task=first.name if classes else "",
                    time_task=self.tasks[-1].name,
                    class_weight=first.weight / self.weight,
                    time_weight=self.tasks[-1].weight / self.weight,
                    label_smoothing=settings.label_smoothing,
                )


def make_objectives(tasks: Mapping[str, Task], settings: TrainingConfig) -> dict[str, Trained]:
    """The objectives of all tasks, by name, in a fixed order.

    The channel of the next event and the time until it are one objective, and so are, by default,
    all windows that wait for the same event.

    Raises:
        SeqmarketError: A task of the user's own has a name that no head can have.
    """
    found: list[Trained] = []
    waiting: dict[EventFilter, list[Task]] = {}
    exposure = settings.point_weights == "exposure"
    for task in tasks.values():
        rule = task.rule
        if isinstance(rule, NextRule):
            found += _of_next(task, rule, tasks)
        elif task.kind == "binary" and settings.window_heads == "hazard":
            waiting.setdefault(rule.target, []).append(task)
        else:
            points = WindowObjective(rule, exposure)
            found.append(Trained(task.name, (task,), points, task.weight))
    found += [_hazard(target, tuple(group), exposure) for target, group in waiting.items()]
    for objective in found:
        if hasattr(nn.ModuleDict(), objective.name):
            raise SeqmarketError(
                f"a task cannot have the name {objective.name}, which torch needs for itself",
                where=f"task.custom.{objective.name}",
                fix="choose another name",
            )
    return {objective.name: objective for objective in found}


def _of_next(task: Task, rule: NextRule, tasks: Mapping[str, Task]) -> list[Trained]:
    channel, time = tasks.get("next_channel"), tasks.get("time_to_next")
    if rule.of == "event_type" or time is None:
        return [Trained(task.name, (task,), NextObjective(rule, censored=False), task.weight)]
    silence = not isinstance(time.rule, NextRule) or time.rule.silence
    points = NextObjective(rule, censored=True, silence=silence)
    if channel is None:
        return [Trained(task.name, (task,), points, task.weight)]
    if task is time:
        return []
    weight = max(channel.weight, time.weight)
    return [Trained("next_event", (channel, time), points, weight)]


def _hazard(target: EventFilter, tasks: tuple[Task, ...], exposure: bool) -> Trained:
    rules = [task.rule for task in tasks if isinstance(task.rule, WindowRule)]
    active = tuple(dict.fromkeys((rule.active, rule.active_within) for rule in rules))
    points = HazardObjective(target, max(rule.window for rule in rules), active, exposure)
    name = "purchase" if target == PURCHASES else "_or_".join(task.name for task in tasks)
    return Trained(
        f"time_to_{name}", tasks, points, sum(task.weight for task in tasks) / len(tasks)
    )
