"""Integrated gradients: what the contents of each touch add to what the run's model expects.

Source: Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks" (2017), as captum
computes them, by Gauss-Legendre quadrature.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from seqmarket.attribution.asking import PurchaseModel, Questions
from seqmarket.attribution.attributor import Attribution, Evidence
from seqmarket.attribution.sharing import divided
from seqmarket.attribution.without_touches import unknown_numbers
from seqmarket.data.settings import Settings
from seqmarket.errors import SeqmarketError
from seqmarket.nn.embedding import EventEmbedding
from seqmarket.nn.journey_model import JourneyModel
from seqmarket.schema import UNK, SequenceSpec
from seqmarket.tensors import JourneyBatch, Points

log = logging.getLogger(__name__)


class IntegratedGradients(Settings):
    """Gradients along the straight way from journeys whose touches say nothing to those there are.

    At its beginning, the touches of a conversion's path are events of an unknown channel, without
    known numbers; they stay where they are in time, and in the count of events, and they keep their
    type: one of no known type would pass for half a purchase, where types tell the two apart. (In a
    simulated world, F was then off by .51 of a conversion from what it is without the touches, and
    by .14 with their type.) The way
    leads through the embedded contents of the events (`EventEmbedding.contents`), before anything
    is counted along the journey, so that only touches of the path change on it, and all that
    changes is theirs. Their credits sum to ``1 - F(neutral) / F(all)`` of a conversion, up to the
    error of the integral, which is reported and left to what is organic. That a touch was there
    at all, whatever its channel, is not in its credit; removal sees that.

    Attributes:
        steps: Points at which the gradient is taken.
        tolerance: Mean error of the integral per conversion above which a warning is given.
    """

    steps: int = Field(8, ge=2, le=1_000)
    tolerance: float = Field(0.01, gt=0)

    signed: ClassVar[bool] = True
    asks_model: ClassVar[bool] = True

    def attribute(self, evidence: Evidence) -> Attribution:
        """See `Attributor`.

        Raises:
            SeqmarketError: Captum is not installed, or the encoder embeds events by itself.
        """
        try:
            from captum.attr import IntegratedGradients as Captum
        except ImportError as error:
            raise SeqmarketError(
                "integrated gradients need captum, which is not installed",
                where="attribution=integrated_gradients",
                fix="pip install 'seqmarket[attribution]'",
            ) from error
        model = PurchaseModel.of(evidence, "integrated_gradients")
        embeddings = [_embedding_of(member) for member in model.members]
        answer = partial(_answer, model, embeddings)
        missed: list[Tensor] = []

        def weigh(asked: Questions) -> Tensor:
            # A row for each question, as each has touches of its own.
            journeys = JourneyBatch(*(column[asked.points.row] for column in asked.journeys))
            neutral = without_contents(journeys, asked.touches, evidence.journeys.spec)
            with torch.no_grad():
                there = tuple(embedding.contents(journeys) for embedding in embeddings)
                start = tuple(embedding.contents(neutral) for embedding in embeddings)
                expected = answer(*there, asked.points.position, asked.points.time, *journeys)
            found, error = Captum(answer).attribute(
                there,
                start,
                additional_forward_args=(asked.points.position, asked.points.time, *journeys),
                n_steps=self.steps,
                return_convergence_delta=True,
            )
            missed.append((error / expected).abs())
            effect = torch.stack([each.sum(dim=-1) for each in found]).sum(dim=0)  # (N, T)
            return effect / expected.unsqueeze(1)

        part = model.of_touches(evidence.journeys, weigh, copies=self.steps)
        self._report(torch.cat(missed).numpy() if missed else np.zeros(1))
        return divided("integrated_gradients", "anyway", evidence.journeys, part)

    def _report(self, missed: Any) -> None:
        said = "integrated gradients miss %.2g of a conversion in the mean, %.2g at most"
        log.info(said, missed.mean(), missed.max())
        if missed.mean() > self.tolerance:
            log.warning(
                "that is above the tolerance of %g; more steps than %d are needed "
                "(attribution.integrated_gradients.steps)",
                self.tolerance,
                self.steps,
            )


def without_contents(batch: JourneyBatch, which: Tensor, spec: SequenceSpec) -> JourneyBatch:
    """A batch in which of some events, (B, T) bool, nothing is known but their time and type."""
    each = which.unsqueeze(-1)
    unknown = torch.from_numpy(unknown_numbers(spec))
    return batch._replace(
        channel=batch.channel.masked_fill(which, UNK),
        categorical=batch.categorical.masked_fill(each, UNK),
        value=batch.value.masked_fill(which, 0.0),
        features=torch.where(each, unknown, batch.features),
    )


def _answer(model: PurchaseModel, embeddings: list[EventEmbedding], *given: Tensor) -> Tensor:
    """(N,) F, of contents for each member, positions, times, and the columns of N journeys."""
    contents, (position, time, *columns) = given[: len(embeddings)], given[len(embeddings) :]
    batch = JourneyBatch(*columns)
    points = Points(torch.arange(len(time)), position, time)
    with ExitStack() as hooks:
        for embedding, x in zip(embeddings, contents, strict=True):
            hook = embedding.register_forward_hook(partial(_embed_instead, x))
            hooks.callback(hook.remove)
        states = model.model.encode(batch).states
    return model.expected(states, batch.time, points)


def _embed_instead(
    x: Tensor, embedding: nn.Module, given: tuple[JourneyBatch], _: Tensor
) -> Tensor:
    return embedding.complete(x, given[0])  # type: ignore[no-any-return, operator]


def _embedding_of(member: JourneyModel) -> EventEmbedding:
    found = [module for module in member.encoder.modules() if isinstance(module, EventEmbedding)]
    if len(found) != 1:
        raise SeqmarketError(
            "integrated gradients start from the embedded events, and this encoder embeds them "
            "by itself",
            where=f"attribution=integrated_gradients; {type(member.encoder).__name__}",
            fix="let it use one seqmarket.nn.embedding.EventEmbedding, or take attribution=removal",
        )
    return found[0]
