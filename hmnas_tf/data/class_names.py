"""Names of classes, read in one way and refused in one place, wherever they come from."""

from __future__ import annotations

import collections
import numbers
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from hmnas_tf.console.mistakes import SEPARATING

LONGEST = 255  # characters; what is longer is a text, and no file system takes it for a folder
_INVISIBLE = "\ufeff\u200b"  # a byte order mark and a space without width, which `strip` leaves


def listed(names: Any) -> tuple[str | bytes, ...]:
    """Returns the names of classes that a program gives, a list of strings (or bytes, or whole numbers) in their order.

    Raises:
        ValueError: on anything else: of a string the letters would be names, of a dictionary the keys, of a set in any
            order, and what is missing would be called None or nan.
    """
    if not isinstance(names, Iterable) or isinstance(names, str | bytes | Mapping | Set):
        hint = "; of a dictionary by label: [names[label] for label in range(len(names))]"
        raise ValueError(
            f"class_names must be a list of strings in the order of the labels, got a {type(names).__name__}"
            + (hint if isinstance(names, Mapping) else "; list them")
        )
    found = tuple(names)
    for label, name in enumerate(found):
        if not isinstance(name, str | bytes | numbers.Integral) or isinstance(name, bool):
            raise ValueError(
                f"class_names must be a list of strings, got a {type(name).__name__} for class {label}: "
                f"{' '.join(str(name).split())[:40]}; give it as a string"
            )
    return found


def clean_name(name: str | bytes) -> str:
    """Returns a name without white space and line ends around it, its letters and accents composed (NFC).

    Two names that look alike are the same then: macOS writes an accent as a character of its own, and lists that were
    read line by line keep the line ends.

    Raises:
        ValueError: if it is bytes that are no UTF-8.
    """
    stripped = _text(name).strip()
    while stripped != stripped.strip(_INVISIBLE).strip():
        stripped = stripped.strip(_INVISIBLE).strip()
    return unicodedata.normalize("NFC", stripped)


def cleaning_notices(names: Sequence[str | bytes], where: str) -> tuple[str, ...]:
    """Returns a line about names that lose white space or line ends by `clean_name`; none if there is nothing to say.

    Composing accents is left unsaid: nobody sees a difference.
    """
    texts = list(map(_text, names))
    changed = [text for text in texts if unicodedata.normalize("NFC", text) != clean_name(text)]
    if not changed:
        return ()
    return (
        f"{where}: white space around {len(changed)} of {len(texts)} class names is left out, as in "
        f"{changed[0][:LONGEST]!r}",
    )


def alike(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Returns the groups of names that differ only in case, in what parts their words, or in signs that nobody sees."""
    groups: dict[str, list[str]] = {}
    for name in names:
        seen = "".join(
            sign for sign in unicodedata.normalize("NFKC", name) if unicodedata.category(sign) != "Cf"
        )
        groups.setdefault(" ".join(re.split(r"[\s_-]+", seen.casefold())), []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def check_names(names: Sequence[str], where: str) -> None:
    """Refuses names that an artifact, a table or a list with a name a line cannot hold.

    Args:
        names: clean, in the order of the labels.
        where: they are from, to begin the message with.

    Raises:
        ValueError: naming the class and what to do.
    """
    for label, name in enumerate(names):
        reason = _fault(name)
        if reason:
            raise ValueError(f"{where}: the name of class {label} {reason}; rename the class")
    name, count = collections.Counter(names).most_common(1)[0] if names else ("", 0)
    if count > 1:
        labels = [label for label, other in enumerate(names) if other == name]
        raise ValueError(
            f"{where}: {count} classes have the name {name!r}, those of labels {', '.join(map(str, labels[:5]))}; give "
            "each its own name, or its images one label"
        )


def _text(name: str | bytes) -> str:
    try:
        return name.decode("utf-8") if isinstance(name, bytes) else str(name)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"class name {name[:40]!r} is bytes that are no UTF-8; decode it, as by name.decode('latin-1')"
        ) from error


def _fault(name: str) -> str:
    if not name:
        return "is empty"
    if len(name) > LONGEST:
        return f"has {len(name):,} characters, at most {LONGEST} are taken: {name[:40]!r}..."
    if name != name.encode("utf-8", "ignore").decode("utf-8"):
        return f"is not valid UTF-8: {name!r}"
    parting = [character for character in name if unicodedata.category(character) in SEPARATING]
    if parting:
        return f"holds the character {parting[0]!r}, and files have a name a line: {name!r}"
    return ""
