"""Attention rollout: how much of each event reaches the answer through all layers of attention.

Source: Abnar and Zuidema, "Quantifying attention flow in transformers" (2020).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from seqmarket.attribution.asking import PurchaseModel, Questions
from seqmarket.attribution.attention import head_of
from seqmarket.attribution.attributor import Attribution, Evidence
from seqmarket.attribution.sharing import divided
from seqmarket.data.settings import Settings
from seqmarket.errors import SeqmarketError
from seqmarket.nn.journey_model import JourneyModel
from seqmarket.tensors import JourneyBatch, LayeredAttention


class AttentionRollout(Settings):
    """Weights of all layers multiplied, where each layer also hands on what it was given.

    As half of a layer is its residual, a layer counts as the mean of its attention (itself the mean
    of its heads) and the identity. The head that answers the purchase is one more layer, where it
    looks back at the touches. The weights sum to 1 over the events before a conversion. What
    touches of its path have is their credit, the rest is called organic. As with all attention,
    that describes and claims no effect. Of an ensemble, the mean of its members.
    """

    signed: ClassVar[bool] = False
    asks_model: ClassVar[bool] = True

    def attribute(self, evidence: Evidence) -> Attribution:
        """See `Attributor`.

        Raises:
            SeqmarketError: The model's encoder has no layers of attention.
        """
        model = PurchaseModel.of(evidence, "rollout")
        for member in model.members:
            _layered(member)

        @torch.no_grad()
        def weigh(asked: Questions) -> Tensor:
            each = [
                rolled_out(_layers(member, asked.journeys, model.task), asked)
                for member in model.members
            ]
            return torch.stack(each).mean(dim=0)

        part = model.of_touches(evidence.journeys, weigh)
        return divided("rollout", "elsewhere", evidence.journeys, part)


def rolled_out(layers: list[Tensor], asked: Questions) -> Tensor:
    """(N, T) weight of each event in what is read at each point.

    Args:
        layers: (B, T, T) weights of each, the first one first; rows sum to 1.
        asked: Where it is read.
    """
    row, position, _ = asked.points
    t = layers[0].size(-1)
    reached = torch.eye(t, dtype=layers[0].dtype).expand_as(layers[0])
    for weights in reversed(layers):
        reached = (reached + reached @ weights) / 2  # (B, T, T)
    return reached[row, position]


def _layers(member: JourneyModel, batch: JourneyBatch, task: str) -> list[Tensor]:
    layers = _layered(member).attention_by_layer(batch)
    if member.pooling is not None:
        layers.append(member.touch_weights(batch)[:, head_of(member, task)])
    return layers


def _layered(member: JourneyModel) -> LayeredAttention:
    if not isinstance(member.encoder, LayeredAttention):
        raise SeqmarketError(
            "attention is rolled out through layers, and this run's encoder has none",
            where=f"attribution=rollout; {type(member.encoder).__name__}",
            fix="name a run of model=transformer, or take attribution=attention",
        )
    return member.encoder
