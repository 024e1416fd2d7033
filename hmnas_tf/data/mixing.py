"""Augmentations that mix two images of a batch, and with them their labels, by Keras' own layers."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from hmnas_tf.data.keras_augmentation import PIXELS, FoldedSeeds, made

_ALPHA = 0.2  # of the beta distribution of MixUp's shares: most images keep nearly all of themselves
_AREA = (1.0, 1.0)  # the same of CutMix, between which it is drawn: with 1 every share is as likely


def mixup(images: tf.Tensor, shares: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Adds each image and another one of the batch, with shares that sum to 1 (arXiv:1710.09412).

    Args:
        images: float32 [B, H, W, C], normalised.
        shares: of the classes in each image, float32 [B, classes].
        seed: integer [2].

    Returns:
        Images and shares, mixed alike.
    """
    return _mixed(_mixup, images, shares, seed)


def cutmix(images: tf.Tensor, shares: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Puts a rectangle of another image of the batch into each (arXiv:1905.04899); arguments as of `mixup`.

    Labels are mixed by the rectangle's area before its borders fall onto pixels.
    """
    return _mixed(_cutmix, images, shares, seed)


def _mixed(
    make: Callable[[], keras.Layer], images: tf.Tensor, shares: tf.Tensor, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    layer = made(make)
    drawn = layer.get_random_transformation(images, training=True, seed=FoldedSeeds(seed))
    mixed = layer.transform_images(images, drawn, training=True)
    shares = tf.ensure_shape(layer.transform_labels(shares, drawn, training=True), shares.shape)
    return tf.ensure_shape(mixed, images.shape), shares


def _mixup() -> keras.Layer:
    return keras.layers.MixUp(_ALPHA, **PIXELS)


def _cutmix() -> keras.Layer:
    return keras.layers.CutMix(_AREA, **PIXELS)
