"""Some images of an array without a copy of them, and arrays that TensorFlow reads without one."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from hmnas_tf.data.resizing import central

if TYPE_CHECKING:
    from hmnas_tf.data.image_store import ImageStore

_ALIGNED = 64  # bytes: TensorFlow ends the process over a tensor whose first byte lies elsewhere
_BLOCK = 1 << 22  # bytes of images looked at together


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
    step = max(1, _BLOCK * len(values) // max(1, int(np.prod(values.shape, dtype=np.int64))))
    for start in range(0, len(values), step):
        yield np.ascontiguousarray(values[start : start + step])


def empty(shape: tuple[int, ...]) -> np.ndarray:
    """Returns an array uint8 of any content that `as_tensor` need not copy."""
    count = int(np.prod(shape, dtype=np.int64))
    memory = np.empty(count + _ALIGNED, np.uint8)
    start = -memory.ctypes.data % _ALIGNED
    return memory[start : start + count].reshape(shape)


def aligned(images: Images) -> Images:
    """Returns images that `as_tensor` need not copy: themselves, or a copy."""
    if isinstance(images, Rows) or _shareable(images):
        return images
    copy = empty(images.shape)
    copy[...] = images
    return copy


def as_tensor(images: np.ndarray) -> tf.Tensor:
    """Returns an array as a tensor in main memory: the same bytes, or a copy where TensorFlow could not read them.

    Streams capture it. So it is not copied into their graph either, which may not exceed 2 GB.
    """
    with tf.device("CPU:0"):
        if not _shareable(images):
            return tf.constant(images, tf.uint8)
        return tf.experimental.dlpack.from_dlpack(_writeable(images).__dlpack__())


def _shareable(images: np.ndarray) -> bool:
    return bool(images.size and images.flags.c_contiguous and images.ctypes.data % _ALIGNED == 0)


def _writeable(images: np.ndarray) -> np.ndarray:
    """Returns a view that says it may be written, which DLPack asks for; nothing ever writes into such a tensor."""
    if images.flags.writeable:
        return images
    memory = (ctypes.c_uint8 * images.nbytes).from_address(images.ctypes.data)
    memory.owner = images  # lives as long as the view
    return np.frombuffer(memory, np.uint8).reshape(images.shape)
