"""Continuous time as network inputs: gaps, clock, weekday, age and count.

Times arrive as float64 days since 1970-01-01 UTC. Around the year 2026 that is 20,000 days, where
float32 is off by minutes: differences and phases are taken in float64, and only those, which are
small numbers, become float32.

The logarithms and the learned sine waves of a gap follow Kazemi et al., "Time2Vec" (2019).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seqmarket.schema import SequenceSpec
from seqmarket.tensors import JourneyBatch

SECOND = 1.0 / 86_400.0
HOUR = 1.0 / 24.0

CALENDAR_WIDTH = 10
"""Number of inputs that `calendar` makes."""

WAVES = 4
"""Number of learned frequencies per kind of duration."""


def days_since_first(time: Tensor, mask: Tensor) -> Tensor:
    """Days since the first event shown, with 0 wherever padded, whatever stands there.

    Args:
        time: (B, T) float64 days since 1970-01-01 UTC.
        mask: (B, T) bool, True at real events.

    Returns:
        (B, T) float64.
    """
    return (time - time[:, :1]).masked_fill(~mask, 0.0)


def days_since_previous(days: Tensor) -> Tensor:
    """(B, T) float32 days from each event's predecessor, 0 at the first and wherever padded.

    Args:
        days: (B, T) float64 of `days_since_first`.
    """
    # The step from the last event to the padding runs backwards, hence the clamp.
    return torch.diff(days, dim=1, prepend=days[:, :1]).clamp(min=0.0).to(torch.float32)


def calendar(time: Tensor) -> Tensor:
    """Clock and weekday: sines and cosines of two harmonics of the day and three of the week.

    One harmonic cannot tell a weekend from its neighbours; three can.

    Args:
        time: (...) float64 days since 1970-01-01 UTC.

    Returns:
        (..., CALENDAR_WIDTH) float32; the same for any two times a whole number of weeks apart.
    """
    day = torch.remainder(time, 1.0).to(torch.float32) * (2.0 * math.pi)
    # 1970-01-01 was a Thursday: three days after a Monday.
    week = torch.remainder(time + 3.0, 7.0).to(torch.float32) * (2.0 * math.pi / 7.0)
    phases = torch.stack([day, 2.0 * day, week, 2.0 * week, 3.0 * week], dim=-1)
    return torch.cat([phases.sin(), phases.cos()], dim=-1)


class LogScaled(nn.Module):
    """``log(1 + days / scale)`` at several scales, and learned sine waves of it.

    A small scale tells seconds from minutes, a large one weeks from months. The waves read the
    logarithm at the first scale, so that they can single out any span of durations.

    Attributes:
        width: Number of inputs made per duration.
    """

    scales: Tensor

    def __init__(self, scales: Sequence[float]) -> None:
        """Builds it for scales in days, each above 0."""
        super().__init__()
        self.width = len(scales) + 2 * WAVES
        self.register_buffer("scales", torch.tensor(scales, dtype=torch.float32), persistent=False)
        self.frequency = nn.Parameter(torch.linspace(0.5, 2.0, WAVES))

    def forward(self, days: Tensor) -> Tensor:
        """Encodes durations of (...) float32 days, 0 or more, as (..., width) float32."""
        logs = torch.log1p(days.unsqueeze(-1) / self.scales)
        angles = logs[..., :1] * self.frequency
        return torch.cat([logs, angles.sin(), angles.cos()], dim=-1)


def gap_scales(spec: SequenceSpec) -> list[float]:
    """The scales of a duration between events: around the log's own pace, then absolute."""
    pace = max(spec.time_scale, SECOND)
    return [0.1 * pace, pace, 10.0 * pace, HOUR, 1.0, 7.0, 28.0]


class TimeEncoding(nn.Module):
    """Everything that is known about the moment of an event.

    The gap to the event before (with a flag where there is none in view), the calendar, the
    customer's age, and the number of events before this one.

    Attributes:
        width: Number of inputs made per event.
    """

    def __init__(self, spec: SequenceSpec) -> None:
        """Builds it for the pace of the log that `spec` describes."""
        super().__init__()
        self.gap = LogScaled(gap_scales(spec))
        self.age = LogScaled([7.0, 56.0, 365.0])
        self.width = self.gap.width + self.age.width + CALENDAR_WIDTH + 2

    def forward(self, batch: JourneyBatch) -> Tensor:
        """Encodes the times of a batch as (B, T, width) float32, finite wherever padded."""
        days = days_since_first(batch.time, batch.mask)  # (B, T)
        gap = days_since_previous(days)
        age = days.to(torch.float32) + batch.prior_days.unsqueeze(1)
        index = torch.arange(days.size(1), device=days.device, dtype=torch.float32)
        count = torch.log1p(index + batch.prior_events.unsqueeze(1))  # (B, T)
        first = (index == 0).to(torch.float32).expand_as(count)
        clock = calendar(batch.time.masked_fill(~batch.mask, 0.0))
        flags = torch.stack([first, count], dim=-1)  # (B, T, 2)
        return torch.cat([self.gap(gap), self.age(age), clock, flags], dim=-1)


class ElapsedEncoding(nn.Module):
    """The moment of a prediction: the silence since the newest event, and the calendar.

    Attributes:
        width: Number of inputs made per prediction.
    """

    def __init__(self, spec: SequenceSpec) -> None:
        """Builds it for the pace of the log that `spec` describes."""
        super().__init__()
        self.elapsed = LogScaled(gap_scales(spec))
        self.width = self.elapsed.width + CALENDAR_WIDTH

    def forward(self, elapsed: Tensor, time: Tensor) -> Tensor:
        """Encodes prediction points.

        Args:
            elapsed: (N,) float32 days since the newest event, 0 or more.
            time: (N,) float64 prediction time, days since 1970-01-01 UTC.

        Returns:
            (N, width) float32.
        """
        return torch.cat([self.elapsed(elapsed), calendar(time)], dim=-1)
