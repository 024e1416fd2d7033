"""Paths as a person types them: home, spellings of one place, pictures by name, pattern or folder (pure Python)."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

PLACES = ("folder:", "npz:")  # how a --dataset begins that is a path
PICTURES = (
    ".apng", ".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif",
    ".tiff", ".webp",
)  # fmt: skip
PACKED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
ENDS_A_LINE = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029\0]")
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
SHOWN = 100  # characters of a word that are quoted


def at_home(text: str, what: str = "path") -> str:
    """Returns a path, or a dataset that is one, with `~` and `~user` at its beginning replaced by that home.

    A shell does it too, but neither inside quotes nor after `--name=` nor in a flag file.

    Args:
        text: the path, as it was typed.
        what: it is, to begin a message with.

    Raises:
        ValueError: if there is no such user, or if the path cannot be written into a flag file.
    """
    prefix = next((prefix for prefix in PLACES if text.startswith(prefix)), "")
    path = text.removeprefix(prefix)
    if not is_text(path) or ENDS_A_LINE.search(path):
        raise ValueError(
            f"{what}={short(text)} has a line end or a byte that is no UTF-8 in it, which no flag file can hold: "
            "rename it, or name it through a link."
        )
    expanded = os.path.expanduser(path)
    if expanded.startswith("~") and not os.path.lexists(expanded):
        user = path.partition("/")[0]
        raise ValueError(
            f"{what}={short(text)}: {user} is no user's home here; a path of this name is ./{path}"
        )
    return prefix + expanded


def path_of(text: str | os.PathLike, what: str = "path") -> Path:
    """Returns a path as it was typed, see `at_home`; an address such as s3://bucket/run is none."""
    if ADDRESS.match(os.fspath(text)):
        raise ValueError(
            f"{what}={short(os.fspath(text))} is an address: expected a path on this machine, where a store of another "
            "kind may be mounted."
        )
    return Path(at_home(os.fspath(text), what))


def is_text(path: str | os.PathLike) -> bool:
    """Returns whether a path can be written in UTF-8; a file's name may be any bytes."""
    try:
        os.fspath(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def short(word: str) -> str:
    """Returns a word in quotes, cut off where it is longer than a line should be."""
    return repr(word if len(word) <= SHOWN else f"{word[:SHOWN]}...")


def is_same(first: str, second: str) -> bool:
    """Returns whether two paths, or two datasets that are paths, are spellings of one place."""
    if first == second:
        return True
    prefixes = [next((p for p in PLACES if word.startswith(p)), "") for word in (first, second)]
    if not first or not second or prefixes[0] != prefixes[1]:
        return False
    places = (word.removeprefix(prefixes[0]) for word in (first, second))
    return len({os.path.realpath(os.path.expanduser(place)) for place in places}) == 1


def refuse_within(dataset: str, folder: str | os.PathLike, name: str = "workdir") -> None:
    """Refuses a folder of a run inside the folder of its pictures, where it would be taken for a class the next time.

    A hidden folder is no class, so that it may hold runs.

    Args:
        dataset: `--dataset`.
        folder: that is written into.
        name: of the flag that names it.

    Raises:
        ValueError: naming both.
    """
    if not dataset.startswith("folder:"):
        return
    root = Path(os.path.realpath(os.path.expanduser(dataset.removeprefix("folder:"))))
    place = Path(os.path.realpath(folder))
    if place.is_relative_to(root) and not any(p.startswith(".") for p in place.relative_to(root).parts):
        raise ValueError(
            f"{name}={str(folder)!r} lies inside the pictures, dataset={dataset!r}: what a run writes would be taken "
            f"for pictures; take a --{name} outside of that folder."
        )


def meant(name: str) -> str:
    """Returns what someone meant who typed a path as a dataset, as a question or an answer; "" if it is no path."""
    prefix, colon, rest = name.partition(":")
    if colon and f"{prefix.lower()}:" in PLACES and name not in PLACES:
        return f"did you mean --dataset={prefix.lower()}:{rest}?"
    for word in dict.fromkeys((name, rest if colon else name)):
        place = os.path.expanduser(word)
        if word and os.path.isdir(place):
            return f"{short(word)} is a folder: did you mean --dataset=folder:{word}?"
        if word and os.path.isfile(place) and word.lower().endswith(PACKED):
            return f"{short(word)} is packed: unpack it, and give the folder as --dataset=folder:PATH"
        if word and os.path.exists(place):
            return f"{short(word)} is a file: did you mean --dataset=npz:{word}?"
    if name.endswith(".npz"):
        return f"there is no file {short(name)}; an archive of arrays is --dataset=npz:FILE"
    parent = os.path.dirname(os.path.expanduser(name).rstrip("/"))
    begins = name.startswith((".", "~", "/")) or name.endswith("/") or "\\" in name
    if begins or (parent and os.path.isdir(parent)):
        return f"there is no folder or file {short(name)}; a folder of pictures is --dataset=folder:PATH"
    return ""


def pictures(words: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Returns the files that `--images` names, and the files in its folders that are left out.

    A word is a file, else a folder, of which all pictures are taken, also in folders in it and where links in it lead,
    else a pattern, in which `**` stands for any folders, else several of these with commas between. What stands before
    a pattern's first part that does not exist is taken as it is, so that a folder may have brackets in its name. Of a
    folder the files with an ending of `PICTURES` count, hidden ones apart; whatever a name or a pattern finds counts,
    whatever it is.

    Args:
        words: each may be in quotes, which shells do not look into.

    Raises:
        ValueError: if one of them names no file.
        OSError: if a folder cannot be read.
    """
    taken: dict[Path, None] = {}
    left_out: dict[Path, None] = {}
    for word in words:
        for path in _found(word) or _of_list(word):
            if path.is_dir():
                for file in _within(path):
                    (taken if file.suffix.lower() in PICTURES else left_out)[file] = None
            else:
                taken[path] = None
    if not taken:
        given = short(",".join(words))
        raise ValueError(f"images={given} matches no file: folders have no picture ({', '.join(PICTURES)}).")
    return list(taken), list(left_out)


def _found(word: str) -> list[Path]:
    """Returns the file or folder of this name, else the files that match it as a pattern; [] if there are none."""
    if not word:
        return []
    for name in dict.fromkeys((word, os.path.expanduser(word))):
        if os.path.lexists(name):
            return [Path(name)]
    matching = sorted(map(Path, glob.glob(_pattern(os.path.expanduser(word)), recursive=True)))
    return [path for path in matching if not path.is_dir()]


def _pattern(word: str) -> str:
    """Returns a pattern that takes the longest part of a path that exists as it is written."""
    parts = word.split("/")
    for count in range(len(parts) - 1, 0, -1):
        start = "/".join(parts[:count])
        if start and os.path.isdir(start):
            return "/".join([glob.escape(start), *parts[count:]])
    return word


def _of_list(word: str) -> list[Path]:
    """Returns what the words of a comma list name; a name may have commas in it."""
    found: list[Path] = []
    parts = word.split(",")
    start = 0
    while start < len(parts):
        for end in range(start + 1, len(parts) + 1):
            name = ",".join(parts[start:end])
            paths = _found(name) or _found(name.strip())
            if paths:
                found += paths
                start = end
                break
        else:
            if parts[start].strip():
                raise ValueError(
                    f"images={short(word)} matches no file: {short(parts[start])} is neither a file nor a folder nor a "
                    "pattern that finds one; in a pattern [[], [*] and [?] stand for the characters themselves."
                )
            start += 1
    return found


def _within(folder: Path) -> list[Path]:
    """Returns the files in a folder and below it, hidden ones apart; no place is entered twice, where links lead."""
    files: list[Path] = []
    entered: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        real = os.path.realpath(place)
        folders[:] = [] if real in entered else sorted(name for name in folders if not name.startswith("."))
        if real not in entered:
            files += [Path(place, name) for name in names if not name.startswith(".")]
        entered.add(real)
    return sorted(files)


def _refuse(error: OSError) -> NoReturn:
    raise error
