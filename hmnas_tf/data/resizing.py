"""The one way images change their size here: usually a centre crop to a square, then an antialiased resize."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from hmnas_tf.data.buffers import empty

_BYTES = 1 << 24  # of images turned to float32 at a time


def crop_and_resize(images: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes the short side to `size` and keeps the central square.

    The square is cut out first: the result is the same up to the last pixels of the border, and an image of
    1 x 10,000 pixels does not grow to an enormous one on the way.

    Args:
        images: uint8 [H, W, C] or [B, H, W, C]; H and W may be unknown while a graph is built.
        size: side of the result, pixels.

    Returns:
        uint8 [size, size, C] or [B, size, size, C].
    """
    shape = tf.shape(images)
    height, width = shape[-3], shape[-2]
    side = tf.minimum(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = images[..., top : top + side, left : left + side, :]
    return tf.cast(tf.round(tf.image.resize(square, (size, size), antialias=True)), tf.uint8)


def central(images: tf.Tensor | np.ndarray, height: int, width: int) -> tf.Tensor | np.ndarray:
    """Cuts the middle out of images [..., H, W, C], of known size; those that have the size stay what they are."""
    top, left = (images.shape[-3] - height) // 2, (images.shape[-2] - width) // 2
    if not top and not left and tuple(images.shape[-3:-1]) == (height, width):
        return images
    return images[..., top : top + height, left : left + width, :]


def fit(images: tf.Tensor, height: int, width: int, resized: int = 0) -> tf.Tensor:
    """Brings pictures of any size to the size of a network's input.

    Args:
        images: uint8 [H, W, C] or [B, H, W, C].
        height: of the result, pixels.
        width: of the result, pixels. If it is the height, `crop_and_resize` does it; else the whole picture is resized.
        resized: side that a square is resized to before the middle is cut out of it; 0 cuts nothing.

    Returns:
        uint8 [height, width, C] or [B, height, width, C].
    """
    if height == width:
        return central(crop_and_resize(images, resized or height), height, width)
    return tf.cast(tf.round(tf.image.resize(images, (height, width), antialias=True)), tf.uint8)


def resize_array(images: np.ndarray, size: int) -> np.ndarray:
    """`crop_and_resize` for a whole array, in chunks; 0, or the size it has, returns the array itself.

    Args:
        images: uint8 [N, H, W, C].
        size: side of the result, pixels; 0 leaves the images as they are.

    Returns:
        uint8 [N, size, size, C].
    """
    if size == 0 or images.shape[1:3] == (size, size):
        return images
    resized = empty((len(images), size, size, images.shape[3]))
    step = max(1, _BYTES // images[0].size)
    with tf.device("CPU:0"):
        for start in range(0, len(images), step):
            resized[start : start + step] = crop_and_resize(tf.constant(images[start : start + step]), size)
    return resized
