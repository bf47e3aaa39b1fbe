"""How often, lately: counts of what happened, fading with time.

A softmax attends in shares, and a share cannot say how many. Here every event adds to several
counters, which fade exponentially between events, as the intensity of a Hawkes process does
(Hawkes, "Spectra of some self-exciting and mutually exciting point processes", 1971); at each event
the network reads their logarithms. They are a marketer's recency and frequency windows, learned.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from seqmarket.nn.explicit_fading import explicit_fading, step_by_step_pays
from seqmarket.nn.recurrence import linear_scan
from seqmarket.nn.time_encoding import SECOND, days_since_first, days_since_previous
from seqmarket.schema import SequenceSpec
from seqmarket.tensors import JourneyBatch

MEMORIES = (7.0, 28.0, 112.0)
"""Days after which a count has faded to 1 / e; ten times the log's median gap joins them."""


class FadingCounts(nn.Module):
    """Fading counts of learned kinds of events.

    Attributes:
        width: Number of values per event.
    """

    memories: Tensor

    def __init__(self, spec: SequenceSpec, d_model: int, n_kinds: int) -> None:
        """Builds it.

        Args:
            spec: For the pace of the log.
            d_model: D, width of the event embeddings that decide what an event counts as.
            n_kinds: Number of kinds; each has a counter per memory.
        """
        super().__init__()
        memories = sorted({max(10.0 * spec.time_scale, SECOND), *MEMORIES})
        self.register_buffer(
            "memories", torch.tensor(memories, dtype=torch.float32), persistent=False
        )
        self.kinds = nn.Linear(d_model, n_kinds)
        self.width = len(memories) * n_kinds

    def forward(self, x: Tensor, batch: JourneyBatch) -> Tensor:
        """Counts, at each event, it and the events before it.

        Args:
            x: (B, T, D) event embeddings.
            batch: The batch they are of.

        Returns:
            (B, T, width) float32, logarithms of one plus the counts.
        """
        weight = softplus(self.kinds(x).to(torch.float32)) * batch.mask.unsqueeze(-1)
        gap = days_since_previous(days_since_first(batch.time, batch.mask))  # (B, T)
        fade = torch.exp(gap.unsqueeze(-1) / -self.memories)  # (B, T, memories)
        scripting = torch.jit.is_scripting()  # type: ignore[attr-defined]
        if not scripting and step_by_step_pays(fade, weight):
            return torch.log1p(explicit_fading(fade, weight))
        return torch.log1p(fading_by_chunks(fade, weight))


def fading_by_chunks(fade: Tensor, weight: Tensor) -> Tensor:
    """What `explicit_fading` computes, in fewer and larger steps."""
    b, t, kinds = weight.shape
    each = [b, t, fade.size(2), kinds]
    return linear_scan(
        fade.unsqueeze(3).expand(each).flatten(2), weight.unsqueeze(2).expand(each).flatten(2)
    )
