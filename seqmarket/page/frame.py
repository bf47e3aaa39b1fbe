"""The frame of a page: its look on a screen, light or dark, and on paper."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from string import Template
from typing import NamedTuple

from seqmarket.page.markup import Markup, join, tag


class Section(NamedTuple):
    """A part of a page.

    Attributes:
        key: What it is linked by.
        head: Its heading.
        content: What it holds.
    """

    key: str
    head: str
    content: Markup


def render(title: str, heading: str, summary: str, sections: Sequence[Section]) -> str:
    """A whole page.

    Args:
        title: In the title bar, and of a bookmark.
        heading: Above everything.
        summary: What it is about, in a sentence.
        sections: The first one is read first, and has no link above.
    """
    template = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    parts = (tag("section", tag("h2", s.head), s.content, id=s.key) for s in sections)
    return Template(template).substitute(
        title=tag("title", title),
        heading=tag("h1", heading),
        summary=tag("p", summary, class_="lead"),
        nav=tag("nav", *(tag("a", s.head, href=f"#{s.key}") for s in sections[1:])),
        body=join(parts),
    )
