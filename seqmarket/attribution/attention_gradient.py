"""Attention times gradient: what the touches that the run's model looks at do to its answer."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from seqmarket.attribution.asking import PurchaseModel, Questions
from seqmarket.attribution.attention import head_of, pooling_of
from seqmarket.attribution.attributor import Attribution, Evidence
from seqmarket.attribution.sharing import divided, scaled_to
from seqmarket.attribution.without_touches import not_organic
from seqmarket.data.settings import Settings


class AttentionGradient(Settings):
    """Weights of the head that answers the purchase, times the gradient of the answer by them.

    Of the weights by which a head looks back at the touches, and not of an encoder's own attention:
    every encoder has the former. A weight says where the model looks, its gradient whether what it
    finds there makes a purchase likelier, so that credit is signed. It is of the first order, and
    sees nothing of what the state after the newest event knows by itself.

    The part of a conversion that is not organic is that of `CounterfactualRemoval`; it is divided
    by these products, scaled to it with their signs (`scaled_to`). Source: gradients of attention
    as in Serrano and Smith, "Is attention interpretable?" (2019), who find them the better ranking.
    """

    signed: ClassVar[bool] = True
    asks_model: ClassVar[bool] = True

    def attribute(self, evidence: Evidence) -> Attribution:
        """See `Attributor`."""
        journeys = evidence.journeys
        model = PurchaseModel.of(evidence, "attention_gradient")
        poolings = [pooling_of(member, model.method) for member in model.members]

        def weigh(asked: Questions) -> Tensor:
            batch, (row, position, _) = asked.journeys, asked.points
            wide, weights = [], []
            for member, pooling in zip(model.members, poolings, strict=True):
                with torch.no_grad():
                    states = member.encoder(batch).states  # (B, T, D)
                    weight = pooling.weights(states, batch)  # (B, H, T, T)
                weights.append(weight.requires_grad_())
                wide.append(pooling.with_weights(states, batch, weight))
            expected = model.expected(torch.cat(wide, dim=-1), batch.time, asked.points)
            # Divided here, so that products of all conversions are shares of what is expected.
            gradients = torch.autograd.grad(expected.log().sum(), weights)
            products = [
                (weight * gradient)[row, head_of(member, model.task), position].detach()
                for member, weight, gradient in zip(model.members, weights, gradients, strict=True)
            ]
            return torch.stack(products).sum(dim=0)  # (N, T)

        path, _ = journeys.converting.rows()
        product = model.of_touches(journeys, weigh)
        part = scaled_to(not_organic(model, journeys), product, path)
        return divided("attention_gradient", "anyway", journeys, part)
