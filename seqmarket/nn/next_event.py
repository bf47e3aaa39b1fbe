"""Which channel comes next, and when: one likelihood."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own idiom

from seqmarket.nn.heads import PointReader, class_shares
from seqmarket.nn.time_encoding import SECOND
from seqmarket.schema import QUANTILES, SequenceSpec

_NARROWEST = -4.0
"""Logarithm of the least spread of a component, in units of the logarithm of time."""

_STEPS = 64
"""Of the grid on which the distribution of the time is inverted."""


class NextEventHead(nn.Module):
    """The class of the next event and the time until it, together.

    The time, given the class, is a mixture of log-normals whose places and spreads depend on the
    state, and whose shares on state and class; besides, an event may come at once, within a
    second. A point after which the training period ends says that nothing came until then.

    Source: Shchur, Bilos and Günnemann, "Intensity-free learning of temporal point processes"
    (2020), who take time and class as independent given the state; here they are not.
    """

    quantiles: Tensor

    def __init__(
        self,
        reader: PointReader,
        spec: SequenceSpec,
        n_classes: int,
        components: int,
        class_task: str,
        time_task: str,
        class_weight: float = 1.0,
        time_weight: float = 1.0,
        label_smoothing: float = 0.0,
    ) -> None:
        """Builds it.

        Args:
            reader: Of width ``parameters_of(n_classes, components)``.
            spec: For the pace of the log.
            n_classes: K, number of classes, 1 or more.
            components: M, log-normals in the mixture.
            class_task: The task about the class that it answers; empty: none.
            time_task: The task about the time.
            class_weight: Of the class in the loss.
            time_weight: Of the time, given the class.
            label_smoothing: Of the class; see `ClassHead`.
        """
        super().__init__()
        self.reader = reader
        self.n_classes = n_classes
        self.components = components
        self.n_steps = _STEPS  # global constants do not script
        self.narrowest = _NARROWEST
        self.time_task = time_task
        self.class_weight = class_weight
        self.time_weight = time_weight
        self.label_smoothing = label_smoothing
        self.tasks = [class_task, time_task] if class_task else [time_task]
        self.scale = max(spec.time_scale, SECOND)
        self.at_once_by_class = nn.Parameter(torch.zeros(n_classes))
        self.share_by_class = nn.Parameter(torch.zeros(n_classes, components))
        self.register_buffer("quantiles", torch.tensor(QUANTILES), persistent=False)

    @staticmethod
    def parameters_of(n_classes: int, components: int) -> int:
        """Width of the reader."""
        return n_classes + 1 + 3 * components

    def forward(self, state: Tensor, elapsed: Tensor, time: Tensor) -> Tensor:
        """(N, W) class logits, then those of the time; see `PointReader.forward`."""
        return self.reader(state, elapsed, time)  # type: ignore[no-any-return]

    def losses(self, raw: Tensor, label: Tensor, amount: Tensor) -> Tensor:
        """(N,) negative log likelihoods of a class after `amount` days; of none so far for -1.

        The likelihood is that of the class times that of the time, each to the power of its weight.
        """
        known = label >= 0
        of = label.clamp(min=0)
        log_classes = raw[:, : self.n_classes].log_softmax(dim=-1)
        y = self.logarithm(amount)
        place, log_spread = self.shape(raw)
        z = (y.unsqueeze(1) - place) * torch.exp(-log_spread)  # (N, M)
        density = -0.5 * z.square() - log_spread - 0.5 * math.log(2.0 * math.pi)
        shares = self.shares(raw, self.share_by_class[of])  # (N, M)
        later = torch.logsumexp(shares + density, dim=1)
        at_once = raw[:, self.n_classes] + self.at_once_by_class[of]
        soon = amount < SECOND
        log_time = torch.where(soon, F.logsigmoid(at_once), F.logsigmoid(-at_once) + later)
        log_class = log_classes.gather(1, of.unsqueeze(1)).squeeze(1)
        if self.training and self.label_smoothing > 0:
            log_class = torch.lerp(log_class, log_classes.mean(dim=1), self.label_smoothing)
        log_known = self.class_weight * log_class + self.time_weight * log_time
        if raw.is_cpu:  # few are silent; to count them, another device would have to be waited for
            nothing = torch.zeros_like(log_known)
            silent = (~known).nonzero().squeeze(1)
            nothing[silent] = self.log_survival(raw[silent], y[silent])
        else:
            nothing = self.log_survival(raw, y)
        return -torch.where(known, log_known, self.time_weight * nothing)

    def answer(self, raw: Tensor, task: str) -> Tensor:
        """The class logits, or quantiles of the days until the next event."""
        return self.days(raw) if task == self.time_task else raw[:, : self.n_classes]

    def shape(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Places and logarithms of the spreads of the components: (N, M) each."""
        start = self.n_classes + 1 + self.components
        place, log_spread = raw[:, start:].chunk(2, dim=1)
        return place, log_spread.clamp(self.narrowest, 4.0)

    def shares(self, raw: Tensor, by_class: Tensor) -> Tensor:
        """Logarithms of the components' shares, from (N, W) and (..., M)."""
        start = self.n_classes + 1
        return (raw[:, start : start + self.components] + by_class).log_softmax(dim=-1)

    def logarithm(self, days: Tensor) -> Tensor:
        """Of a time, in units of the log's median gap; one below a second counts as a second."""
        return torch.log(days.clamp(min=SECOND) / self.scale)

    def mixture(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Over all classes: probability of at once (N,), and of each component (N, M)."""
        of_class = raw[:, : self.n_classes].softmax(dim=-1)  # (N, K)
        at_once = torch.sigmoid(raw[:, self.n_classes : self.n_classes + 1] + self.at_once_by_class)
        start = self.n_classes + 1
        logits = raw[:, start : start + self.components].unsqueeze(1) + self.share_by_class
        later = (of_class * (1.0 - at_once)).unsqueeze(1)  # (N, 1, K)
        return (of_class * at_once).sum(dim=1), (later @ logits.softmax(dim=-1)).squeeze(1)

    def log_survival(self, raw: Tensor, y: Tensor) -> Tensor:
        """(N,) logarithm of the probability that nothing comes until the logarithm of a time."""
        _, share = self.mixture(raw)
        place, log_spread = self.shape(raw)
        z = (y.unsqueeze(1) - place) * torch.exp(-log_spread)
        return (share * 0.5 * torch.erfc(z * math.sqrt(0.5))).sum(dim=1).clamp(min=1e-9).log()

    def days(self, raw: Tensor) -> Tensor:
        """(N, len(QUANTILES)) days, by interpolation on a grid of the logarithm of time."""
        at_once, share = self.mixture(raw)
        place, log_spread = self.shape(raw)
        spread = torch.exp(log_spread)
        low = (place - 4.0 * spread).amin(dim=1, keepdim=True)
        high = (place + 4.0 * spread).amax(dim=1, keepdim=True)
        steps = torch.linspace(0.0, 1.0, self.n_steps, device=raw.device)
        y = low + (high - low) * steps  # (N, S)
        z = (y.unsqueeze(2) - place.unsqueeze(1)) / spread.unsqueeze(1)  # (N, S, M)
        below = (share.unsqueeze(1) * torch.erfc(z * -math.sqrt(0.5))).sum(dim=2) * 0.5
        reached = (at_once.unsqueeze(1) + below).contiguous()
        wanted = self.quantiles.expand(len(raw), -1).contiguous()
        after = torch.searchsorted(reached, wanted).clamp(1, self.n_steps - 1)  # (N, Q)
        from_share, to_share = reached.gather(1, after - 1), reached.gather(1, after)
        part = ((wanted - from_share) / (to_share - from_share).clamp(min=1e-9)).clamp(0.0, 1.0)
        y_wanted = torch.lerp(y.gather(1, after - 1), y.gather(1, after), part)
        days = torch.exp(y_wanted) * self.scale
        return torch.where(at_once.unsqueeze(1) >= self.quantiles, torch.zeros_like(days), days)

    def start_from(self, label: Tensor, amount: Tensor, weight: Tensor) -> None:
        """Makes the shares of the classes, and the spread of the times, the first prediction."""
        known = label >= 0
        if not bool(known.any()):
            return
        days = amount[known]
        y = (
            self.logarithm(days[days >= SECOND])
            if bool((days >= SECOND).any())
            else days.new_zeros(1)
        )
        soon = float((days < SECOND).float().mean().clamp(1e-4, 1 - 1e-4).logit())
        middle = (torch.arange(self.components, dtype=y.dtype) + 0.5) / self.components
        place = y.sort().values[(middle * len(y)).long().clamp(max=len(y) - 1)]
        spread = (y.std(correction=0) / self.components).clamp(min=0.1).log()
        with torch.no_grad():
            bias = self.reader.out.bias
            start = self.n_classes + 1 + self.components
            bias.zero_()
            bias[: self.n_classes] = class_shares(label, weight, self.n_classes)
            bias[self.n_classes] = soon
            bias[start : start + self.components] = place
            bias[start + self.components :] = spread
