"""RandAugment, put together of Keras' layers: its own layer changes all images of a batch in one way, and no seed
can be given to it."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from hmnas_tf.data.keras_augmentation import PIXELS, apply, in_bytes
from hmnas_tf.data.torchvision_augmentation import brightness, contrast, saturation

_CHANGES = 2  # of each image, one after the other
# Strengths at most, up or down, half of the paper's largest: on average 7.5 of its 30.
_TURN = 15 / 360  # of a full turn
_SHEAR = 0.15
_MOVE = 0.225  # of the side
_COLOUR = 0.45
_BITS = (4, 8)  # left of 8, the second one excluded
_SOLARIZED = (127.5, 255.0)  # what is brighter is turned over

Change = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # (float32 [B, H, W, C] in 0..255, seed [2]) -> the same


def rand_augment(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Changes each image twice, by one of 14 changes and a strength that are drawn anew; uint8 to uint8.

    Reference: Cubuk et al., arXiv:1909.13719. Each image has its own draws. One that a number of channels does not
    allow leaves the image as it is.
    """
    shape, count = images.shape, tf.shape(images)[0]
    images = tf.cast(images, tf.float32)
    for own in tf.unstack(tf.random.experimental.stateless_split(seed, _CHANGES)):
        seeds = tf.unstack(tf.random.experimental.stateless_split(own, len(CHANGES) + 1))
        drawn = tf.random.stateless_uniform([count], seeds[-1], 0, len(CHANGES), tf.int32)
        parts = tf.dynamic_partition(images, drawn, len(CHANGES))
        places = tf.dynamic_partition(tf.range(count), drawn, len(CHANGES))
        changed = [
            _some(change, part, own)
            for change, part, own in zip(CHANGES.values(), parts, seeds, strict=False)
        ]
        images = tf.ensure_shape(tf.dynamic_stitch(places, changed), shape)
    return in_bytes(images)


def _some(change: Change, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns images changed, also if there is none; some of Keras' layers need at least one."""
    with_black = tf.pad(images, [[0, 1], [0, 0], [0, 0], [0, 0]])
    return change(with_black, seed)[:-1]


def _by_factors(function: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Change:
    def change(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        bounds = (1 - _COLOUR, 1 + _COLOUR)
        return function(images, tf.random.stateless_uniform(tf.shape(images)[:1], seed, *bounds))

    return change


def _solarized(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    # Keras' layer takes its lower bound for a value of a pixel, and its upper one for a share of white.
    most = tf.random.stateless_uniform([tf.shape(images)[0], 1, 1, 1], seed, *_SOLARIZED)
    return tf.where(images < most, images, 255.0 - images)


def _equalized(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    # Pillow's formula. Keras' layer counts the values of all images together.
    shape = tf.shape(images)
    values = tf.reshape(
        tf.transpose(tf.cast(in_bytes(images), tf.int32), [0, 3, 1, 2]), [shape[0] * shape[3], -1]
    )
    counts = tf.math.bincount(values, minlength=256, maxlength=256, axis=-1)  # [B * C, 256]
    highest = tf.gather(counts, tf.reduce_max(values, axis=-1), axis=1, batch_dims=1)
    step = (shape[1] * shape[2] - highest)[:, None] // 255
    table = (tf.cumsum(counts, axis=-1, exclusive=True) + step // 2) // tf.maximum(step, 1)
    table = tf.where(step == 0, tf.range(256), tf.minimum(table, 255))
    equal = tf.reshape(tf.gather(table, values, axis=1, batch_dims=1), tf.gather(shape, [0, 3, 1, 2]))
    return tf.cast(tf.transpose(equal, [0, 2, 3, 1]), tf.float32)


def _by_layer(make: Callable[[], keras.Layer]) -> Change:
    return lambda images, seed: apply(make, images, seed)


def _layers() -> dict[str, Callable[[], keras.Layer]]:
    black, layers = dict(fill_mode="constant", **PIXELS), keras.layers
    of_pixels = dict(value_range=(0, 255), **PIXELS)
    return {
        "rotate": lambda: layers.RandomRotation(_TURN, **black),
        "shear_x": lambda: layers.RandomShear(x_factor=(0.0, _SHEAR), y_factor=(0.0, 0.0), **black),
        "shear_y": lambda: layers.RandomShear(x_factor=(0.0, 0.0), y_factor=(0.0, _SHEAR), **black),
        "move_x": lambda: layers.RandomTranslation(0.0, _MOVE, **black),
        "move_y": lambda: layers.RandomTranslation(_MOVE, 0.0, **black),
        "sharpness": lambda: layers.RandomSharpness(((1 - _COLOUR) / 2, (1 + _COLOUR) / 2), **of_pixels),
        "posterize": lambda: layers.RandomPosterization(_BITS, **of_pixels),
        "contrast_stretched": lambda: layers.AutoContrast(value_range=(0, 255), dtype="float32"),
    }


CHANGES: dict[str, Change] = {
    "none": lambda images, seed: images,
    "brightness": _by_factors(brightness),
    "contrast": _by_factors(contrast),
    "saturation": _by_factors(saturation),
    "solarized": _solarized,
    "equalized": _equalized,
    **{name: _by_layer(make) for name, make in _layers().items()},
}
