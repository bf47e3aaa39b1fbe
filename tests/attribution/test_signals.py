"""What the intent is inferred from, counted by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from seqmarket.attribution.journeys import Journeys
from seqmarket.attribution.signals import Blocks, gather_signals

Make = Callable[..., Journeys]


def test_what_customers_are_known_by_shows_no_rate(make: Make) -> None:
    """Of 60 customers each, the first event is a purchase, a touch or a visit."""
    rest = [(2.0, "mail"), (3.0, "app"), (4.0, "buy")]
    log = [[(1.0, name), *rest] for name in ("buy", "mail", "app") for _ in range(60)]
    journeys = make(log, touches={"event_type": ["touch"]})
    found = gather_signals(journeys, Blocks.of(journeys, timedelta(days=10)))
    assert found.counts.sum(axis=(1, 2)).tolist() == [180, 180, 180]
