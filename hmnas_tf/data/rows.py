"""Some images of an array, without a copy of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from hmnas_tf.data.resizing import central

if TYPE_CHECKING:
    from hmnas_tf.data.image_store import ImageStore

_BLOCK = 1 << 22  # bytes of images looked at together
_AHEAD = 8  # such blocks that a disk is asked for before they are looked at


class Rows:
    """Images that are rows of a larger array, in an order of their own. What is read of them is copied, no more.

    So images that are held out, classes that are drawn and the middle of test images cost no memory, and what is on
    disk stays there. NumPy's functions take it for an array, and read all of it.

    Args:
        source: uint8 [N, H, W, C], in memory or mapped from a file.
        index: of the rows, integers [n].
        store: what `source` is the file of; None in memory.
        size: height and width of the middle that is cut out of each, pixels; None is all of it.
    """

    def __init__(
        self,
        source: np.ndarray,
        index: np.ndarray,
        store: ImageStore | None = None,
        size: tuple[int, int] | None = None,
    ):
        self.source, self.index, self.store = source, np.asarray(index, np.int64), store
        self.size = tuple(size or source.shape[1:3])

    @property
    def dtype(self) -> np.dtype:
        """uint8."""
        return self.source.dtype

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, height, width, channels)."""
        return len(self.index), *self.size, self.source.shape[3]

    @property
    def ndim(self) -> int:
        """4."""
        return self.source.ndim

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, which: Any) -> np.ndarray:
        """Reads an image, [H, W, C], or those that a slice, numbers or bools choose, [k, H, W, C]."""
        if which is Ellipsis or isinstance(which, tuple):
            return np.asarray(self)[which]
        return central(self.source[self.index[which]], *self.size)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def chosen(self, which: slice | np.ndarray) -> Rows:
        """Returns rows of these rows, without reading any."""
        return Rows(self.source, self.index[which], self.store, self.size)


Images = np.ndarray | Rows  # uint8 [N, H, W, C]


def chosen(images: Images, which: slice | np.ndarray) -> Images:
    """Returns some images without a copy of them: of an array a view, or rows of it.

    Args:
        images: uint8 [N, H, W, C].
        which: a slice, or bools [N].
    """
    if isinstance(images, Rows):
        return images.chosen(which)
    return images[which] if isinstance(which, slice) else Rows(images, np.flatnonzero(which))


def middle(images: Images, height: int, width: int) -> Images:
    """Returns the middle of each image without a copy; those that have the size stay what they are."""
    if images.shape[1:3] == (height, width):
        return images
    if isinstance(images, Rows):
        return Rows(images.source, images.index, images.store, (height, width))
    return Rows(images, np.arange(len(images)), size=(height, width))


def whole(images: Images) -> Images:
    """Returns images with the border that `middle` has left out."""
    return Rows(images.source, images.index, images.store) if isinstance(images, Rows) else images


def blocks(values: Images) -> Iterator[np.ndarray]:
    """Yields an array, or rows, in pieces of some megabytes, each in one piece of memory."""
    step = max(1, _BLOCK * len(values) // max(1, math.prod(values.shape)))
    store = values.store if isinstance(values, Rows) else None
    for start in range(0, len(values), step):
        if store:
            store.mapped.expect(
                values.index[start + _AHEAD * step if start else 0 : start + (_AHEAD + 1) * step]
            )
        yield np.ascontiguousarray(values[start : start + step])
