"""Arrays of bytes that TensorFlow reads where they lie, without a copy."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import tensorflow as tf

_ALIGNED = 64  # bytes: TensorFlow ends the process over a tensor whose first byte lies elsewhere
_ANONYMOUS = (
    "cd2c89b7-88b7-44c8-ad83-06c2a9158347"  # TensorFlow's name of a variable that goes with its last user
)


def empty(shape: tuple[int, ...]) -> np.ndarray:
    """Returns an array uint8 of any content that `as_tensor` need not copy."""
    count = int(np.prod(shape, dtype=np.int64))
    memory = np.empty(count + _ALIGNED, np.uint8)
    start = -memory.ctypes.data % _ALIGNED
    return memory[start : start + count].reshape(shape)


def aligned(images: np.ndarray) -> np.ndarray:
    """Returns bytes that `as_tensor` need not copy: the array itself, or a copy."""
    if _shareable(images):
        return images
    copy = empty(images.shape)
    copy[...] = images
    return copy


def reader(images: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function of `tf.data` that reads images by their numbers, int64 [k] to uint8 [k, H, W, C].

    The images lie in a variable, which has their own bytes if they are `aligned`. A stream that captured them as a
    tensor would be rewritten with all of them as a constant whenever it is iterated or shared by workers: copied, and
    refused from 2 GB on.
    """
    with tf.device("CPU:0"):  # tf.data runs there also on a machine with GPUs
        tensor = as_tensor(images)
        variable = tf.raw_ops.VarHandleOp(dtype=tf.uint8, shape=tensor.shape, shared_name=_ANONYMOUS)
        tf.raw_ops.AssignVariableOp(resource=variable, value=tensor)

    def read(numbers: tf.Tensor) -> tf.Tensor:
        found = tf.gather(tf.raw_ops.ReadVariableOp(resource=variable, dtype=tf.uint8), numbers)
        return tf.ensure_shape(found, [*numbers.shape, *images.shape[1:]])

    return read


def as_tensor(images: np.ndarray) -> tf.Tensor:
    """Returns an array as a tensor in main memory: the same bytes, or a copy where TensorFlow could not read them."""
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
