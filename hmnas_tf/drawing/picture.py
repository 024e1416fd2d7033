"""A figure as a file: SVG that also fits into a page and its colours, or PNG."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

from matplotlib.figure import Figure

from hmnas_tf.drawing.theme import VARIABLES, plain, settings

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_KEY = re.compile(r"[A-Za-z][\w-]*", re.ASCII)
_LINES = "stroke-linejoin: round; stroke-linecap: butt"  # Matplotlib's rule for `*`, which in a page would rule all


def as_svg(figure: Figure, *, title: str, description: str, key: str) -> str:
    """Returns a figure as an SVG element that stands alone as a file or within a page, beside others.

    Text stays text. It has no width, so it fills what it is put into. Ink, muted words, faint lines and paper
    are the CSS variables `--ink`, `--muted`, `--faint` and `--paper`, and without them dark on white. The same figure
    gives the same text.

    Args:
        figure: of this package.
        title: its name, read out by screen readers.
        description: what it shows, in words.
        key: begins every id, so that ids of several pictures in a page differ.

    Raises:
        ValueError: if the key is no word of letters, digits, `-` and `_` that begins with a letter.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(
            f"key={key!r}: expected a word of letters, digits, - and _ that begins with a letter."
        )
    text = io.StringIO()
    with _quiet():
        figure.savefig(text, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(text.getvalue())
    for useless in ("metadata", "defs"):  # the first `defs` has only the rule for `*`
        root.remove(root.find(f"{{{_SVG}}}{useless}"))
    for element in root.iter():
        for name, value in element.attrib.items():
            element.set(name, _adapted(name, value, key))
    for name in ("width", "height", "version"):
        root.attrib.pop(name)
    root.set("style", _LINES)
    root.set("role", "img")
    root.set("aria-labelledby", f"{key}-title {key}-desc")
    for name, words in (("desc", description), ("title", title)):
        element = ElementTree.Element(f"{{{_SVG}}}{name}", {"id": f"{key}-{name}"})
        element.text = plain(words)
        element.tail = "\n"
        root.insert(0, element)
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _adapted(name: str, value: str, key: str) -> str:
    """Returns the value of an attribute with ids that begin with `key` and colours that are variables."""
    if name == "id":
        return f"{key}-{value}"
    if name in ("href", f"{{{_XLINK}}}href"):
        return f"#{key}-{value[1:]}" if value.startswith("#") else value
    value = value.replace("url(#", f"url(#{key}-")
    for colour, variable in VARIABLES.items():
        value = value.replace(colour, variable)
    return value


def as_png(figure: Figure, dpi: float = 100) -> bytes:
    """Returns a figure as PNG, dark on white.

    Args:
        figure: of this package.
        dpi: pixels an inch.
    """
    data = io.BytesIO()
    with _quiet():
        figure.savefig(data, format="png", dpi=dpi, metadata={"Software": None})
    return data.getvalue()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Inside, a name in a script that Matplotlib's font lacks is no warning: a browser has it."""
    with settings(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        yield
