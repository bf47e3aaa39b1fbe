"""The charts of the page as inline SVG, stretched to the width there is.

A chart holds no text, which would be stretched with it: labels stand around it in HTML, and a
title and a description say what it shows. Colours are classes, so that they follow the scheme.
"""

from __future__ import annotations

from collections.abc import Sequence

from seqmarket.data.quality.profile import LogProfile
from seqmarket.page.markup import Markup, tag

_HEIGHT = 100
OTHERS = "s0"
"""The colour of what is not told apart."""


def colours(profile: LogProfile) -> list[str]:
    """The class of each name of the timeline."""
    told_apart = set(profile.channels)
    return [
        f"s{place}" if name in told_apart else OTHERS
        for place, name in enumerate(profile.timeline.names, start=1)
    ]


def stacked_bars(
    name: str, title: str, description: str, series: Sequence[tuple[str, Sequence[int]]]
) -> Markup:
    """Bars side by side, each divided by series.

    Args:
        name: Of the chart, unique on the page.
        title: What it shows.
        description: The same in a sentence or two, for those who cannot see it.
        series: Class of the colour, and a number per bar; from the bottom upwards.
    """
    n = len(series[0][1])
    most = max(sum(values) for values in zip(*(numbers for _, numbers in series), strict=True))
    below = [0] * n
    paths = []
    for colour, numbers in series:
        path = []
        for place, number in enumerate(numbers):
            if number:
                bottom = _HEIGHT * (1 - below[place] / most)
                path.append(
                    f"M{place} {bottom:.2f}v{-_HEIGHT * number / most:.2f}h.88V{bottom:.2f}z"
                )
                below[place] += number
        paths.append(tag("path", class_=colour, d="".join(path)))
    return _svg(name, title, description, f"0 0 {n} {_HEIGHT}", "bars", *paths)


def week(name: str, title: str, description: str, hours: Sequence[int]) -> Markup:
    """A field per hour of the week, the darker the more events.

    Args:
        name: Of the chart, unique on the page.
        title: What it shows.
        description: The same in a sentence or two.
        hours: (168,) from Monday on.
    """
    most = max(hours) or 1
    fields = [
        tag(
            "rect",
            x=str(hour % 24),
            y=str(hour // 24),
            width=".94",
            height=".9",
            fill_opacity=f"{0.06 + 0.94 * number / most:.2f}",
        )
        for hour, number in enumerate(hours)
    ]
    return _svg(name, title, description, "0 0 24 7", "week", *fields)


def spark(numbers: Sequence[int], colour: str = "s1") -> Markup:
    """Small bars for a cell of a table whose other cells say the same in numbers."""
    most = max(numbers, default=0)
    if not most:
        return Markup("")
    path = "".join(
        f"M{place} 10v{-10 * number / most:.2f}h.8V10z"
        for place, number in enumerate(numbers)
        if number
    )
    return tag(
        "svg",
        tag("path", class_=colour, d=path),
        viewBox=f"0 0 {len(numbers)} 10",
        preserveAspectRatio="none",
        class_="spark",
        aria_hidden="true",
    )


def _svg(name: str, title: str, description: str, box: str, kind: str, *shapes: Markup) -> Markup:
    return tag(
        "svg",
        tag("title", title, id=f"{name}-title"),
        tag("desc", description, id=f"{name}-desc"),
        *shapes,
        viewBox=box,
        preserveAspectRatio="none",
        class_=kind,
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
    )
