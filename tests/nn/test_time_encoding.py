from __future__ import annotations

from datetime import UTC, datetime

import pytest
import torch
from torch import Tensor

from seqmarket.nn.time_encoding import (
    CALENDAR_WIDTH,
    SECOND,
    ElapsedEncoding,
    LogScaled,
    TimeEncoding,
    calendar,
    days_since_first,
)
from seqmarket.schema import SequenceSpec
from seqmarket.tensors import JourneyBatch


def day(year: int, month: int, of_month: int, hour: int = 0) -> Tensor:
    """float64 days since 1970-01-01 UTC."""
    moment = datetime(year, month, of_month, hour, tzinfo=UTC)
    return torch.tensor(moment.timestamp() / 86_400.0, dtype=torch.float64)


def check_tells_seconds(spec: SequenceSpec, batch: JourneyBatch, time: Tensor) -> None:
    """Gaps of 1 and of 3 seconds, more than fifty years after 1970, are different inputs."""
    quick, slow = time.clone(), time.clone()
    quick[:, 1] = quick[:, 0] + 1 * SECOND
    slow[:, 1] = slow[:, 0] + 3 * SECOND
    encoding = TimeEncoding(spec)
    one, three = (encoding(batch._replace(time=t.to(time.dtype)))[:, 1] for t in (quick, slow))
    assert ((one - three).abs().amax(dim=-1) > 1e-5).all()


def test_events_seconds_apart_differ(spec: SequenceSpec, batch: JourneyBatch) -> None:
    check_tells_seconds(spec, batch, batch.time)


def test_float32_days_would_not_tell_them_apart(spec: SequenceSpec, batch: JourneyBatch) -> None:
    with pytest.raises(AssertionError):
        check_tells_seconds(spec, batch, batch.time.float())


def test_gap_of_an_event_is_to_the_one_before(spec: SequenceSpec, batch: JourneyBatch) -> None:
    encoding = TimeEncoding(spec)
    gaps = encoding(batch)[..., : encoding.gap.width]
    expected = encoding.gap(torch.tensor([[0.0, 1.0, 0.5, 7.5], [0.0, 0.25, 29.75, 0.0]]))
    torch.testing.assert_close(gaps, expected)


def test_older_events_that_are_not_shown_count(spec: SequenceSpec, batch: JourneyBatch) -> None:
    encoding = TimeEncoding(spec)
    older = encoding(batch._replace(prior_days=batch.prior_days + 100.0))
    busier = encoding(batch._replace(prior_events=batch.prior_events + 5.0))
    for other in (older, busier):
        assert ((other - encoding(batch)).abs().amax(dim=-1) > 0.1).all()


def test_padding_is_not_read(spec: SequenceSpec, batch: JourneyBatch) -> None:
    garbage = batch.time.masked_fill(~batch.mask, float("nan"))
    encoding = TimeEncoding(spec)
    encoded = encoding(batch._replace(time=garbage))
    assert encoded.dtype == torch.float32
    assert encoded.shape == (2, 4, encoding.width)
    assert encoded.isfinite().all()
    assert torch.equal(encoded[batch.mask], encoding(batch)[batch.mask])


def test_days_since_first() -> None:
    time = torch.tensor([[20_000.0, 20_001.5, float("inf")]], dtype=torch.float64)
    mask = torch.tensor([[True, True, False]])
    assert days_since_first(time, mask).tolist() == [[0.0, 1.5, 0.0]]


def test_calendar_starts_on_monday_at_midnight() -> None:
    monday = calendar(day(2026, 11, 16))
    half = CALENDAR_WIDTH // 2
    torch.testing.assert_close(monday, torch.tensor([0.0] * half + [1.0] * half))


def test_calendar_repeats_weekly_and_tells_hours_and_days_apart() -> None:
    friday = calendar(day(2026, 11, 20, 18))
    torch.testing.assert_close(calendar(day(2026, 11, 27, 18)), friday)
    for other in (day(2026, 11, 21, 18), day(2026, 11, 20, 6), day(2026, 11, 20, 19)):
        assert (calendar(other) - friday).abs().max() > 0.2


def test_logarithms_are_at_their_scales() -> None:
    scaled = LogScaled([0.5, 7.0])(torch.tensor([0.0, 7.0]))
    assert scaled.shape == (2, LogScaled([0.5, 7.0]).width)
    torch.testing.assert_close(scaled[0, :2], torch.zeros(2))
    torch.testing.assert_close(scaled[1, :2], torch.tensor([15.0, 2.0]).log())


@pytest.mark.parametrize(("shorter", "longer"), [(0.0, SECOND), (0.04, 0.08), (7, 8), (300, 365)])
def test_elapsed_encoding_tells_silences_apart(
    spec: SequenceSpec, shorter: float, longer: float
) -> None:
    encoding = ElapsedEncoding(spec)
    time = day(2026, 11, 20).expand(2)
    encoded = encoding(torch.tensor([shorter, longer]), time)
    assert encoded.shape == (2, encoding.width)
    assert encoded.dtype == torch.float32
    assert (encoded[0] - encoded[1]).abs().max() > 1e-5


def test_elapsed_encoding_sees_the_calendar(spec: SequenceSpec) -> None:
    times = torch.stack([day(2026, 11, 20), day(2026, 11, 22)])
    friday, sunday = ElapsedEncoding(spec)(torch.ones(2), times)
    assert (friday - sunday).abs().max() > 0.5
