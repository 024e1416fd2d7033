"""Augmentations of the field's ImageNet recipes, by torchvision's formulas: DARTS' public code trains with them, and
Keras' layers of like names compute something else."""

from __future__ import annotations

import math

import tensorflow as tf

from hmnas_tf.data.keras_augmentation import in_bytes

_AREA = (0.08, 1.0)  # of a crop, share of the image's
_RATIO = (3 / 4, 4 / 3)  # of a crop, width by height
_TRIES = 10  # crops drawn until one fits into the image
_STRENGTH = 0.4  # of brightness, contrast and saturation, at most, up or down
_HUE = 0.2  # of a full turn, at most, to either side
_GREY = (0.299, 0.587, 0.114)  # what red, green and blue count in a grey value


def random_resized_crop(images: tf.Tensor, seed: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Cuts a rectangle out of each image, 8 to 100 % of its area and 3 : 4 to 4 : 3 in shape, and resizes it.

    Reference: Szegedy et al., arXiv:1409.4842, section 6.

    Args:
        images: uint8 [B, H, W, C].
        seed: integer [2].
        height: of the result, pixels.
        width: of the result, pixels.

    Returns:
        uint8 [B, height, width, C], bilinear and antialiased, as all pictures here change their size.
    """
    count = tf.shape(images)[0]
    boxes = tf.stack(crop_boxes(count, images.shape[1], images.shape[2], seed), axis=1)  # [B, 4]

    def cut(values: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        image, (top, left, rows, columns) = values[0], tf.unstack(values[1])
        part = image[top : top + rows, left : left + columns]
        return tf.image.resize(part, (height, width), antialias=True)

    resized = tf.map_fn(cut, (images, boxes), fn_output_signature=tf.float32)
    return tf.ensure_shape(in_bytes(resized), [images.shape[0], height, width, images.shape[3]])


def crop_boxes(count: tf.Tensor, height: int, width: int, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Returns (top, left, height, width) of a random crop for each of `count` images, int32 [count] each, in pixels.

    Area and logarithm of the ratio are uniform. Where none of ten draws fits into the image, it is the largest crop of
    an allowed ratio in the middle.
    """
    of_area, of_ratio, of_place = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
    area = height * width * tf.random.stateless_uniform([count, _TRIES], of_area, *_AREA)
    ratio = tf.exp(tf.random.stateless_uniform([count, _TRIES], of_ratio, *map(math.log, _RATIO)))
    rows, columns = (tf.cast(tf.round(tf.sqrt(side)), tf.int32) for side in (area / ratio, area * ratio))
    last = min(height, round(width / _RATIO[0])), min(width, round(height * _RATIO[1]))
    rows, columns = (
        tf.pad(side, [[0, 0], [0, 1]], constant_values=most)
        for side, most in zip((rows, columns), last, strict=True)
    )  # [count, tries + 1]
    fits = (rows > 0) & (columns > 0) & (rows <= height) & (columns <= width)
    first = tf.argmax(fits, axis=1, output_type=tf.int32)
    rows, columns = (tf.gather(side, first, axis=1, batch_dims=1) for side in (rows, columns))
    free = tf.stack([height - rows, width - columns])  # [2, count]
    drawn = tf.random.stateless_uniform([2, count], of_place)
    place = tf.minimum(tf.cast(drawn * tf.cast(free + 1, tf.float32), tf.int32), free)
    top, left = tf.unstack(tf.where(first == _TRIES, free // 2, place))
    return top, left, rows, columns


def color_jitter(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Changes brightness and contrast of each image by up to 40 % and, of three channels, saturation by as much and
    hue by a fifth of a turn. uint8 to uint8.

    DARTS' settings. They follow each other in this order, where torchvision draws the order as well.
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 4))
    count = tf.shape(images)[0]
    factors = [tf.random.stateless_uniform([count], own, 1 - _STRENGTH, 1 + _STRENGTH) for own in seeds[:3]]
    images = tf.cast(images, tf.float32)
    for change, own in zip((brightness, contrast, saturation), factors, strict=True):
        images = change(images, own)
    if images.shape[-1] == 3:
        images = _turned(images, tf.random.stateless_uniform([count], seeds[3], -_HUE, _HUE))
    return in_bytes(images)


def brightness(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Multiplies images, float32 [B, H, W, C] in 0..255, by factors [B]: 0 is black."""
    return _blended(images, tf.zeros_like(images[:, :1, :1, :1]), factors)


def contrast(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Moves images, float32 [B, H, W, C] in 0..255, from their mean grey by factors [B]: 0 is that grey."""
    return _blended(images, tf.reduce_mean(_grey(images), axis=(1, 2), keepdims=True), factors)


def saturation(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Moves pixels of images, float32 [B, H, W, C] in 0..255, from grey by factors [B]; changes three channels only."""
    return _blended(images, _grey(images), factors) if images.shape[-1] == 3 else images


def _turned(images: tf.Tensor, turns: tf.Tensor) -> tf.Tensor:
    hue, strength, value = tf.unstack(tf.image.rgb_to_hsv(images / 255.0), axis=-1)
    hue = tf.math.floormod(hue + turns[:, None, None], 1.0)
    return 255.0 * tf.image.hsv_to_rgb(tf.stack([hue, strength, value], axis=-1))


def _blended(images: tf.Tensor, others: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    factors = tf.reshape(factors, [-1, 1, 1, 1])
    return tf.clip_by_value(factors * images + (1.0 - factors) * others, 0.0, 255.0)


def _grey(images: tf.Tensor) -> tf.Tensor:
    """Returns the grey value of each pixel, [B, H, W, 1]; of other than three channels their mean."""
    if images.shape[-1] == 3:
        return tf.reduce_sum(images * tf.constant(_GREY), axis=-1, keepdims=True)
    return tf.reduce_mean(images, axis=-1, keepdims=True)
