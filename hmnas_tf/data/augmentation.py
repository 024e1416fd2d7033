"""Stateless augmentation of whole uint8 batches, in the order DARTS uses: crop, flip, normalise, cutout."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from hmnas_tf.data import keras_augmentation


class Augmentation(NamedTuple):
    """A random change of a batch and the side of the normalisation it belongs to."""

    function: Callable[
        [tf.Tensor, tf.Tensor], tf.Tensor
    ]  # (images [B,H,W,C], seed [2]) -> the same shape, dtype
    after_normalising: bool = False


def normalise(images: tf.Tensor, mean: Sequence[float], std: Sequence[float]) -> tf.Tensor:
    """Scales uint8 images to zero mean and unit variance per channel.

    The one place where pixels become floats: training, evaluation and prediction all pass here.

    Args:
        images: uint8 [..., C], values 0..255.
        mean: C floats, per channel, of pixels scaled to 0..1.
        std: C floats > 0, likewise.

    Returns:
        float32, the shape of `images`: (x / 255 - mean) / std.
    """
    scaled = tf.cast(images, tf.float32) / 255.0
    return (scaled - tf.constant(mean, tf.float32)) / tf.constant(std, tf.float32)


def augment_and_normalise(
    images: tf.Tensor, seed: tf.Tensor, names: Sequence[str], mean: Sequence[float], std: Sequence[float]
) -> tf.Tensor:
    """Augments and normalises one batch; the same arguments always give the same bits.

    Every augmentation draws from its own seed, folded with its name, so that adding or removing one leaves
    the random numbers of the others alone.

    Args:
        images: uint8 [B, H, W, C].
        seed: integer [2], different for every batch, for instance (seed of the run, global step).
        names: keys of `AUGMENTATIONS`; empty for none. Those before the normalisation run in this order, then
            those after it.
        mean: C floats, of pixels scaled to 0..1.
        std: C floats > 0.

    Returns:
        float32 [B, H, W, C].

    Raises:
        ValueError: a name is not in `AUGMENTATIONS`.
    """
    check_augmentation(names)
    for name in names:
        if not AUGMENTATIONS[name].after_normalising:
            images = AUGMENTATIONS[name].function(images, _own_seed(seed, name))
    images = normalise(images, mean, std)
    for name in names:
        if AUGMENTATIONS[name].after_normalising:
            images = AUGMENTATIONS[name].function(images, _own_seed(seed, name))
    return images


def check_augmentation(names: Sequence[str]) -> None:
    """Raises ValueError, naming what is accepted, when one of `names` is no key of `AUGMENTATIONS`."""
    for name in names:
        if name not in AUGMENTATIONS:
            raise ValueError(f"augmentation must be among {', '.join(sorted(AUGMENTATIONS))}, got {name!r}")


def random_crop(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Pads each side with black by an eighth of the size (4 at 32), then crops each image at random."""
    height, width = images.shape[1:3]
    pad_y, pad_x = max(1, height // 8), max(1, width // 8)
    top, left = _random_integers(seed, tf.shape(images)[0], (2 * pad_y + 1, 2 * pad_x + 1))
    images = tf.pad(images, [[0, 0], [pad_y, pad_y], [pad_x, pad_x], [0, 0]])
    rows = top[:, None] + tf.range(height)  # [B, H]
    columns = left[:, None] + tf.range(width)  # [B, W]
    return tf.gather(tf.gather(images, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)


def random_flip(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors half of the images left to right."""
    (side,) = _random_integers(seed, tf.shape(images)[0], (2,))
    return tf.where((side == 1)[:, None, None, None], images[:, :, ::-1], images)


def cutout(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Zeroes a square of half the shorter side (16 at 32) around a random pixel, clipped at the borders.

    Zero is the mean colour, since this runs on normalised images. Reference: DeVries and Taylor,
    arXiv:1708.04552; the square spans [centre - side // 2, centre + side // 2) as in DARTS.
    """
    height, width = images.shape[1:3]
    half = min(height, width) // 4
    centre_y, centre_x = _random_integers(seed, tf.shape(images)[0], (height, width))
    from_y, from_x = (
        tf.range(height) - centre_y[:, None],
        tf.range(width) - centre_x[:, None],
    )  # [B, H], [B, W]
    in_rows, in_columns = (from_y >= -half) & (from_y < half), (from_x >= -half) & (from_x < half)
    hidden = in_rows[:, :, None, None] & in_columns[:, None, :, None]  # [B, H, W, 1]
    return tf.where(hidden, tf.zeros((), images.dtype), images)


def _own_seed(seed: tf.Tensor, name: str) -> tf.Tensor:
    """A seed for the augmentation `name`; crc32 because Python's hash of a string changes from run to run."""
    return tf.random.experimental.stateless_fold_in(seed, tf.constant(zlib.crc32(name.encode()), tf.int64))


def _random_integers(seed: tf.Tensor, batch: tf.Tensor, bounds: Sequence[int]) -> list[tf.Tensor]:
    """One int32 [batch] per bound, uniform in [0, bound): every image of a batch has its own draw."""
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, len(bounds)))
    return [
        tf.random.stateless_uniform([batch], own, 0, bound, tf.int32)
        for own, bound in zip(seeds, bounds, strict=True)
    ]


AUGMENTATIONS: dict[str, Augmentation] = {
    "colour": Augmentation(keras_augmentation.colour),
    "crop": Augmentation(random_crop),
    "cutout": Augmentation(cutout, after_normalising=True),
    "erase": Augmentation(keras_augmentation.erase, after_normalising=True),
    "flip": Augmentation(random_flip),
    "rotate": Augmentation(keras_augmentation.rotate),
}
