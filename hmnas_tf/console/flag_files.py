"""Flag files, as the command line names them (pure Python)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hmnas_tf.console.paths import path_of, short

NOT_OF_A_VALUE = {  # what a shell, or a reader of comments, would take off a line
    re.compile(r"\s#\s"): "ends in a comment",
    re.compile(r"=([\"']).*\1$"): "has a value in quotes",
}


def with_flag_files(arguments: Sequence[str], within: tuple[Path, ...] = ()) -> list[str]:
    """Returns arguments with the lines of flag files in the place of `--flagfile=FILE`.

    absl does it too, but leaves out a file that names itself, and stumbles over byte order marks.

    Raises:
        ValueError: if a file cannot be read, is no text in UTF-8, or names itself, also through others.
    """
    found, rest = [], iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name in ("--flagfile", "-flagfile"):
            value = value if equals else next(rest, "")
            if not value:
                raise ValueError(
                    "flagfile is missing a name: pass --flagfile=FILE, a text file with one flag a line."
                )
            path = path_of(value, "flagfile")
            found += with_flag_files(_lines(path, within), (*within, path.resolve()))
        else:
            found.append(argument)
            if argument == "--":
                return [*found, *rest]
    return found


def _lines(path: Path, within: tuple[Path, ...]) -> list[str]:
    if path.resolve() in within:
        raise ValueError(f"flagfile={str(path)!r} names itself: remove the line --flagfile={path} from it.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise ValueError(
            f"flagfile={str(path)!r} cannot be read: {reason}. Pass a text file that is there, with one flag a line."
        ) from error
    lines = (line.strip() for line in text.splitlines())
    lines = [line for line in lines if line and not line.startswith(("#", "//"))]
    if path.name == "run.flags":  # which a run writes, whatever its paths have in them
        return lines
    for line in lines:
        for pattern, what in NOT_OF_A_VALUE.items():
            if pattern.search(line):
                raise ValueError(
                    f"flagfile={str(path)!r}: {short(line)} {what}, which would be taken for a part of the value: "
                    "leave it out; a comment has a line of its own."
                )
    return lines
