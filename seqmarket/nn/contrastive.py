"""Which slices of journeys are of the same customer: a contrastive loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def contrastive_loss(vectors: Tensor, owner: Tensor, temperature: float) -> Tensor:
    """The mean, over all pairs of one owner, of how hard it is to pick one by the other.

    Each vector is compared by cosine with all others; the log softmax over these, divided by the
    temperature, is read off at every other vector of the same owner and averaged.

    Source: Khosla et al., "Supervised contrastive learning" (2020), equation 2, with customers as
    classes, on slices as in Babaev et al., "CoLES: Contrastive learning for event sequences with
    self-supervision" (2022), who use a margin and the hardest negatives instead.

    Args:
        vectors: (N, D), one per slice.
        owner: (N,) int64, whose slice it is.
        temperature: Above 0.

    Returns:
        () loss; 0 where no owner has two slices.
    """
    unit = normalize(vectors.float(), dim=1)  # (N, D)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    cosine = (unit @ unit.T / temperature).masked_fill(itself, -torch.inf)  # (N, N)
    log_share = cosine.log_softmax(dim=1).masked_fill(itself, 0.0)
    same = (owner.unsqueeze(0) == owner.unsqueeze(1)) & ~itself
    others = same.sum(dim=1)
    each = (log_share * same).sum(dim=1) / others.clamp(min=1)  # (N,)
    return -each.sum() / (others > 0).sum().clamp(min=1)
