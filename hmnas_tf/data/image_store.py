"""Images kept as bytes in a file: made once for all runs, mapped into memory, read by number."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hmnas_tf.console.progress import Progress, Say
from hmnas_tf.data.mapped_images import MappedImages
from hmnas_tf.data.rows import Images, Rows
from hmnas_tf.data.rows import blocks as blocks_of
from hmnas_tf.storage import atomic
from hmnas_tf.storage.possession import alone_in

Blocks = Callable[[int], Iterator[tuple[np.ndarray, np.ndarray]]]  # from an image on: images, their labels
_FACTS = np.dtype([("digest", "V16"), ("highest", "u1"), ("label", "<i4")])  # of an image
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_HEAD = "store.json"  # of a finished store
_SAFE_EVERY = 1 << 28  # bytes of images, after which those before survive that the power fails
_DIGITS, _LONGEST = 16, 60  # of a hash and of a title, in names
_COMPARED = 8  # images that are looked at when a store is opened


class ImageStore:
    """The images of a data set in a folder, with the hash, the highest value and the label of each.

    Args:
        folder: that `opened` has made.
        shape: (number, height, width, channels) of the images.
    """

    def __init__(self, folder: Path, shape: tuple[int, int, int, int]):
        self.folder = folder
        self.mapped = MappedImages(folder / "images", shape)
        self.facts = np.fromfile(folder / "facts", _FACTS)

    def rows(self, index: np.ndarray) -> Rows:
        """Returns some of the images by their numbers."""
        return Rows(self.mapped.array, index, self)

    def remembered(self, name: str, of: Sequence[np.ndarray], compute: Callable[[], Any]) -> Any:
        """Returns what was computed of some images before, or computes it and keeps it; JSON types only.

        Args:
            name: of what is computed.
            of: arrays that the result depends on, beside the images.
            compute: does it.
        """
        digest = hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in of)).hexdigest()
        path = self.folder / f"{name}-{digest[:_DIGITS]}.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            value = compute()
        with contextlib.suppress(
            OSError
        ):  # the store is others', or the disk is full: it is computed again then
            atomic.write_json(path, value)
        return value

    def agrees(self, source: Callable[[int], np.ndarray] | None = None) -> bool:
        """Returns whether some images, from the first to the last, are what was written; those here, or read anew."""
        some = np.unique(np.linspace(0, len(self.facts) - 1, _COMPARED).astype(int))
        given = [self.mapped.array[i] for i in some] if source is None else map(source, some.tolist())
        return [digest_of(image) for image in given] == [self.facts["digest"][i].tobytes() for i in some]


def digest_of(image: np.ndarray) -> bytes:
    """Returns 16 bytes that differ where two images do."""
    return hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).digest()


def digests_of(images: Images) -> list[bytes]:
    """Returns `digest_of` each image; of images on disk they are known."""
    if isinstance(images, Rows) and images.store:
        return [digest.tobytes() for digest in images.store.facts["digest"][images.index]]
    return [digest_of(images[number]) for number in range(len(images))]


def highest_of(images: Images) -> int:
    """Returns the highest value of a pixel; of images on disk that with their borders, see `rows.middle`."""
    if isinstance(images, Rows) and images.store:
        return int(images.store.facts["highest"][images.index].max())
    return max(int(block.max()) for block in blocks_of(images))


def folder_for(cache: Path, title: str, lines: Iterable[str]) -> Path:
    """Returns the folder in a cache of images that all the lines describe, which must differ where the images do."""
    digest = hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    return cache / f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', title)[:_LONGEST]}-{digest[:_DIGITS]}"


def opened(
    folder: Path,
    shape: tuple[int, int, int, int],
    blocks: Blocks,
    what: str,
    say: Say,
    source: Callable[[int], np.ndarray] | None = None,
) -> ImageStore:
    """Returns the store in a folder; makes what is missing of it, and goes on with one that was left unfinished.

    Args:
        folder: of this store alone, see `folder_for`.
        shape: (number, height, width, channels) of the images.
        blocks: returns the images from a number on, in order, uint8 [k, H, W, C], and their labels, integers [k].
        what: is done, to begin a line of progress with.
        say: shows a line to the user.
        source: reads one of the images anew by its number; a finished store whose images are others is made again.

    Raises:
        ValueError: if the disk is too small or the folder cannot be written; what was made is kept.
    """
    try:
        if store := _found(folder, shape, source):
            return store
        folder.mkdir(parents=True, exist_ok=True)
        with alone_in(folder, say):
            if store := _found(folder, shape, source):  # made by whoever was waited for
                return store
            _make(folder, shape, blocks, what, say)
            atomic.write_json(folder / _HEAD, {"schema": 1, "shape": list(shape)})
            return ImageStore(folder, shape)
    except OSError as error:
        raise _refusal(folder, shape, error) from error


def _found(
    folder: Path, shape: tuple[int, int, int, int], source: Callable[[int], np.ndarray] | None
) -> ImageStore | None:
    """Returns a store that is finished and sound."""
    sizes = {"images": math.prod(shape), "facts": shape[0] * _FACTS.itemsize}
    paths = [folder / name for name in sizes]
    if not (folder / _HEAD).exists() or [_size(path) for path in paths] != list(sizes.values()):
        return None
    store = ImageStore(folder, shape)
    return store if store.agrees() and (source is None or store.agrees(source)) else None


def _make(folder: Path, shape: tuple[int, int, int, int], blocks: Blocks, what: str, say: Say) -> None:
    """Writes the images that are missing."""
    (folder / _HEAD).unlink(missing_ok=True)
    paths, size, made = (
        [folder / "images.part", folder / "facts.part"],
        math.prod(shape[1:]),
        _made(folder, shape),
    )
    if (shape[0] - made) * (size + _FACTS.itemsize) > shutil.disk_usage(folder).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    progress, safe = Progress(say, what, shape[0]), made
    with _continued(paths[0], made * size) as images, _continued(paths[1], made * _FACTS.itemsize) as facts:
        for pixels, labels in blocks(made):
            _write(images, np.ascontiguousarray(pixels))
            _write(facts, _facts(pixels, labels))
            made += len(pixels)
            progress.done(made)
            if (made - safe) * size >= _SAFE_EVERY or made == shape[0]:
                for file in (images, facts):
                    os.fsync(file.fileno())
                safe = made
    if made != shape[0]:
        raise ValueError(f"{folder}: {made:,} images came where {shape[0]:,} were expected; remove it")
    for path in paths:
        os.replace(path, path.with_suffix(""))


def _made(folder: Path, shape: tuple[int, int, int, int]) -> int:
    """Returns how many images of an unfinished store are whole, as their digests tell."""
    images, facts, size = folder / "images.part", folder / "facts.part", math.prod(shape[1:])
    count = min(_size(images) // size, _size(facts) // _FACTS.itemsize, shape[0])
    if not count:
        return 0
    digests, written = np.fromfile(facts, _FACTS, count)["digest"], np.memmap(images, np.uint8, "r")
    unsafe = range(max(0, count - 2 * _SAFE_EVERY // size), count)  # those before were flushed
    return next(
        (i for i in unsafe if digest_of(written[i * size : (i + 1) * size]) != digests[i].tobytes()), count
    )


def _facts(pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    facts = np.empty(len(pixels), _FACTS)
    facts["digest"] = [np.void(digest_of(image)) for image in pixels]
    facts["highest"] = pixels.max(axis=(1, 2, 3))
    facts["label"] = labels
    return facts


@contextlib.contextmanager
def _continued(path: Path, size: int) -> Iterator[BinaryIO]:
    """Yields a file that is written from a place on, without what was behind it."""
    with path.open("ab", buffering=0) as file:
        file.truncate(size)
        yield file


def _write(file: BinaryIO, values: np.ndarray) -> None:
    rest = values.reshape(-1).view(np.uint8).data
    while rest:  # of a disk that is nearly full only a part is taken
        rest = rest[file.write(rest) :]


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _refusal(folder: Path, shape: tuple[int, int, int, int], error: OSError) -> ValueError:
    if error.errno not in _FULL:
        return ValueError(f"images cannot be kept in {folder} ({error}); take another --cache_dir")
    missing, free = shape[0] - _made(folder, shape), shutil.disk_usage(folder).free
    needed = missing * math.prod(shape[1:])
    return ValueError(
        f"the disk of {folder} is full: {missing:,} of {shape[0]:,} images need {needed / 1e9:.1f} GB more, "
        f"{free / 1e9:.1f} GB are free. What is there is kept, and the same command goes on from it: make room, or "
        "take another --cache_dir, a smaller --image_size or --train_examples"
    )
