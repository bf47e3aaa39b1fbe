"""The run's model, asked what it expects just before each conversion.

A question is about one conversion: from the customer's events before it in the order of the log, as
of its own moment (or before the margin, as of then). The answer F is the number of purchases that
the model expects within the task's window from then on, ``-log(1 - P(purchase))``, which is the
integral of a hazard. It is the model's own, before calibration, whose steps would hide small
differences.

V  conversions     N  questions of a batch     T  events of the longest journey in it
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from seqmarket.attribution.attributor import Evidence
from seqmarket.attribution.journeys import Floats, Journeys
from seqmarket.attribution.paths import Ints, first_since
from seqmarket.data.datasets import EvaluationSet
from seqmarket.data.engine.progress import lines
from seqmarket.errors import SeqmarketError
from seqmarket.nn.ensemble import JourneyEnsemble
from seqmarket.nn.journey_model import JourneyModel
from seqmarket.schema import PURCHASES, EventArrays, LabelTable, WindowRule
from seqmarket.tensors import JourneyBatch, Points
from seqmarket.training.checkpoint import TrainedModel


class Questions(NamedTuple):
    """N questions about the journeys of one batch.

    Attributes:
        journeys: B journeys.
        points: Where each conversion is waited for.
        touches: (N, T) bool, the touches of its path, as far as they are shown.
    """

    journeys: JourneyBatch
    points: Points
    touches: Tensor


@dataclass(frozen=True)
class PurchaseModel:
    """A trained model that answers whether a purchase comes.

    Attributes:
        method: Name of the method that asks.
        model: The model, in evaluation mode.
        task: The task that is asked: of several, the one with the shortest window, which comes
            nearest to the rate at the moment.
        max_length: Most events in a window.
        tokens: Padded positions per batch.
    """

    method: str
    model: JourneyModel | JourneyEnsemble
    task: str
    max_length: int
    tokens: int

    @classmethod
    def of(cls, evidence: Evidence, method: str) -> PurchaseModel:
        """The run's model.

        Raises:
            SeqmarketError: It is a baseline, has no task that waits for a purchase, or was trained
                on a log that was encoded otherwise.
        """
        trained = evidence.trained
        if trained is None or trained.model is None:
            raise SeqmarketError(
                f"{method} asks a network, and this run's own model is a baseline",
                where=f"attribution={method}",
                fix="name a run of a network, such as model=gru, or take attribution=regression",
            )
        if trained.spec != evidence.journeys.spec:
            raise SeqmarketError(
                "the journeys were encoded otherwise than those that the model was trained on",
                where=f"attribution={method}",
                fix="attribute the log of the model's own run",
            )
        return cls(
            method,
            trained.model.eval(),
            _purchase_task(trained, method),
            trained.spec.max_length,
            trained.config.training.eval_tokens,
        )

    @property
    def members(self) -> list[JourneyModel]:
        """The models that answer together; one alone, where it is no ensemble."""
        if isinstance(self.model, JourneyEnsemble):
            return list(self.model.members)  # type: ignore[arg-type]
        return [self.model]

    def expected(self, states: Tensor, time: Tensor, points: Points) -> Tensor:
        """(N,) float64 F, from states that `encode` gave; see `JourneyModel.answer`."""
        return softplus(self.model.answer(states, time, self.task, points).double())

    @torch.no_grad()
    def ask(self, events: EventArrays, customer: Ints, newest: Ints, time: Ints) -> Floats:
        """(Q,) F of many questions.

        Args:
            events: Where the journeys are.
            customer: (Q,) whose they are.
            newest: (Q,) the newest event that may be seen.
            time: (Q,) microseconds, as of when.
        """
        found = np.zeros(len(newest))
        for batch, points, row in self._batches(events, customer, newest, time, self.tokens):
            states = self.model.encode(batch).states  # (B, T, D)
            found[row] = self.expected(states, batch.time, points).numpy()
        return found

    def with_all_touches(self, journeys: Journeys) -> Floats:
        """(V,) F of each conversion whose path has touches; NaN for the others."""
        asked = touched(journeys)
        found = np.full(len(journeys.conversion), np.nan)
        found[asked] = self.ask(journeys.events, *just_before(journeys, asked))
        return found

    def of_touches(
        self, journeys: Journeys, weigh: Callable[[Questions], Tensor], *, copies: int = 1
    ) -> Floats:
        """What is found at each touch of each converting path; 0 where it is not shown.

        Args:
            journeys: The journeys.
            weigh: Gives (N, T) of the events before each conversion.
            copies: How many of each batch it holds at once.

        Returns:
            In the order of `journeys.converting.rows()`.
        """
        paths, asked = journeys.converting, touched(journeys)
        size = paths.stop - paths.first
        begin = np.cumsum(size) - size
        found = np.zeros(int(size.sum()))
        customer, newest, time = just_before(journeys, asked)
        tokens = max(self.tokens // copies, 1)
        with lines(self.method, len(asked)) as advance:
            for batch, points, row in self._batches(
                journeys.events, customer, newest, time, tokens
            ):
                some = paths.take(asked[row])
                question, touch = some.rows()
                shown_from = newest[row] - points.position.numpy()
                column = journeys.touch[touch] - shown_from[question]
                shown = column >= 0
                question, touch, column = question[shown], touch[shown], column[shown]
                touches = torch.zeros(len(row), batch.mask.size(1), dtype=torch.bool)
                touches[question, column] = True
                weight = weigh(Questions(batch, points, touches)).double().numpy()
                place = begin[asked[row]][question] + touch - some.first[question]
                found[place] = weight[question, column]
                advance(len(row))
        return found

    def _batches(
        self, events: EventArrays, customer: Ints, newest: Ints, time: Ints, tokens: int
    ) -> Iterator[tuple[JourneyBatch, Points, Ints]]:
        """Batches of similar length, and which questions are about each; windows are shared."""
        if not len(newest):
            return
        table = LabelTable(self.task, "binary", customer, newest, time, np.zeros_like(newest))
        batches = EvaluationSet(events, {self.task: table}, self.max_length, tokens)
        for i in range(len(batches)):
            batch = batches[i]
            target = batch.targets[self.task]
            yield batch.journeys, target.points, target.table_row.numpy()


def touched(journeys: Journeys) -> Ints:
    """Indices of the conversions whose paths have touches; the others are organic."""
    paths = journeys.converting
    return np.flatnonzero(paths.stop > paths.first)


def just_before(journeys: Journeys, asked: Ints) -> tuple[Ints, Ints, Ints]:
    """When some conversions are waited for: before what happened within the margin.

    Args:
        journeys: The journeys.
        asked: (Q,) index of conversions whose paths have touches.

    Returns:
        (Q,) customer, newest event that is before, and microseconds, as of when.
    """
    event, customer = journeys.conversion[asked], journeys.converts[asked]
    time = np.asarray(journeys.events.time[event])
    margin = journeys.settings.reach.margin
    if not margin:
        return customer, event - 1, time
    first = first_since(journeys.events.time, journeys.owner, customer, time - margin)
    return customer, np.minimum(first, event) - 1, time - margin


def _purchase_task(trained: TrainedModel, method: str) -> str:
    waiting = {
        name: task.rule.window
        for name, task in trained.tasks.items()
        if isinstance(task.rule, WindowRule)
        and task.rule.target == PURCHASES
        and task.rule.outcome == "happens"
    }
    if not waiting:
        raise SeqmarketError(
            f"{method} asks whether a purchase comes, and this run was not trained to say so",
            where=f"attribution={method}; tasks of the run: {', '.join(trained.tasks)}",
            fix="train with task=purchase or task=multitask",
        )
    return min(waiting, key=lambda name: waiting[name])
