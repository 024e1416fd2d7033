"""What is odd about a set of images without making it unusable, in lines with numbers."""

from __future__ import annotations

import weakref

import numpy as np

from hmnas_tf.console.mistakes import in_a_line
from hmnas_tf.console.progress import Say, counted, silent
from hmnas_tf.data.class_names import alike
from hmnas_tf.data.image_dataset import ImageDataset
from hmnas_tf.data.image_files import BRIGHT
from hmnas_tf.data.image_store import digests_of, highest_of
from hmnas_tf.data.rows import whole

_NAMED = 5  # classes, so many are named
_UNEVEN = 10  # times the images of the smallest class, from which on the largest one is told
_TOLD: weakref.WeakSet[ImageDataset] = weakref.WeakSet()  # one set may be searched on many times


def tell(dataset: ImageDataset, say: Say) -> None:
    """Shows the notices of a dataset, its own and those of `oddities`; once for each dataset in a process."""
    if say is silent or dataset in _TOLD:
        return
    _TOLD.add(dataset)
    for line in (*dataset.notices, *oddities(dataset)):
        say(f"Notice: {in_a_line(line)}")


def oddities(dataset: ImageDataset) -> list[str]:
    """Returns lines about images that are in both parts, in several classes or nearly black, and about classes without
    images, with far fewer than others, or with names that look alike.

    Images are compared by the hash of their pixels, each hashed once: a second for some gigabytes. On disk they are
    known.
    """
    hashes = {part: digests_of(whole(getattr(dataset, f"x_{part}"))) for part in ("train", "test")}
    return [
        *_leaks(hashes),
        *_contradictions(dataset, hashes),
        *_dark(dataset),
        *_missing(dataset),
        *_uneven(dataset),
        *_alike(dataset),
    ]


def _leaks(hashes: dict[str, list[bytes]]) -> list[str]:
    trained = set(hashes["train"])
    seen = sum(digest in trained for digest in hashes["test"])
    if not seen:
        return []
    return [
        f"{seen:,} of {counted(len(hashes['test']), 'test image')} {'is' if seen == 1 else 'are'} training images too, "
        "equal in every pixel: the test error will look better than it is"
    ]


def _contradictions(dataset: ImageDataset, hashes: dict[str, list[bytes]]) -> list[str]:
    first: dict[bytes, int] = {}
    several: dict[bytes, tuple[int, int]] = {}
    for part, own in hashes.items():
        for digest, label in zip(own, getattr(dataset, f"y_{part}").tolist(), strict=True):
            other = first.setdefault(digest, label)
            if other != label:
                several.setdefault(digest, (other, label))
    if not several:
        return []
    names = " and ".join(repr(dataset.class_names[label]) for label in next(iter(several.values())))
    is_one = len(several) == 1
    return [
        f"{counted(len(several), 'image')} {'is' if is_one else 'are'} in more than one class, "
        f"{'in' if is_one else 'one of them in'} {names}: no network can be right about both"
    ]


def _missing(dataset: ImageDataset) -> list[str]:
    lines = []
    for part in ("train", "test"):
        counts = dataset.class_counts(part)
        empty = [repr(dataset.class_names[label]) for label in np.flatnonzero(counts == 0)]
        if empty:
            more = ", ..." if len(empty) > _NAMED else ""
            lines.append(
                f"{len(empty):,} of {dataset.num_classes:,} classes have no {part} image: "
                f"{', '.join(empty[:_NAMED])}{more}"
            )
    return lines


def _uneven(dataset: ImageDataset) -> list[str]:
    counts = dataset.class_counts("train")
    there = np.flatnonzero(counts)
    largest, smallest = there[counts[there].argmax()], there[counts[there].argmin()]
    if counts[largest] < _UNEVEN * counts[smallest]:
        return []
    return [
        f"class {dataset.class_names[largest]!r} has {counted(int(counts[largest]), 'training image')}, class "
        f"{dataset.class_names[smallest]!r} {counts[smallest]:,}: a network may be right by leaving out what is rare; "
        "--class_weights=balanced lets all classes count alike, and macro F1 tells more than the test error"
    ]


def _dark(dataset: ImageDataset) -> list[str]:
    highest = {part: highest_of(getattr(dataset, f"x_{part}")) for part in ("train", "test")}
    return [
        f"no {part} image has a pixel above {high} of 255, so that all are nearly black"
        + (f"; if {high} is white, multiply them by {255 // high}" if high else "")
        for part, high in highest.items()
        if high <= BRIGHT
    ]


def _alike(dataset: ImageDataset) -> list[str]:
    groups = alike(dataset.class_names)
    if not groups:
        return []
    more = f", and so with {len(groups) - 1:,} more" if len(groups) > 1 else ""
    return [
        f"the names of classes {' and '.join(map(repr, groups[0][:_NAMED]))} look alike{more}: if they mean one class, "
        "give their images one name"
    ]
