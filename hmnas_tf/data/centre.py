"""Datasets whose training images have a border that only random crops show: evaluation sees what is in the middle."""

from __future__ import annotations

import dataclasses

import numpy as np

from hmnas_tf.data.image_dataset import ImageDataset
from hmnas_tf.data.resizing import central
from hmnas_tf.data.rows import middle


def centred(dataset: ImageDataset, size: int) -> ImageDataset:
    """Cuts the middle out of the test images, for a network that takes squares of `size` pixels.

    Args:
        dataset: of squares, all of the side that `stored_size` says.
        size: pixels; 0, or the size they have, returns the dataset as it is.
    """
    resized = dataset.x_test.shape[1]
    if size in (0, resized):
        return dataset
    return dataclasses.replace(dataset, x_test=middle(dataset.x_test, size, size), resized=resized)


def as_evaluated(dataset: ImageDataset, chosen: slice | np.ndarray) -> np.ndarray:
    """Returns some of the training images as evaluation would see them, uint8 [n, *image_shape]."""
    return central(dataset.x_train[chosen], *dataset.image_shape[:2])
