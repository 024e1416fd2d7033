"""HTML in which everything is escaped that is not HTML already."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

from hmnas_tf.drawing.theme import plain

_VOID = frozenset({"img", "link", "meta"})  # elements without content and end
_WORD = re.compile(r"""(?:[^\s"']|"[^"]*"|'[^']*')+""")  # of a command; what is quoted is of one word


class Html(str):
    """Text that is HTML; any other text is escaped before it becomes part of a page."""

    __slots__ = ()


def escaped(value: object) -> Html:
    """Returns what stands for a value in HTML: HTML as it is, everything else escaped, in one line."""
    return value if isinstance(value, Html) else Html(html.escape(plain(str(value))))


def joined(*parts: object) -> Html:
    """Returns parts one after the other; those that are no HTML are escaped."""
    return Html("".join(map(escaped, parts)))


def element(name: str, /, *content: object, **attributes: object) -> Html:
    """Returns an element.

    Args:
        name: of the element.
        content: what stands in it; what is no HTML is escaped.
        attributes: their values are escaped. In their names `_` stands for `-`, and a last `_` is left out, as in
            `class_`. True is an attribute without a value; None and False leave it out.
    """
    parts = []
    for key, value in attributes.items():
        if value is not None and value is not False:
            attribute = key.removesuffix("_").replace("_", "-")
            parts.append(f" {attribute}" if value is True else f' {attribute}="{escaped(str(value))}"')
    start = f"<{name}{''.join(parts)}>"
    return Html(start if name in _VOID else f"{start}{joined(*content)}</{name}>")


def scrolling(label: str, content: Html, *, class_: str = "scroll") -> Html:
    """Returns what may be wider than a narrow screen: it scrolls by itself, with a keyboard too."""
    return element("div", content, class_=class_, role="region", aria_label=label, tabindex=0)


def table(
    caption: str, columns: Sequence[object], rows: Iterable[Sequence[object]], *, words: int = 1
) -> Html:
    """Returns a table whose first column names its rows.

    Args:
        caption: what it shows.
        columns: their titles.
        rows: as many cells each.
        words: how many columns, from the first, hold words; numbers stand to the right.
    """
    head = element(
        "tr",
        *(
            element("th", title, scope="col", class_=None if place < words else "number")
            for place, title in enumerate(columns)
        ),
    )
    body = (_row(cells, words) for cells in rows)
    content = element("table", element("caption", caption), element("thead", head), element("tbody", *body))
    return scrolling(caption, content)


def _row(cells: Sequence[object], words: int) -> Html:
    first, *others = cells
    kinds = (None if place < words else "number" for place in range(1, len(cells)))
    rest = (element("td", cell, class_=kind) for cell, kind in zip(others, kinds, strict=True))
    return element("tr", element("th", first, scope="row"), *rest)


def code(command: str) -> Html:
    """Returns a command to be copied; where it is too long for a line, it is broken between its words."""
    words = (element("span", word) for word in _WORD.findall(command))
    return scrolling("command", element("pre", element("code", Html(" ".join(words)))), class_="scroll code")


def terms(pairs: Iterable[tuple[object, Any]]) -> Html:
    """Returns names with what they are."""
    return element("dl", *(joined(element("dt", term), element("dd", meaning)) for term, meaning in pairs))
