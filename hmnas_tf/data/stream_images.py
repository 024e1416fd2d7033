"""How a stream gets the images of a batch: asked for ahead where they are on disk, and of a worker only its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from hmnas_tf.data.buffers import reader
from hmnas_tf.data.resizing import central
from hmnas_tf.data.rows import Images, Rows


def image_reader(x: Images, own: np.ndarray | None) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns what reads the images of a batch by their numbers, int64 [B].

    In the place of others than its own a worker reads its first one again.
    """
    source, rows = (x.source, on_cpu(x.index, tf.int64)) if isinstance(x, Rows) else (x, None)
    images = reader(source)

    def read(index: tf.Tensor) -> tf.Tensor:
        if own is not None:
            index = tf.where(own, index, index[int(np.argmax(own))])
        return central(images(index if rows is None else tf.gather(rows, index)), *x.shape[1:3])

    return read


def only_own(own: np.ndarray | None, images: tf.Tensor) -> tf.Tensor:
    """Makes what was not read not a number: whoever trained on it by mistake would see that at once."""
    return images if own is None else tf.where(own[:, None, None, None], images, np.nan)


def on_cpu(values: np.ndarray | tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns values as a tensor in main memory, since tf.data runs there also on a machine with GPUs."""
    with tf.device("CPU:0"):
        return values if tf.is_tensor(values) else tf.constant(values, dtype)


def asked_for(
    x: Rows, own: np.ndarray | None, numbered: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Returns what also asks the disk for the images; it does not wait for them."""

    def ask(index: np.ndarray) -> np.ndarray:
        x.store.mapped.expect(x.index[np.minimum(index if own is None else index[own], len(x) - 1)])
        return index

    def asking(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        step, index = numbered(step)
        return step, tf.ensure_shape(tf.numpy_function(ask, [index], tf.int64, stateful=False), index.shape)

    return tf.autograph.experimental.do_not_convert(asking)
