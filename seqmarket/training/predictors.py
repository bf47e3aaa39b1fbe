"""One way to ask any model, deep or baseline, for calibrated probabilities on labelled rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from seqmarket.data.batch import Targets, TaskBatch
from seqmarket.data.datasets import EvaluationSet
from seqmarket.metrics.calibration import CALIBRATED, Calibration, fit_calibration
from seqmarket.nn.ensemble import JourneyEnsemble
from seqmarket.nn.journey_model import JourneyModel
from seqmarket.nn.per_task import next_rule
from seqmarket.schema import (
    QUANTILES,
    Baseline,
    EventArrays,
    LabelTable,
    SequenceSpec,
    TaskKind,
)
from seqmarket.tensors import JourneyBatch, Points
from seqmarket.training.tasks import Task

Tables = Mapping[str, LabelTable]
Predictions = dict[str, NDArray[np.float64]]
"""Per task, what is said about each row, in the order of the label table and the form that fits
its kind (`seqmarket.schema`)."""


class Predictor(Protocol):
    """A fitted model that answers label tables."""

    def predict(self, tables: Tables) -> Predictions:
        """Probabilities for each table whose kind of task the model can answer."""
        ...


class DeepPredictor:
    """A journey model, asked in batches on one device.

    Args:
        model: The trained model.
        tasks: Its tasks.
        events: Where the journeys are.
        spec: How they were encoded.
        tokens: Padded positions per batch.
        device: Where the model is run.
    """

    def __init__(
        self,
        model: JourneyModel | JourneyEnsemble,
        tasks: Mapping[str, Task],
        events: EventArrays,
        spec: SequenceSpec,
        *,
        tokens: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self._model = model.to(device).eval()
        self._tasks = dict(tasks)
        self._events = events
        self._spec = spec
        self._tokens = tokens
        self._device = torch.device(device)

    @torch.no_grad()
    def predict(self, tables: Tables) -> Predictions:
        """Probabilities of every task; see `Predictor`."""
        answers = {
            name: np.zeros((len(table), *self._width(table.kind, name)), dtype=np.float32)
            for name, table in tables.items()
        }
        batches = EvaluationSet(self._events, tables, self._spec.max_length, self._tokens)
        for i in range(len(batches)):
            loaded = batches[i]
            rows = {name: target.table_row.numpy() for name, target in loaded.targets.items()}
            batch = to_device(loaded, self._device)
            states = self._model.encode(batch.journeys).states  # (B, T, D)
            for name, target in batch.targets.items():
                found = self._model.answer(states, batch.journeys.time, name, target.points)
                answers[name][rows[name]] = found.float().cpu().numpy()
        return {name: self._tasks[name].predictions(values) for name, values in answers.items()}

    def _width(self, kind: TaskKind, name: str) -> tuple[int, ...]:
        classes = len(self._tasks[name].classes(self._spec))
        shapes: dict[TaskKind, tuple[int, ...]] = {
            "binary": (),
            "categorical": (classes,),
            "amount": (2,),
            "duration": (len(QUANTILES),),
        }
        return shapes[kind]


class BaselinePredictor:
    """A fitted baseline; it answers the tasks of its kinds only.

    Args:
        baseline: The fitted baseline.
        events: Where the journeys are.
        without: Tasks of its kinds that it could not be fitted for.
    """

    def __init__(
        self, baseline: Baseline, events: EventArrays, without: frozenset[str] = frozenset()
    ) -> None:
        self.baseline = baseline
        self.without = without
        self._events = events

    def predict(self, tables: Tables) -> Predictions:
        """Probabilities of the tasks that the baseline can answer; see `Predictor`."""
        return {
            name: self.baseline.predict(self._events, table)
            for name, table in tables.items()
            if table.kind in self.baseline.kinds and name not in self.without
        }


class CalibratedPredictor:
    """A predictor whose probabilities are corrected task by task.

    Args:
        predictor: The model.
        calibrations: The correction of each task; tasks without one stay as they are.
    """

    def __init__(self, predictor: Predictor, calibrations: Mapping[str, Calibration]) -> None:
        self.predictor = predictor
        self.calibrations = dict(calibrations)

    @classmethod
    def fit(
        cls,
        predictor: Predictor,
        validation: Tables,
        spec: SequenceSpec,
        method: Literal["platt", "isotonic"] = "platt",
    ) -> CalibratedPredictor:
        """Fits the corrections on the validation rows, as for every model of a run."""
        fitted: dict[str, Calibration] = {}
        for name, predicted in predictor.predict(validation).items():
            table, values, label = validation[name], predicted, validation[name].label
            if table.kind == "categorical":
                scored = next_rule(table).scored(spec)
                values, label = predicted[:, scored], (np.cumsum(scored) - 1)[label]
            if table.kind in CALIBRATED:
                fitted[name] = fit_calibration(table.kind, values, label, method)
        return cls(predictor, fitted)

    def predict(self, tables: Tables) -> Predictions:
        """Calibrated probabilities; see `Predictor`."""
        return {
            name: self.calibrations[name].apply(values) if name in self.calibrations else values
            for name, values in self.predictor.predict(tables).items()
        }


def among_scored(predictions: Predictions, tables: Tables, spec: SequenceSpec) -> Predictions:
    """The probabilities of classes, given that one comes that has rows in an evaluation.

    Rows of other classes are not asked, so no model is to answer with one: neither those that
    could nor those, such as repeating the last class, that cannot have an advantage.
    """
    return {
        name: _given(values, next_rule(tables[name]).scored(spec))
        if tables[name].kind == "categorical"
        else values
        for name, values in predictions.items()
    }


def _given(probability: NDArray[np.float64], scored: NDArray[np.bool_]) -> NDArray[np.float64]:
    if scored.all():
        return probability
    # Where nothing else was held possible, all of the others are alike.
    some = np.where(scored, probability, 0.0)
    total = some.sum(axis=1, keepdims=True)
    return np.where(total > 0, some / np.where(total > 0, total, 1.0), scored / scored.sum())


def calibrations_of(predictor: Predictor) -> dict[str, Any]:
    """The corrections of a predictor as plain containers; none where it has none."""
    if not isinstance(predictor, CalibratedPredictor):
        return {}
    return {name: fitted.to_dict() for name, fitted in predictor.calibrations.items()}


def journeys_to(batch: JourneyBatch, device: torch.device) -> JourneyBatch:
    """The journeys on a device; copies from pinned memory do not wait."""
    return JourneyBatch(*(x.to(device, non_blocking=True) for x in batch))


def to_device(batch: TaskBatch, device: torch.device) -> TaskBatch:
    """The batch on a device; copies from pinned memory do not wait."""
    if device.type == "cpu":
        return batch
    targets = {
        name: Targets(
            points=Points(*(x.to(device, non_blocking=True) for x in target.points)),
            label=target.label.to(device, non_blocking=True),
            amount=target.amount.to(device, non_blocking=True),
            weight=target.weight.to(device, non_blocking=True),
            table_row=target.table_row,
        )
        for name, target in batch.targets.items()
    }
    return TaskBatch(
        journeys_to(batch.journeys, device),
        targets,
        batch.events,
    )
