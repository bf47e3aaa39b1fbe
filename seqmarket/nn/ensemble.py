"""Several models of one kind, trained from different seeds, that answer together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from seqmarket.nn.journey_model import JourneyModel, at_points
from seqmarket.nn.pooling import last_state
from seqmarket.schema import TaskKind
from seqmarket.tensors import Encoding, JourneyBatch, Points


class JourneyEnsemble(nn.Module):
    """The mean of the members' predictions; a state is the members' states side by side.

    Probabilities are averaged as such, and not their logits; so are amounts and quantiles.

    Source: Lakshminarayanan, Pritzel and Blundell, "Simple and scalable predictive uncertainty
    estimation using deep ensembles" (2017).
    """

    def __init__(self, members: Sequence[JourneyModel], kinds: Mapping[str, TaskKind]) -> None:
        """Joins them.

        Args:
            members: Models of the same tasks.
            kinds: The kind of each task.
        """
        super().__init__()
        self.members = nn.ModuleList(members)
        self.kinds = {task: str(kind) for task, kind in kinds.items()}

    def forward(self, batch: JourneyBatch, points: Points) -> dict[str, Tensor]:
        """Answers every task at the same points; see `JourneyModel.forward`."""
        states = self.encode(batch, need_attention=False).states
        state, elapsed = at_points(states, batch.time, points)
        return self.score(state, elapsed, points.time)

    @torch.jit.export
    def encode(self, batch: JourneyBatch, need_attention: bool = False) -> Encoding:
        """Encodes a batch; the attention is the members' mean, where they have any."""
        states: list[Tensor] = []
        attention: Tensor | None = None
        for member in self.members:
            encoding: Encoding = member.encode(batch, need_attention)  # type: ignore[operator]
            states.append(encoding.states)
            weights = encoding.attention
            if weights is not None:
                weights = weights / len(self.members)
                attention = weights if attention is None else attention + weights
        together = torch.cat(states, dim=-1)
        return Encoding(together, last_state(together, batch.mask), attention)

    @torch.jit.export
    def score(self, state: Tensor, elapsed: Tensor, time: Tensor) -> dict[str, Tensor]:
        """Answers every task from states; see `JourneyModel.score`."""
        answers: dict[str, list[Tensor]] = {}
        width = state.size(1) // len(self.members)
        for i, member in enumerate(self.members):
            own = state[:, i * width : (i + 1) * width]
            found: dict[str, Tensor] = member.score(own, elapsed, time)  # type: ignore[operator]
            for task, answer in found.items():
                if task not in answers:
                    answers[task] = []
                answers[task].append(answer)
        return {task: self._mean(torch.stack(each), task) for task, each in answers.items()}

    def answer(self, states: Tensor, time: Tensor, task: str, points: Points) -> Tensor:
        """Answers one task at its own points; see `JourneyModel.answer`."""
        parts = states.chunk(len(self.members), dim=-1)
        each = [
            member.answer(own, time, task, points)  # type: ignore[operator]
            for member, own in zip(self.members, parts, strict=True)
        ]
        return self._mean(torch.stack(each), task)

    def _mean(self, answers: Tensor, task: str) -> Tensor:
        """Of (members, N, ...) answers."""
        kind = self.kinds[task]
        if kind == "binary":
            yes, no = logsigmoid(answers), logsigmoid(-answers)
            return yes.logsumexp(dim=0) - no.logsumexp(dim=0)
        if kind == "categorical":
            return answers.log_softmax(dim=-1).logsumexp(dim=0)
        return answers.mean(dim=0)
