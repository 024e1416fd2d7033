"""The digits inside scikit-learn."""

from __future__ import annotations

import numpy as np

from hmnas_tf.data import load_dataset


def test_all_1797_images_once_and_nothing_on_both_sides():
    dataset = load_dataset("digits")
    assert len(dataset.x_train) == 1442
    assert len(dataset.x_test) == 355
    together = np.concatenate([dataset.x_train, dataset.x_test]).reshape(1797, 64)
    assert len(np.unique(together, axis=0)) == 1797  # no image occurs twice, so none leaks


def test_images_are_the_real_ones_scaled():
    from sklearn.datasets import load_digits

    dataset, source = load_dataset("digits"), load_digits()
    assert dataset.image_shape == (8, 8, 1)
    assert dataset.x_train.max() == 255
    test = {image.tobytes(): label for image, label in zip(dataset.x_test, dataset.y_test, strict=True)}
    found = 0
    for image, label in zip(source.images, source.target, strict=True):
        scaled = np.round(image / 16 * 255).astype(np.uint8).tobytes()
        found += scaled in test and test[scaled] == label
    assert found == 355


def test_split_is_stratified_and_fixed():
    first, second = load_dataset("digits", seed=0), load_dataset("digits", seed=1)
    assert np.array_equal(first.x_test, second.x_test)
    share = np.bincount(first.y_test) / (np.bincount(first.y_test) + np.bincount(first.y_train))
    assert share.shape == (10,)
    assert (abs(share - 0.2) < 0.01).all()


def test_digits_are_not_flipped():
    assert load_dataset("digits").augmentation == ("crop", "cutout")


def test_size_and_counts_are_honoured():
    dataset = load_dataset("digits", image_size=16, train_examples=100, test_examples=50)
    assert dataset.x_train.shape == (100, 16, 16, 1)
    assert dataset.x_test.shape == (50, 16, 16, 1)
    plain = load_dataset("digits", train_examples=100)
    assert abs(dataset.x_train.mean() - plain.x_train.mean()) < 3  # the same pictures, only larger
    assert len(set(dataset.y_train)) == 10
