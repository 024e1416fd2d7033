"""A file of images that is mapped into memory: asked for ahead, and let go of."""

from __future__ import annotations

import atexit
import math
import mmap
import threading
import time
import weakref
from pathlib import Path

import numpy as np

_GIVEN_BACK_EVERY = 0.2  # seconds
_AT_REST = 0.5  # seconds without a question, after which a stream has nothing more to ask
_last_asked = -math.inf  # seconds


class MappedImages:
    """Images in a file, as an array that is read when it is looked at.

    Args:
        path: of the file.
        shape: (number, height, width, channels); the file has that many bytes.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int, int]):
        file = np.memmap(path, np.uint8, "r", shape=shape)
        self.array, self._mapped = np.asarray(file), file._mmap
        _keep_giving_back(self._mapped)

    def expect(self, index: np.ndarray) -> None:
        """Lets the system fetch images that are about to be read, many at once: one by one a disk mostly waits.

        Args:
            index: numbers of the images, integers [k].
        """
        global _last_asked
        _last_asked = time.monotonic()
        size = math.prod(self.array.shape[1:])
        for number in index.tolist():
            start = number * size // mmap.PAGESIZE * mmap.PAGESIZE
            self._mapped.madvise(mmap.MADV_WILLNEED, start, (number + 1) * size - start)


def _keep_giving_back(mapped: mmap.mmap) -> None:
    """Lets go of the pages of a mapped file again and again, as long as it is mapped.

    The system keeps them while it has room for them. Else they would count as memory of this process, up to all there
    is, and whoever limits or watches that could not tell them from what is really needed.
    """
    own = weakref.ref(mapped)

    def give_back() -> None:
        while (file := own()) is not None:
            file.madvise(mmap.MADV_DONTNEED)
            del file
            time.sleep(_GIVEN_BACK_EVERY)

    threading.Thread(target=give_back, daemon=True, name="mapped images").start()


@atexit.register
def _wait_for_streams() -> None:
    """Lets streams that nobody reads any more come to rest before Python ends.

    A thread of TensorFlow that asked then would wait for Python, and Python, which takes the stream apart, for it.
    """
    until = time.monotonic() + 20 * _AT_REST
    while _last_asked + _AT_REST > time.monotonic() < until:
        time.sleep(_AT_REST / 10)
