"""Images with a border for random crops: who has it, and how large it is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hmnas_tf.data import dataset_from, load_dataset
from hmnas_tf.data.augmentation import stored_size
from hmnas_tf.data.centre import as_evaluated, centred
from hmnas_tf.data.resizing import central

CROP = ("flip", "random_resized_crop")


@pytest.mark.parametrize(("size", "stored"), [(224, 256), (160, 182), (32, 36), (14, 16), (8, 10), (0, 0)])
def test_imagenets_256_at_224_at_other_sizes(size, stored):
    assert stored_size(size, CROP) == stored
    for names in ((), ("auto",), ("none",), ("crop", "flip", "mixup")):
        assert stored_size(size, names) == size


def test_the_middle_is_cut_out_of_arrays_of_any_rank():
    images = np.arange(2 * 6 * 7).reshape(2, 6, 7, 1)
    assert central(images, 6, 7) is images
    np.testing.assert_array_equal(central(images, 4, 3), images[:, 1:5, 2:5])
    np.testing.assert_array_equal(central(images[0], 2, 7), images[0, 2:4])


def test_images_held_out_are_cut_as_test_images_are():
    plain = load_dataset("digits", image_size=16)
    dataset = load_dataset("digits", image_size=14, augmentation=CROP, holdout=0.25)
    assert dataset.x_train.shape[1:] == (16, 16, 1)
    assert dataset.image_shape == dataset.x_test.shape[1:] == (14, 14, 1)
    held = {image.tobytes() for image in dataset.x_test}
    assert len(dataset.x_test) == pytest.approx(len(plain.x_train) / 4, abs=10)
    assert held <= {image.tobytes() for image in plain.x_train[:, 1:15, 1:15]}
    np.testing.assert_array_equal(as_evaluated(dataset, slice(3)), dataset.x_train[:3, 1:15, 1:15])
    few = dataset.of_random_classes(3, 0).take(20, 10)
    assert (few.x_train.shape, few.image_shape, few.resized) == ((20, 16, 16, 1), (14, 14, 1), 16)


def test_images_that_keep_their_size_have_no_border():
    dataset = load_dataset("digits", augmentation=CROP)
    assert dataset.x_train.shape[1:] == dataset.x_test.shape[1:] == (8, 8, 1)
    assert dataset.resized == 0
    assert "resized" not in dataset.describe()
    assert centred(dataset, 8) is dataset


def test_a_programs_arrays_get_a_border_too():
    images, labels = np.random.default_rng(0).integers(0, 256, (9, 20, 20, 3), np.uint8), np.arange(9) % 2
    dataset = dataset_from(((images, labels), (images, labels)), image_size=14, augmentation=CROP)
    assert (dataset.x_train.shape[1:], dataset.image_shape) == ((16, 16, 3), (14, 14, 3))


def test_other_sizes_than_those_are_refused():
    dataset = load_dataset("digits", image_size=14, augmentation=CROP)
    with pytest.raises(
        ValueError, match=r"training images are \(16, 16, 1\) but test images are \(14, 14, 1\)"
    ):
        dataclasses.replace(dataset, resized=0)
