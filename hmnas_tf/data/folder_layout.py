"""Which files of a folder are images of which class, for training or for testing, and what is left out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hmnas_tf.console.paths import PICTURES
from hmnas_tf.data.class_names import clean_name, cleaning_notices

_NOT_DATA = (  # what systems leave behind, besides hidden files
    "$recycle.bin",
    "@eadir",
    "__macosx",
    "desktop.ini",
    "ehthumbs.db",
    "icon\r",  # of macOS, for a folder with a picture of its own
    "lost+found",
    "picasa.ini",
    "system volume information",
    "thumbs.db",
)
_SIDES = {  # names of the folders of a set that was split, in any case
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}
_NAMED = 5  # of what is left out, so many are named


class Layout(NamedTuple):
    """The files of each class, in the order of their paths."""

    class_names: tuple[str, ...]
    train: list[list[Path]]
    test: list[list[Path]]  # empty if the folder is not split
    validation: list[list[Path]]  # empty if the folder has no such side, or it is not asked for
    notices: tuple[str, ...]


class _Classes(NamedTuple):
    """Folders of each class by its name, sorted; several where names differ by how an accent is written."""

    folders: dict[str, list[Path]]
    notices: tuple[str, ...]


def find_files(root: Path, *, validation: bool = False) -> Layout:
    """Finds PATH/CLASS/FILE, or PATH/train/CLASS/FILE and PATH/test/CLASS/FILE, and of a third side what is asked for.

    Args:
        root: the folder.
        validation: whether a validation side is to be used as such; else it is left out, or stands in for test/.

    Raises:
        ValueError: naming the folder or file that is in the wrong place.
    """
    if not root.is_dir():
        raise ValueError(f"folder: expected an existing folder with one sub-folder a class, got {root}")
    folders = [entry for entry in _visible(root) if entry.is_dir()]
    sides = [folder for folder in folders if folder.name.lower() in _SIDES]
    if (len(sides) > 1 and sides == folders) or any(_sub_folders(side) for side in sides):
        return _of_sides(root, sides, validation)
    classes = _classes(root)
    files = [_files(own, name) for name, own in classes.folders.items()]
    return Layout(tuple(classes.folders), files, [], [], classes.notices)


def _of_sides(root: Path, folders: Sequence[Path], validation: bool) -> Layout:
    sides: dict[str, Path] = {}
    for folder in folders:
        other = sides.setdefault(_SIDES[folder.name.lower()], folder)
        if other is not folder:
            raise ValueError(
                f"{other} and {folder} are one side of the set twice; put their images into one of them"
            )
    given = ", ".join(f"{folder.name}/" for folder in sides.values())
    if "train" not in sides or len(sides) == 1:
        raise ValueError(
            f"{root} has only {given} with classes in it; it needs both train/ and test/, or the classes alone"
        )
    notices = _left_out(root, [entry for entry in _visible(root) if entry not in sides.values()], given)
    spare = sides.get("validation")
    if spare and validation:
        notices += (
            f"{spare} ({_count(spare)}) is what --holdout holds out: its images stand in for the test images, and none "
            f"of {sides['train'].name}/ are held out",
        )
    elif spare and "test" not in sides:
        sides["test"] = spare
        notices += (
            f"{root} has no test/: the images of {spare.name}/ are those that the network is tested on",
        )
    elif spare:
        notices += (
            f"{spare} ({_count(spare)}) is not used: the search divides {sides['train'].name}/ by itself and tests on "
            f"{sides['test'].name}/; to train on its images too, move them into {sides['train'].name}/; to choose "
            "settings or an epoch by them, pass --holdout=0.2",
        )
    train = _classes(sides["train"])
    held, more = _of_side(spare, train, sides["train"]) if spare and validation else ([], ())
    test, yet_more = (
        _of_side(sides["test"], train, sides["train"]) if "test" in sides and not held else ([], ())
    )
    files = [_files(own, name) for name, own in train.folders.items()]
    return Layout(tuple(train.folders), files, test, held, notices + train.notices + more + yet_more)


def _of_side(side: Path, train: _Classes, beside: Path) -> tuple[list[list[Path]], tuple[str, ...]]:
    """Returns the files of each class of another side than train/, and what is odd about them."""
    found = _classes(side)
    foreign = sorted(set(found.folders) - set(train.folders))
    if foreign:
        raise ValueError(f"{side}/{foreign[0]} has no counterpart in {beside}; add it or remove it")
    return [_files(found.folders.get(name, [side / name]), name) for name in train.folders], found.notices


def _classes(folder: Path) -> _Classes:
    entries = _visible(folder)
    stray = [entry for entry in entries if not entry.is_dir()]
    images = [entry for entry in stray if entry.suffix.lower() in PICTURES]
    if images:
        more = f" and {len(images) - 1:,} more images lie" if len(images) > 1 else " lies"
        raise ValueError(f"{images[0]}{more} beside the class folders; move it into the folder of its class")
    own = [entry for entry in entries if entry.is_dir()]
    found: dict[str, list[Path]] = {}
    for entry in own:
        found.setdefault(clean_name(entry.name), []).append(entry)
    if len(found) < 2:
        got = f"only {own[0].name}/" if own else "none"
        todo = f"did you mean {own[0]}?" if own and _sub_folders(own[0]) else "sort the images into them"
        raise ValueError(f"{folder} needs at least 2 sub-folders, one a class, it has {got}; {todo}")
    notices = cleaning_notices([entry.name for entry in own], str(folder)) + _left_out(
        folder, stray, "the class folders"
    )
    for name, same in found.items():
        if len(same) > 1:
            paths = " and ".join(repr(entry.name) for entry in same)
            notices += (f"{folder} has {paths}, whose names look alike: they are one class, {name!r}",)
    return _Classes(dict(sorted(found.items())), notices)


def _files(folders: Sequence[Path], name: str) -> list[Path]:
    files = [entry for folder in folders if folder.is_dir() for entry in _visible(folder)]
    if not files:
        raise ValueError(
            f"{folders[0]} has no image; every class needs at least one in each of training and test"
        )
    for entry in files:
        if entry.is_dir():
            raise ValueError(
                f"{entry} is a folder inside a class; expected image files only. Where {folders[0].name}/ is one side "
                "of a split set, name the sides train/ and test/; where it is a class, move the files one level up"
            )
    return files


def _left_out(folder: Path, entries: Sequence[Path], beside: str) -> tuple[str, ...]:
    if not entries:
        return ()
    named = ", ".join(
        f"{entry.name}/ ({_count(entry)})" if entry.is_dir() else entry.name for entry in entries[:_NAMED]
    )
    more = f" and {len(entries) - _NAMED:,} more" if len(entries) > _NAMED else ""
    return (f"{folder}: {len(entries):,} left out beside {beside}: {named}{more}",)


def _count(folder: Path) -> str:
    number = sum(len(files) for _, _, files in os.walk(folder))
    return f"{number:,} file{'' if number == 1 else 's'}"


def _sub_folders(folder: Path) -> list[Path]:
    return [entry for entry in _visible(folder) if entry.is_dir()]


def _visible(folder: Path) -> list[Path]:
    return [entry for entry in sorted(folder.iterdir()) if not _ignored(entry)]


def _ignored(entry: Path) -> bool:
    return entry.name.startswith(".") or entry.name.lower() in _NOT_DATA
