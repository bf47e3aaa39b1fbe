"""Attention: which touches the run's model looks at when it expects a purchase."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from seqmarket.attribution.asking import PurchaseModel, Questions
from seqmarket.attribution.attributor import Attribution, Evidence
from seqmarket.attribution.sharing import divided
from seqmarket.data.settings import Settings
from seqmarket.errors import SeqmarketError
from seqmarket.nn.journey_model import JourneyModel
from seqmarket.nn.pooling import TouchPooling


class Attention(Settings):
    """The weights by which the head that answers the purchase looks back at each event.

    They sum to 1 over the events before a conversion. What touches of its path have is their
    credit, the rest is called organic. That describes where the model looks, and no more: a weight
    is not an effect (Jain and Wallace, "Attention is not explanation", 2019), and the head also
    reads the state after the newest event, which knows of all events by itself. Of an ensemble, the
    mean of its members.
    """

    signed: ClassVar[bool] = False
    asks_model: ClassVar[bool] = True

    def attribute(self, evidence: Evidence) -> Attribution:
        """See `Attributor`."""
        model = PurchaseModel.of(evidence, "attention")
        for member in model.members:
            pooling_of(member, model.method)

        @torch.no_grad()
        def weigh(asked: Questions) -> Tensor:
            each = []
            for member in model.members:
                weights = member.touch_weights(asked.journeys)[:, head_of(member, model.task)]
                each.append(weights[asked.points.row, asked.points.position])
            return torch.stack(each).mean(dim=0)  # (N, T)

        part = model.of_touches(evidence.journeys, weigh)
        return divided("attention", "elsewhere", evidence.journeys, part)


def head_of(member: JourneyModel, task: str) -> int:
    """Which of the heads answers a task."""
    return list(member.heads).index(member.head_of[task])


def pooling_of(member: JourneyModel, method: str) -> TouchPooling:
    """What lets a model's heads look back.

    Raises:
        SeqmarketError: They do not.
    """
    if member.pooling is None:
        raise SeqmarketError(
            f"{method} reads how a head looks back at the touches, and this run's heads do not",
            where=f"attribution={method}; training.pooling=last",
            fix="train with training.pooling=attention, or take attribution=removal",
        )
    return member.pooling
