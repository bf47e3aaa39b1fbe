"""Colours of signed numbers: warm below 0, blue above, white at 0; safe for the colour-blind."""

from __future__ import annotations

from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm

from seqmarket.training.plots.style import INK, STRONG, WARM

DIVERGING = LinearSegmentedColormap.from_list(
    "signed", ["#8A3300", WARM, "#F6D5BF", "#FFFFFF", "#BBD6EE", STRONG, "#00264D"]
)


def around_zero(largest: float) -> TwoSlopeNorm:
    """The same distance from 0 has the same strength on both sides."""
    limit = largest if largest > 0 else 1.0
    return TwoSlopeNorm(0.0, -limit, limit)


def ink_on(strength: float) -> str:
    """Readable on a cell whose value is this part of the largest."""
    return "white" if abs(strength) > 0.55 else INK
