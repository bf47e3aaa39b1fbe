"""Linear recurrence with a decay that depends on the event and on the days before it.

Each channel of the state fades and is added to: ``h[t] = a[t] * h[t - 1] + x[t]``. As ``a`` and
``x`` do not depend on ``h``, no event has to wait for the one before it. A diagonal recurrence
after Orvieto et al., "Resurrecting Recurrent Neural Networks for Long Sequences" (2023), but real,
and with a decay chosen by the input: Gu & Dao, "Mamba" (2023), and De et al., "Griffin" (2024).

Shape legend: B journeys, T events of the longest, D width of a state.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from seqmarket.nn.dropout import ChannelDropout
from seqmarket.nn.time_encoding import SECOND
from seqmarket.schema import SequenceSpec

LONGEST_MEMORY = 365.0
"""Days after which, to begin with, the channel that fades most slowly has faded to 1 / e."""

GOLDEN = 0.5 * (math.sqrt(5.0) - 1.0)
"""Its multiples modulo 1 are spread evenly, and in an order of their own."""


def linear_scan(decay: Tensor, x: Tensor, chunk: int = 16) -> Tensor:
    """All states of ``h[t] = decay[t] * h[t - 1] + x[t]``, from ``h[-1] = 0``.

    Chunks of a journey are scanned side by side, then each gets what the ones before it hand on:
    ``chunk + T / chunk`` steps in place of T. Only products of decays occur, no quotients, so that
    nothing overflows. Doubling (Hillis & Steele, 1986) needs log2(T) steps, each over the whole
    journey, which on a CPU takes four times as long; a cumulative sum of exponentials eight times.

    Args:
        decay: (B, T, D), between 0 and 1.
        x: (B, T, D).
        chunk: Events per chunk.

    Returns:
        (B, T, D).
    """
    b, t, d = x.shape
    chunk = min(chunk, t)
    n = (t + chunk - 1) // chunk
    if n * chunk > t:
        decay = pad(decay, [0, 0, 0, n * chunk - t])
        x = pad(x, [0, 0, 0, n * chunk - t])
    decays = decay.reshape(b, n, chunk, d).unbind(2)
    xs = x.reshape(b, n, chunk, d).unbind(2)
    states = [torch.addcmul(xs[0], decays[0], torch.zeros_like(xs[0]))]  # (B, n, D)
    for i in range(1, chunk):
        states.append(torch.addcmul(xs[i], decays[i], states[-1]))
    h = torch.stack(states, dim=2)  # (B, n, chunk, D)
    if n > 1:
        since_start = [decays[0]]  # (B, n, D)
        for i in range(1, chunk):
            since_start.append(decays[i] * since_start[-1])
        added, kept = states[-1].unbind(1), since_start[-1].unbind(1)
        carry = [torch.zeros_like(added[0])]  # (B, D)
        for i in range(n - 1):
            carry.append(torch.addcmul(added[i], kept[i], carry[-1]))
        before = torch.stack(carry, dim=1).unsqueeze(2)  # (B, n, 1, D)
        h = torch.addcmul(h, torch.stack(since_start, dim=2), before)
    return h.reshape(b, n * chunk, d)[:, :t]


class GatedRecurrence(nn.Module):
    """A state that each event overwrites in part, and that fades between events.

    With forget gate ``f`` in (0, 1), chosen by the event for every channel, and learned rate ``r``
    of a channel, ``h[t] = f * exp(-r * days) * h[t - 1] + (1 - f) * value``: a running mean of the
    values, never larger than the largest, that fades to zero in silence. Two gaps fade it as much
    as one gap of both their days does. The decay by time is that of Che et al., "Recurrent Neural
    Networks for Multivariate Time Series with Missing Values" (2018).
    """

    def __init__(self, spec: SequenceSpec, d_model: int) -> None:
        """Builds it.

        Args:
            spec: For the longest journey and the pace of the log, which the channels' memories
                start out from.
            d_model: D, width of input, state and output.
        """
        super().__init__()
        # Apart, as slices of one product would be copied by all that reads them.
        self.forget = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)
        self.gate = nn.Linear(d_model, d_model)
        self.out = nn.Linear(d_model, d_model)
        self.log_rate = nn.Parameter(torch.empty(d_model))
        self.reset_parameters(spec)

    def reset_parameters(self, spec: SequenceSpec) -> None:
        """Spreads the memories geometrically over events and, independently, over days."""
        count = self.log_rate.numel()
        by_event = (torch.arange(count) + 0.5) / count
        by_day = torch.remainder(torch.arange(count) * GOLDEN, 1.0)
        events = 2.0 * max(spec.max_length / 2.0, 1.0) ** by_event
        shortest = max(spec.time_scale, SECOND)
        days = shortest * max(LONGEST_MEMORY / shortest, 1.0) ** by_day
        with torch.no_grad():
            self.forget.bias.copy_(torch.log(events - 1.0))  # f = 1 - 1 / events
            self.log_rate.copy_(-torch.log(days))

    def forward(self, x: Tensor, days: Tensor) -> Tensor:
        """Runs over (B, T, D), with (B, T) float32 days since the event before each."""
        # In bfloat16, a forget gate near 1 would be 1, and its memory endless.
        f = self.forget(x).to(torch.float32).sigmoid()  # (B, T, D)
        value = self.value(x)
        decay = f * torch.exp(days.unsqueeze(-1) * -self.log_rate.exp())
        h = linear_scan(decay, value - f * value)
        return self.out(h * gelu(self.gate(x)))  # type: ignore[no-any-return]


class RecurrenceBlock(nn.Module):
    """A gated recurrence on normed input, added to the states.

    No perceptron follows, as in Mamba: the gate is what is not linear.
    """

    def __init__(self, spec: SequenceSpec, d_model: int, dropout: float) -> None:
        """Builds it.

        Args:
            spec: See `GatedRecurrence`.
            d_model: D, width of the states.
            dropout: Probability that a channel of the output is dropped in training.
        """
        super().__init__()
        self.norm = nn.LayerNorm(d_model, bias=False)
        self.recurrence = GatedRecurrence(spec, d_model)
        self.dropout = ChannelDropout(dropout)

    def forward(self, x: Tensor, days: Tensor) -> Tensor:
        """Same arguments and returns as `GatedRecurrence.forward`."""
        return x + self.dropout(self.recurrence(self.norm(x), days))  # type: ignore[no-any-return]
