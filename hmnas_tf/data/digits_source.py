"""The handwritten digits inside scikit-learn: real images that need no download."""

from __future__ import annotations

import numpy as np

from hmnas_tf.data.image_dataset import ImageDataset
from hmnas_tf.data.memory import check_fits
from hmnas_tf.data.resizing import resize_array


def load_digits(image_size: int = 0) -> ImageDataset:
    """Loads 1,797 real 8x8 grey digits, about 80 % for training and 20 % for testing.

    For first steps and tests, in seconds and offline. The split is fixed, whatever the seed of a run: of
    every class, each fifth image in the order of the file is a test image. An honest warning: what
    scikit-learn carries is the *test* half of UCI's "Optical Recognition of Handwritten Digits", and its 13
    writers appear on both sides of this split, so the test error is lower than it would be for unseen
    writers; never compare it with UCI's numbers.

    Args:
        image_size: side to resize to, pixels; 0 keeps 8.

    Returns:
        A dataset of 1,442 training and 355 test images, uint8 (values 0..16 scaled to 0..255), one channel.
        No flips: a mirrored digit is another sign.

    References:
        Alpaydin and Kaynak, https://archive.ics.uci.edu/dataset/80; `sklearn.datasets.load_digits`.
    """
    from sklearn import datasets  # costs a second, and only this source needs it

    digits = datasets.load_digits()
    images = np.round(digits.images * (255.0 / 16.0)).astype(np.uint8)[..., None]  # [N, 8, 8, 1]
    check_fits("digits", len(images), (image_size or 8, image_size or 8, 1))
    images = resize_array(images, image_size)
    labels = digits.target.astype(np.int32)
    test = np.zeros(len(labels), bool)
    for label in range(10):
        test[np.flatnonzero(labels == label)[4::5]] = True
    return ImageDataset(
        name="digits",
        version="1.0",
        x_train=images[~test],
        y_train=labels[~test],
        x_test=images[test],
        y_test=labels[test],
        class_names=tuple("0123456789"),
        augmentation=("crop", "cutout"),
    )
