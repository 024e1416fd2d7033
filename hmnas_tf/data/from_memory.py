"""A dataset of what a Python program holds: arrays, or two `tf.data.Dataset`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from hmnas_tf.console.mistakes import without_place
from hmnas_tf.console.progress import Progress, Say, silent
from hmnas_tf.data.arrays import FEW_CHANNELS, KEYS, Pixels, dataset_of_arrays
from hmnas_tf.data.augmentation import stored_size
from hmnas_tf.data.buffers import empty
from hmnas_tf.data.centre import centred
from hmnas_tf.data.image_dataset import MEMORY, ImageDataset
from hmnas_tf.data.memory import check_fits

Split = tuple[ArrayLike, ArrayLike] | tf.data.Dataset  # images and labels
Pair = tuple[Split, Split]  # training and test
_BATCH = 256  # images read at a time from a pipeline without batches
_EXPECTED = "expected ((x_train, y_train), (x_test, y_test)), or two tf.data.Dataset of (image, label)"


def dataset_from(
    data: ImageDataset | Pair,
    class_names: Sequence[str] | None = None,
    *,
    name: str = "arrays",
    image_size: int = 0,
    augmentation: Sequence[str] = (),
    layout: str = "",
    say: Say = silent,
) -> ImageDataset:
    """Makes a dataset for `search` of what a program has in memory.

    `search` calls it by itself; call it to name the classes.

    Args:
        data: the training and the test set. Each is images and labels, as `keras.datasets.mnist.load_data()` returns
            them, or a finite `tf.data.Dataset` of (image, label) or {"image", "label"}, batched or not. Images are
            [H, W, C] or [H, W], uint8 or floats in 0..1 or 0..255; labels whole numbers from 0, or strings. An
            `ImageDataset` is returned as it is.
        class_names: in the order of the labels; None takes the attribute `class_names` of the training pipeline, as
            Keras' `image_dataset_from_directory` sets it, or the labels themselves.
        name: of the dataset, for `results.json`.
        image_size: side to resize to, pixels; 0 keeps the size.
        augmentation: what training is going to do, see `load_dataset`.
        layout: NHWC or NCHW, where the channels are; "" is last, and asks where they look as if they were first.
        say: shows a line of progress when reading takes long.

    Returns:
        The dataset, in memory as uint8; its version is the hash of its content.

    Raises:
        ValueError: one line about what does not fit.
    """
    if isinstance(data, ImageDataset):
        return data
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise ValueError(f"{_EXPECTED}, got {_kind(data)}; give a training and a test set")
    own = [getattr(part, "class_names", None) for part in data]
    if None not in own:
        for label, (first, second) in enumerate(itertools.zip_longest(*own)):
            if first != second:
                raise ValueError(
                    f"{name}: label {label} is {first!r} in the training pipeline but {second!r} in that for test; "
                    "give both the same class_names where they are made"
                )
    if class_names is None:
        class_names = own[0]
    train, test = Pixels(f"{name}: x_train", layout), Pixels(f"{name}: x_test", layout)
    parts = [_arrays(split, pixels, say) for split, pixels in zip(data, (train, test), strict=True)]
    test.require_scale_of(train)
    arrays = dict(zip(KEYS, (array for part in parts for array in part), strict=True))
    side = stored_size(image_size, augmentation)
    return centred(dataset_of_arrays(MEMORY + name, name, arrays, class_names, side, "NHWC"), image_size)


def _arrays(split: Split, pixels: Pixels, say: Say) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images of one split, gone through `pixels`, and its labels."""
    if isinstance(split, tf.data.Dataset):
        with tf.device("CPU:0"):
            return _read(split, pixels, say)
    what = pixels.what
    if not isinstance(split, tuple | list) or len(split) != 2:
        raise ValueError(f"{_EXPECTED}, got {_kind(split)} for {what}; give a pair of images and labels")
    if any(map(np.ma.is_masked, split)):
        raise ValueError(
            f"{what} or its labels are a masked array, and what is masked would be taken for values; fill it by "
            "x.filled(value), or leave out those images"
        )
    try:
        images, labels = map(np.asarray, split)
    except ValueError as error:  # NumPy's word for lists of different lengths
        raise ValueError(f"{what} must be one array of equally sized images: {error}; resize them") from error
    return pixels(images), labels


def _read(split: tf.data.Dataset, pixels: Pixels, say: Say) -> tuple[np.ndarray, np.ndarray]:
    """Reads a pipeline to its end, batch by batch uint8, because floats take four times the memory."""
    what, split = pixels.what, _batched(split, pixels.what)
    batches = max(int(split.cardinality()), 0)  # 0 if nobody knows
    progress = Progress(say, f"reading {what}, batches", batches)
    images, labels = [], []
    count = 0
    try:
        for batch_images, batch_labels in split.as_numpy_iterator():
            images.append(pixels(np.asarray(batch_images)))
            labels.append(np.asarray(batch_labels))
            if images[-1].shape[1:] != images[0].shape[1:]:
                raise _of_several_sizes(what, f"{images[0].shape[1:]} and {images[-1].shape[1:]}")
            count += len(images[-1])
            check_fits(what, max(count, (batches - 1) * len(images[0])), images[0].shape[1:])
            progress.done(len(images))
    except tf.errors.OpError as error:
        got = without_place(error.message)
        if "different shapes" in got:
            raise _of_several_sizes(what, got) from error
        raise ValueError(
            f"{what}: the tf.data.Dataset failed after {count:,} images: {got}; mend it, or pass over such images by "
            "ignore_errors()"
        ) from error
    if not count:
        raise ValueError(f"{what} is an empty tf.data.Dataset; it needs at least one image")
    return _joined(images, count), np.concatenate(labels)


def _joined(parts: list[np.ndarray], count: int) -> np.ndarray:
    """Returns images in one array. Each part is let go as soon as it is copied, so that there are never two of all."""
    joined, start = empty((count, *parts[0].shape[1:])), 0
    parts.reverse()
    while parts:
        part = parts.pop()
        joined[start : start + len(part)] = part
        start += len(part)
    return joined


def _batched(split: tf.data.Dataset, what: str) -> tf.data.Dataset:
    """Returns a pipeline as one of batches (images, labels)."""
    spec = split.element_spec
    if isinstance(spec, dict) and {"image", "label"} <= set(spec):
        split = split.map(lambda example: (example["image"], example["label"]))
    elif not isinstance(spec, tuple) or len(spec) != 2 or not all(hasattr(part, "shape") for part in spec):
        raise ValueError(f"{what} must have elements (image, label), got {spec}; map them to that")
    if int(split.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise ValueError(f"{what} never ends; leave out repeat(), or end it with take(N)")
    image, label = (part.shape for part in split.element_spec)
    if image.rank is None or label.rank is None:
        raise ValueError(f"{what} has elements of unknown rank, {image} and {label}; use tf.ensure_shape")
    # Of rank 3 are [H, W, C] with a label [] or [K], and [B, H, W] with labels [B] or [B, K].
    # Where both first sizes are known and the same by chance, few channels at the end tell that it is no batch.
    has_channels = image.rank == 3 and None not in (image[0], image[2]) and image[2] <= FEW_CHANNELS
    many = label.rank > 1 or (label.rank == 1 and label[0] == image[0] and not has_channels)
    return split if image.rank == 4 or (image.rank == 3 and many) else split.batch(_BATCH)


def _of_several_sizes(what: str, got: str) -> ValueError:
    return ValueError(f"{what} must hold images of one size, got {got}; resize them, as by tf.image.resize")


def _kind(value: Any) -> str:
    """Returns what a value is, for a message."""
    return f"{len(value)} items" if isinstance(value, tuple | list | dict) else f"a {type(value).__name__}"
