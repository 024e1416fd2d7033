"""Augmentations by Keras' own layers, with every draw a function of the batch's seed instead of a counting variable."""

from __future__ import annotations

import functools
from collections.abc import Callable

import keras
import tensorflow as tf

_TURN = 15 / 360  # of a full turn, at most, to either side
_STRENGTH = 0.2  # of brightness (of the whole range) and contrast, at most, up or down
_SATURATION = (0.4, 0.6)  # as Keras counts: 0.5 is the image as it is
_ERASED = (0.02, 0.33)  # share of the image (arXiv:1708.04896)
PIXELS = dict(dtype="float32", data_format="channels_last", seed=0)  # this seed is never asked


class FoldedSeeds(keras.random.SeedGenerator):
    """Seeds that follow from one seed, one after the other, for functions that ask a generator.

    Args:
        seed: integer [2].
    """

    def __init__(self, seed: tf.Tensor):  # without the variable that Keras' generator counts in
        self._seed = seed
        self._drawn = 0

    def next(self, ordered: bool = True) -> tf.Tensor:
        """Returns the next seed, integer [2]."""
        self._drawn += 1
        return tf.random.experimental.stateless_fold_in(self._seed, self._drawn)


@functools.cache
def made(make: Callable[[], keras.Layer]) -> keras.Layer:
    """Returns a layer that `make` returns, made once."""
    with tf.init_scope():  # a layer has a generator of its own, which is a variable
        return make()


def apply(make: Callable[[], keras.Layer], images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns images [B, H, W, C], changed by a layer of Keras as `seed`, integer [2], says; float32.

    Args:
        make: returns the layer, one of Keras' image preprocessing; called once.
    """
    layer = made(make)
    images = tf.cast(images, tf.float32)
    drawn = layer.get_random_transformation(images, training=True, seed=FoldedSeeds(seed))
    return tf.ensure_shape(layer.transform_images(images, drawn, training=True), images.shape)


def rotate(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Turns each image by up to 15 degrees around its centre; what comes in is black. uint8 to uint8."""
    return in_bytes(apply(_rotation, images, seed))


def colour(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Changes brightness and contrast of each image and, of three channels, the saturation. uint8 to uint8."""
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
    changed = apply(_contrast, apply(_brightness, images, seeds[0]), seeds[1])
    if images.shape[-1] == 3:
        changed = 255.0 * apply(_saturation, changed / 255.0, seeds[2])
    return in_bytes(changed)


def erase(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Zeroes a rectangle of half of the images (random erasing, arXiv:1708.04896); zero is the mean colour, since this
    runs on normalised images."""
    return apply(_erasing, images, seed)


def in_bytes(images: tf.Tensor) -> tf.Tensor:
    """Returns images in 0..255 as uint8, rounded and clipped."""
    return tf.cast(tf.clip_by_value(tf.round(images), 0.0, 255.0), tf.uint8)


def _rotation() -> keras.Layer:
    return keras.layers.RandomRotation(_TURN, fill_mode="constant", **PIXELS)


def _brightness() -> keras.Layer:
    return keras.layers.RandomBrightness(_STRENGTH, **PIXELS)


def _contrast() -> keras.Layer:
    return keras.layers.RandomContrast(_STRENGTH, **PIXELS)


def _saturation() -> keras.Layer:
    return keras.layers.RandomSaturation(_SATURATION, value_range=(0, 1), **PIXELS)


def _erasing() -> keras.Layer:
    return keras.layers.RandomErasing(
        factor=(0.5, 0.5), scale=_ERASED, fill_value=0.0, value_range=(-1.0, 1.0), **PIXELS
    )
