"""HTML from Python, in which everything that is not HTML already is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_EMPTY = frozenset({"circle", "meta", "path", "rect"})


class Markup(str):
    """Text that is HTML: it is not escaped again."""

    __slots__ = ()


def tag(name: str, *content: str, **attributes: str) -> Markup:
    """An element.

    Args:
        name: Of the element.
        content: Plain text, which is escaped, and `Markup`, which is not.
        attributes: Plain text; an underscore becomes a hyphen, and one at the end is left out
            (`class_`).
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
    )
    if name in _EMPTY:
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{join(content)}</{name}>")


def join(content: Iterable[str]) -> Markup:
    """Pieces one after the other, plain text escaped."""
    return Markup("".join(item if isinstance(item, Markup) else escape(item) for item in content))


def table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    text_columns: int = 1,
    class_: str = "",
) -> Markup:
    """A table whose first cell of each row names it.

    Args:
        caption: What the table holds.
        heads: Of the columns.
        rows: The cells, as many as `heads`.
        text_columns: So many of the columns hold text; the others are set as numbers.
        class_: Of the table.
    """

    def kind(place: int) -> dict[str, str]:
        return {} if place < text_columns else {"class_": "n"}

    head = tag(
        "tr",
        *(
            tag("th", title, scope="col", **kind(place)) if title else tag("td", "")
            for place, title in enumerate(heads)
        ),
    )
    body = join(
        tag(
            "tr",
            tag("th", row[0], scope="row"),
            *(tag("td", cell, **kind(place)) for place, cell in enumerate(row) if place),
        )
        for row in rows
    )
    content = tag(
        "table",
        tag("caption", caption),
        tag("thead", head),
        tag("tbody", body),
        **({"class_": class_} if class_ else {}),
    )
    return tag("div", content, class_="scroll", role="region", aria_label=caption, tabindex="0")


def bar(part: float, most: float) -> Markup:
    """A bar as long as a number is large, for a cell beside that number."""
    width = f"{100 * part / most:.1f}%" if most else "0"
    return tag("span", tag("i", style=f"width:{width}"), class_="bar", aria_hidden="true")


def facts(items: Iterable[tuple[str, str]]) -> Markup:
    """A list of names and what they stand for."""
    pairs = (tag("div", tag("dt", name), tag("dd", value)) for name, value in items)
    return tag("dl", *pairs, class_="facts")
