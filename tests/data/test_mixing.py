"""MixUp and CutMix: images and labels are mixed alike, by Keras' layers and the seed alone."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.data import AUGMENTATIONS, augmentation, training_batches
from hmnas_tf.data.augmentation import augment_and_normalise, mixed
from hmnas_tf.data.keras_augmentation import FoldedSeeds
from hmnas_tf.data.mixing import cutmix, mixup

SEED = tf.constant([3, 14], tf.int64)
CLASSES = 5
MIXING = sorted(name for name, own in AUGMENTATIONS.items() if own.mixes)


def batch(count: int = 40, size: int = 16) -> tuple[tf.Tensor, tf.Tensor]:
    """Images that are all of one value, their number, and their labels."""
    numbers = tf.range(count)
    images = tf.broadcast_to(tf.cast(numbers, tf.float32)[:, None, None, None], (count, size, size, 2))
    return images, numbers % CLASSES


def test_those_that_mix_are_these():
    assert MIXING == ["cutmix", "mixup"]


@pytest.mark.parametrize("name", MIXING)
def test_mixing_is_a_function_of_the_seed_and_keeps_the_sum_of_a_label(name):
    images, labels = batch()
    first, again, other = (
        mixed(images, labels, tf.constant(seed, tf.int64), ["flip", name], CLASSES)
        for seed in ([3, 1], [3, 1], [3, 2])
    )
    for one, two in zip(first, again, strict=True):
        assert one.numpy().tobytes() == two.numpy().tobytes()
    assert (first[0].numpy() != other[0].numpy()).any()
    assert first[1].shape == (40, CLASSES)
    np.testing.assert_allclose(tf.reduce_sum(first[1], axis=1), 1.0, atol=1e-5)
    assert float(tf.reduce_min(first[1])) >= 0
    graph = tf.data.Dataset.from_tensors(0).map(
        lambda _: mixed(images, labels, tf.constant([3, 1], tf.int64), [name], CLASSES)
    )
    for one, two in zip(first, next(iter(graph)), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


def test_mixup_is_that_of_keras_with_the_same_draws():
    images, labels = batch()
    shares = tf.one_hot(labels, CLASSES)
    layer = keras.layers.MixUp(0.2, seed=0)
    drawn = layer.get_random_transformation(images, seed=FoldedSeeds(SEED))
    result = mixup(images, shares, SEED)
    np.testing.assert_array_equal(result[0], layer.transform_images(images, drawn))
    np.testing.assert_array_equal(result[1], layer.transform_labels(shares, drawn))
    numbers = np.arange(40)
    weight, other = drawn["mix_weight"].numpy(), numbers[drawn["permutation_order"].numpy()]
    np.testing.assert_allclose(
        result[0][:, 0, 0, 0], weight * numbers + (1 - weight) * other, rtol=1e-5, atol=1e-5
    )
    eye = np.eye(CLASSES)
    expected = weight[:, None] * eye[labels] + (1 - weight)[:, None] * eye[other % CLASSES]
    np.testing.assert_allclose(result[1], expected, atol=1e-6)


def test_cutmix_puts_a_rectangle_in_and_mixes_the_label_by_its_area():
    images, labels = batch(60, 32)
    result, shares = (value.numpy() for value in cutmix(images, tf.one_hot(labels, CLASSES), SEED))
    areas = []
    for number, image in enumerate(result[..., 0]):
        inside = image != number
        areas.append(inside.mean())
        if not inside.any():
            continue
        rows, columns = np.nonzero(inside.any(axis=1))[0], np.nonzero(inside.any(axis=0))[0]
        part = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert len(np.unique(part)) == 1
        other = int(part[0, 0]) % CLASSES
        expected = (
            np.eye(CLASSES)[number % CLASSES] * (1 - inside.mean()) + np.eye(CLASSES)[other] * inside.mean()
        )
        assert np.abs(shares[number] - expected).max() < 0.07  # of the border's pixels
    assert np.std(areas) > 0.2  # every share of the area is as likely


def test_both_go_on_with_each_others_labels():
    images, labels = batch()
    once = mixed(images, labels, SEED, ["mixup"], CLASSES)
    twice = mixed(images, labels, SEED, ["mixup", "cutmix"], CLASSES)
    expected = cutmix(*once, augmentation._own_seed(SEED, "cutmix"))
    for one, two in zip(twice, expected, strict=True):
        np.testing.assert_array_equal(one, two)


def test_nothing_is_mixed_unless_it_is_asked_for():
    images, labels = batch()
    assert mixed(images, labels, SEED, ["flip"], CLASSES)[1] is labels
    plain = dict(mean=(0.0, 0.0), std=(1.0, 1.0))
    pixels = tf.cast(images, tf.uint8)
    np.testing.assert_array_equal(
        augment_and_normalise(pixels, SEED, ["mixup", "flip"], **plain),
        augment_and_normalise(pixels, SEED, ["flip"], **plain),
    )


@pytest.mark.parametrize("names", [("mixup",), ("flip", "cutmix", "cutout")])
def test_a_resumed_stream_mixes_as_the_first_one_and_others_are_left_alone(names):
    x = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 1), np.uint8)
    settings = dict(batch_size=6, seed=5, augmentation=names, mean=(0.5,), std=(0.25,))

    def stream(start: int, **more):
        arrays = x, np.arange(30) % CLASSES
        return list(training_batches(*arrays, start_step=start, total_steps=7, **settings, **more))

    whole, rest = stream(0, mixed_classes=CLASSES), stream(4, mixed_classes=CLASSES)
    assert [batch[1].shape for batch in whole] == [(6, CLASSES)] * 7
    for one, two in zip(whole[4:], rest, strict=True):
        assert one[0].numpy().tobytes() == two[0].numpy().tobytes()
        assert one[1].numpy().tobytes() == two[1].numpy().tobytes()
    plain = stream(0)
    assert all(labels.dtype == tf.int32 and labels.shape == (6,) for _, labels in plain)
    largest = [float(tf.reduce_max(labels)) for _, labels in whole]
    assert max(largest) <= 1.0 + 1e-6
    assert any((one[0] != two[0]).numpy().any() for one, two in zip(whole, plain, strict=True))
