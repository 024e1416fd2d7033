"""Stateless augmentation of whole uint8 batches, in DARTS' order: crop, flip, normalise, cutout; then mixing."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from hmnas_tf.data import keras_augmentation, mixing, rand_augment, torchvision_augmentation
from hmnas_tf.data.resizing import central


class Augmentation(NamedTuple):
    """A random change of a batch, where it belongs, and what it takes beside the images.

    Attributes:
        function: from (images [B, H, W, C], seed [2]) to images of the same shape and dtype.
        after_normalising: the images are normalised; else uint8.
        crops: the function also takes height and width of the result, and may be given larger images.
        mixes: the function also takes the shares of the classes, float32 [B, classes], before the seed, and returns
            both, changed; it comes after all others.
    """

    function: Callable[..., tf.Tensor | tuple[tf.Tensor, tf.Tensor]]
    after_normalising: bool = False
    crops: bool = False
    mixes: bool = False


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
    images: tf.Tensor,
    seed: tf.Tensor,
    names: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    size: tuple[int, int] | None = None,
) -> tf.Tensor:
    """Augments and normalises one batch; the same arguments always give the same bits.

    Every augmentation draws from its own seed, folded with its name, so that adding or removing one leaves
    the random numbers of the others alone.

    Args:
        images: uint8 [B, H, W, C].
        seed: integer [2], different for every batch, for instance (seed of the run, global step).
        names: keys of `AUGMENTATIONS`; empty for none. Those before the normalisation run in this order, then
            those after it. Those that mix images are left to `mixed`.
        mean: C floats, of pixels scaled to 0..1.
        std: C floats > 0.
        size: height and width of the result, pixels; None is that of the images. Where these are larger, an
            augmentation that crops does it, or the centre is cut out first, as in evaluation.

    Returns:
        float32 [B, *size, C].

    Raises:
        ValueError: a name is not in `AUGMENTATIONS`.
    """
    check_augmentation(names)
    size = tuple(size or images.shape[1:3])
    used = {name: AUGMENTATIONS[name] for name in names if not AUGMENTATIONS[name].mixes}
    if not any(augmentation.crops for augmentation in used.values()):
        images = central(images, *size)
    for name, augmentation in used.items():
        if not augmentation.after_normalising:
            images = augmentation.function(
                images, _own_seed(seed, name), *(size if augmentation.crops else ())
            )
    images = normalise(images, mean, std)
    for name, augmentation in used.items():
        if augmentation.after_normalising:
            images = augmentation.function(images, _own_seed(seed, name))
    return images


def mixed(
    images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, names: Sequence[str], classes: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mixes the images of a batch, and their labels, by those augmentations that do so; without one nothing changes.

    For batches that train weights. Architecture parameters and masks are chosen by the loss of images as they are: the
    price of an operation is in nats of it, and that of mixed labels can't fall below their entropy.

    Args:
        images: float32 [B, H, W, C], of `augment_and_normalise`.
        labels: integer [B].
        seed: integer [2], of the batch.
        names: keys of `AUGMENTATIONS`. Of several that mix, each goes on with what the one before it left.
        classes: their number.

    Returns:
        Images of the same shape, and labels: integer [B], or where something mixes the shares of the classes in each
        image, float32 [B, classes], each row of which sums to 1.
    """
    mixing_ones = [name for name in names if AUGMENTATIONS[name].mixes]
    if mixing_ones:
        labels = tf.one_hot(labels, classes)
    for name in mixing_ones:
        images, labels = AUGMENTATIONS[name].function(images, labels, _own_seed(seed, name))
    return images, labels


def stored_size(image_size: int, names: Sequence[str]) -> int:
    """Returns to which side pictures are resized for a network that takes squares of `image_size` pixels.

    An augmentation that crops has an eighth of the side more to choose from, 256 at 224, as the field trains on
    ImageNet; evaluation then takes the centre. Without one, and of images that keep their own size (0), it is
    `image_size`.
    """
    crops = any(AUGMENTATIONS[name].crops for name in names if name in AUGMENTATIONS)  # not auto, none
    return image_size + 2 * round(image_size / 14) if crops else image_size


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
    "color_jitter": Augmentation(torchvision_augmentation.color_jitter),
    "colour": Augmentation(keras_augmentation.colour),
    "crop": Augmentation(random_crop),
    "cutmix": Augmentation(mixing.cutmix, after_normalising=True, mixes=True),
    "cutout": Augmentation(cutout, after_normalising=True),
    "erase": Augmentation(keras_augmentation.erase, after_normalising=True),
    "flip": Augmentation(random_flip),
    "mixup": Augmentation(mixing.mixup, after_normalising=True, mixes=True),
    "randaugment": Augmentation(rand_augment.rand_augment),
    "random_resized_crop": Augmentation(torchvision_augmentation.random_resized_crop, crops=True),
    "rotate": Augmentation(keras_augmentation.rotate),
}
