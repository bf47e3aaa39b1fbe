"""The charts of the report as inline SVG: they follow the light or dark scheme, and print."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqmarket.page.markup import Markup, join, tag
from seqmarket.training.results import format_number

_WIDTH, _HEIGHT = 360.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 18.0, 10.0, 40.0
_MOST_POINTS = 160
_DASHES = ("", "6 3", "2 2", "8 3 2 3", "1 3", "10 4")
_COLOURS = 7


class Line(NamedTuple):
    """One line of a chart.

    Attributes:
        x: (N,) ascending.
        y: (N,).
        place: Of the contender: its colour and dashes, the same in every chart.
        dots: Whether its points are marked.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    place: int
    dots: bool = False


class Whisker(NamedTuple):
    """One row of a chart of differences.

    Attributes:
        text: What it is.
        estimate: The difference.
        low: Lower bound.
        high: Upper bound.
        place: Of the contender.
        solid: Whether the interval leaves out 0 after all corrections.
    """

    text: str
    estimate: float
    low: float
    high: float
    place: int
    solid: bool


def colour(place: int) -> str:
    """The class of a contender's colour."""
    return f"s{place % _COLOURS + 1}"


def legend(names: Sequence[str], drawn: Container[str]) -> Markup:
    """Which line is whose.

    Args:
        names: All contenders, whose place decides the colour.
        drawn: Those who have a line.
    """
    items = (
        tag(
            "li",
            tag(
                "svg",
                tag("path", d="M0 6H28", **_stroke(place)),
                viewBox="0 0 28 12",
                class_="key",
                aria_hidden="true",
            ),
            name,
        )
        for place, name in enumerate(names)
        if name in drawn
    )
    return tag("ul", *items, class_="legend")


def square(
    name: str, title: str, axes: tuple[str, str], lines: Sequence[Line], *, diagonal: bool
) -> Markup:
    """Lines in the unit square.

    Args:
        name: Of the chart, unique on the page.
        title: What it shows.
        axes: Names of the axes.
        lines: Drawn in this order.
        diagonal: Whether to draw what chance, or a perfect calibration, would be.
    """

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            _LEFT + x * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - y * (_HEIGHT - _TOP - _BOTTOM),
        )

    shapes = [_grid(at)]
    if diagonal:
        (x0, y0), (x1, y1) = at(0, 0), at(1, 1)
        shapes.append(tag("path", d=f"M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}", class_="chance"))
    for line in lines:
        points = [at(x, y) for x, y in zip(*_thinned(line), strict=True)]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        shapes.append(tag("path", d=path, **_stroke(line.place)))
        if line.dots:
            shapes += [
                tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="2.4", class_=colour(line.place))
                for x, y in points
            ]
    middle_x, middle_y = at(0.5, 0.5)
    shapes += [
        tag("text", axes[0], x=f"{middle_x:.1f}", y=f"{_HEIGHT - 6:.1f}", class_="mid"),
        tag(
            "text",
            axes[1],
            transform=f"translate(11 {middle_y:.1f}) rotate(-90)",
            class_="mid",
        ),
    ]
    drawing = _drawing(name, title, f"0 0 {_WIDTH:g} {_HEIGHT:g}", shapes)
    return tag("figure", tag("figcaption", title), drawing)


def whiskers(name: str, title: str, rows: Sequence[Whisker], *, left: str, right: str) -> Markup:
    """Differences with their intervals, around a line at 0.

    Args:
        name: Of the chart, unique on the page.
        title: What it shows.
        rows: From the top.
        left: What it means to lie to the left of 0.
        right: The same to the right.
    """
    width, step, label, value = 760.0, 26.0, 210.0, 230.0
    height = step * len(rows) + 34
    known = [number for row in rows for number in row[1:4] if np.isfinite(number)]
    reach = max((abs(number) for number in known), default=0.0) or 1.0

    def at(number: float) -> float:
        return label + (width - label - value) * (0.5 + 0.48 * number / reach)

    middle = at(0.0)
    shapes = [tag("path", d=f"M{middle:.1f} 2V{height - 26:.1f}", class_="zero")]
    for place, row in enumerate(rows):
        y = step * (place + 0.5) + 2
        shapes.append(tag("text", row.text, x="0", y=f"{y + 4:.1f}"))
        numbers = (format_number(n, 4, signed=True) for n in (row.estimate, row.low, row.high))
        estimate, low, high = numbers
        shapes.append(
            tag(
                "text",
                f"{estimate} [{low}, {high}]",
                x=f"{width:.1f}",
                y=f"{y + 4:.1f}",
                class_="end",
            )
        )
        if not all(np.isfinite(row[1:4])):
            continue
        shapes += [
            tag(
                "path",
                d=f"M{at(row.low):.1f} {y:.1f}H{at(row.high):.1f}",
                class_=f"whisker {colour(row.place)}",
            ),
            tag(
                "circle",
                cx=f"{at(row.estimate):.1f}",
                cy=f"{y:.1f}",
                r="4.5",
                class_=colour(row.place) if row.solid else f"hollow {colour(row.place)}",
            ),
        ]
    y = height - 8
    shapes += [
        tag("text", f"← {left}", x=f"{middle - 10:.1f}", y=f"{y:.1f}", class_="end"),
        tag("text", f"{right} →", x=f"{middle + 10:.1f}", y=f"{y:.1f}"),
    ]
    drawing = _drawing(name, title, f"0 0 {width:g} {height:g}", shapes, "chart wide")
    return tag("figure", tag("figcaption", title), tag("div", drawing, class_="scroll"))


def _grid(at: Callable[[float, float], tuple[float, float]]) -> Markup:
    shapes = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x0, y0 = at(tick, 0.0)
        x1, y1 = at(0.0, tick)
        right, top = at(1.0, 1.0)
        shapes += [
            tag("path", d=f"M{x0:.1f} {y0:.1f}V{top:.1f}", class_="grid"),
            tag("path", d=f"M{x1:.1f} {y1:.1f}H{right:.1f}", class_="grid"),
            tag("text", f"{tick:.0%}", x=f"{x0:.1f}", y=f"{y0 + 14:.1f}", class_="mid"),
            tag("text", f"{tick:.0%}", x=f"{x1 - 5:.1f}", y=f"{y1 + 4:.1f}", class_="end"),
        ]
    return join(shapes)


def _thinned(line: Line) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Few enough points for a page, the first and the last among them."""
    if len(line.x) <= _MOST_POINTS:
        return line.x, line.y
    kept = np.unique(np.linspace(0, len(line.x) - 1, _MOST_POINTS).round().astype(int))
    return line.x[kept], line.y[kept]


def _stroke(place: int) -> dict[str, str]:
    dashes = _DASHES[place % len(_DASHES)]
    found = {"class_": f"line {colour(place)}"}
    return {**found, "stroke_dasharray": dashes} if dashes else found


def _drawing(
    name: str, title: str, box: str, shapes: Sequence[Markup], kind: str = "chart"
) -> Markup:
    return tag(
        "svg",
        tag("title", title, id=f"{name}-title"),
        *shapes,
        viewBox=box,
        class_=kind,
        role="img",
        aria_labelledby=f"{name}-title",
    )
