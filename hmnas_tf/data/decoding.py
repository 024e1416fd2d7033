"""Image files to pixels, by all cores: into memory, or onto disk."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from hmnas_tf.console.cores import cores
from hmnas_tf.console.progress import Progress, Say, silent
from hmnas_tf.data import image_store
from hmnas_tf.data.buffers import empty
from hmnas_tf.data.image_dataset import content_version
from hmnas_tf.data.image_files import WITHOUT_WARNINGS, read_image
from hmnas_tf.data.resizing import crop_and_resize
from hmnas_tf.data.rows import Images

_NAMED = 5  # of files that cannot be read, so many are named
_TOGETHER = 16  # files that a thread takes at a time
_WAITING = 256  # such groups that are handed out at a time
_BLOCK = 1 << 25  # bytes of images that are written to disk together
_Result = TypeVar("_Result")


class PictureFile(NamedTuple):
    """An image file and its class."""

    path: Path
    label: int


class Decoded(NamedTuple):
    """Images and labels of several parts of a data set, and the hash of all of them."""

    images: list[Images]
    labels: list[np.ndarray]
    version: str


def read_pictures(
    root: Path,
    parts: Sequence[Sequence[PictureFile]],
    image_shape: tuple[int, int, int],
    white: int,
    cache: Path | None,
    say: Say,
) -> Decoded:
    """Decodes the files of several parts of a data set.

    Args:
        root: folder that all of them are in.
        parts: training and test files.
        image_shape: (height, width, channels) of the result; files of another size are resized, see `crop_and_resize`.
        white: see `read_image`.
        cache: folder of image stores; None decodes into memory.
        say: shows a line of progress when it takes long.

    Raises:
        ValueError: one line about all files that cannot be read, or the disk.
    """
    labels = [np.array([file.label for file in part], np.int32) for part in parts]
    whole, starts = [file for part in parts for file in part], np.cumsum([0, *map(len, parts)])

    def decode(file: PictureFile) -> np.ndarray:
        image = read_image(file.path, image_shape[2], white)
        return image if image.shape == image_shape else crop_and_resize(image, image_shape[0]).numpy()

    if cache is None:
        images: list[Images] = [empty((len(part), *image_shape)) for part in parts]
        for part, pixels, name in zip(parts, images, ("training", "test"), strict=True):
            of_each(
                part,
                lambda file, i, pixels=pixels: _put(pixels, i, decode(file)),
                f"reading {root}, {name} images",
                say,
            )
        return Decoded(images, labels, _version(images, labels))

    # One order for every seed and split, so that all of them share one store.
    names = [os.path.relpath(file.path, root) for file in whole]
    order = sorted(range(len(whole)), key=names.__getitem__)
    lines = [
        f"{names[i]}\t{stat.st_size}\t{stat.st_mtime_ns}" for i in order for stat in (os.stat(whole[i].path),)
    ]
    folder = image_store.folder_for(cache, root.name, [f"{image_shape} {white}", *lines])
    store = image_store.opened(
        folder,
        (len(whole), *image_shape),
        lambda start: _decoded([whole[i] for i in order], start, image_shape, decode),
        f"decoding {root} onto disk, images",
        say,
        lambda number: decode(whole[order[number]]),
    )
    place = np.empty(len(whole), np.int64)
    place[order] = np.arange(len(whole))
    rows = [store.rows(place[start:end]) for start, end in itertools.pairwise(starts)]
    of = [array for part, own in zip(rows, labels, strict=True) for array in (part.index, own)]
    return Decoded(list(rows), labels, store.remembered("version", of, lambda: _version(rows, labels, say)))


def _version(images: Sequence[Images], labels: Sequence[np.ndarray], say: Say = silent) -> str:
    return content_version(*(array for pair in zip(images, labels, strict=True) for array in pair), say=say)


def _put(images: np.ndarray, number: int, image: np.ndarray) -> None:
    images[number] = image


def _decoded(
    files: Sequence[PictureFile],
    start: int,
    image_shape: tuple[int, int, int],
    decode: Callable[[PictureFile], np.ndarray],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields images and labels from a file on. After one that cannot be read the others are only tried."""
    failures = Failures()
    count = max(_TOGETHER, _BLOCK // int(np.prod(image_shape)))
    for first in range(start, len(files), count):
        block = files[first : first + count]
        images = np.empty((len(block), *image_shape), np.uint8)
        for _ in _attempted(block, lambda file, i, images=images: _put(images, i, decode(file)), failures):
            pass
        if not failures:
            yield images, np.array([file.label for file in block], np.int32)
    failures.tell(len(files))


def of_each(
    files: Sequence[PictureFile], function: Callable[[PictureFile, int], _Result], what: str, say: Say
) -> list[_Result]:
    """Applies a function to each file and its place, by all cores; all that fail are told in one line."""
    results, failures, progress = [], Failures(), Progress(say, what, len(files))
    for result in _attempted(files, function, failures):
        progress.done(len(results))
        results.append(result)
    failures.tell(len(files))
    return results


class Failures(list[tuple[Path, ValueError]]):
    """Files that could not be read, and why."""

    def tell(self, of: int) -> None:
        """Raises one line about all of them, if there are any among so many."""
        if not self:
            return
        names = [str(path) for path, _ in self]
        if len(self) > 1:
            more = ", ".join(sorted(names[1:])[:_NAMED])
            rest = " ..." if len(self) > _NAMED + 1 else ""
            raise ValueError(f"{self[0][1]}; so with {len(self) - 1:,} more of {of:,} files: {more}{rest}")
        raise self[0][1]


def _attempted(
    files: Sequence[PictureFile], function: Callable[[PictureFile, int], _Result], failures: Failures
) -> Iterator[_Result | None]:
    """Yields what a function makes of each file and its place, in order; None, and a failure more, of a bad one."""

    def attempt(first: int) -> list[_Result | ValueError]:
        found: list[_Result | ValueError] = []
        for number in range(first, min(first + _TOGETHER, len(files))):
            try:
                found.append(function(files[number], number))
            except ValueError as error:
                found.append(error)
        return found

    step = _TOGETHER * _WAITING
    with WITHOUT_WARNINGS, ThreadPoolExecutor(cores()) as pool:
        for first in range(0, len(files), step):
            groups = range(first, min(first + step, len(files)), _TOGETHER)
            for start, found in zip(groups, pool.map(attempt, groups), strict=True):
                for number, result in enumerate(found, start):
                    if isinstance(result, ValueError):
                        failures.append((files[number].path, result))
                        yield None
                    else:
                        yield result
