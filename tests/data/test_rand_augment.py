"""RandAugment: every change, each image by its own draws, against Pillow where that has it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from hmnas_tf.data.rand_augment import CHANGES, rand_augment

SEED = tf.constant([3, 14], tf.int64)


def images(count: int, channels: int = 3) -> tf.Tensor:
    values = np.random.default_rng(0).normal(110, 40, (count, 20, 18, channels))
    return tf.cast(np.clip(values, 0, 255), tf.uint8)


def test_there_are_the_changes_of_the_paper():
    assert len(CHANGES) == 14


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", sorted(CHANGES))
def test_a_change_is_a_function_of_the_seed(name, channels):
    batch = tf.cast(images(8, channels), tf.float32)
    first, again, other = (
        CHANGES[name](batch, tf.constant(seed, tf.int64)).numpy() for seed in ([3, 1], [3, 1], [3, 2])
    )
    assert first.shape == batch.shape
    assert np.isfinite(first).all()
    assert first.tobytes() == again.tobytes()
    colours_of_three = name == "saturation" and channels != 3
    if name == "none" or colours_of_three:
        np.testing.assert_array_equal(first, batch)
        return
    assert (np.abs(first - batch.numpy()).max(axis=(1, 2, 3)) > 0).mean() > 0.5
    drawn = name not in ("contrast_stretched", "equalized")
    assert (first != other).any() == drawn


def test_all_images_of_a_batch_may_be_of_one_change(monkeypatch):
    """Then none is of any other."""
    drawn = tf.random.stateless_uniform

    def none(shape, *arguments, **named):
        return (
            tf.fill(shape, 0)
            if arguments and arguments[-1] is tf.int32
            else drawn(shape, *arguments, **named)
        )

    monkeypatch.setattr(tf.random, "stateless_uniform", none)
    np.testing.assert_array_equal(rand_augment(images(3), SEED), images(3))


def test_each_image_has_its_own_changes_and_a_graph_computes_the_same():
    batch = tf.repeat(images(1), 60, axis=0)
    first = rand_augment(batch, SEED).numpy()
    assert first.dtype == np.uint8
    assert len({image.tobytes() for image in first}) > 50
    compiled = next(iter(tf.data.Dataset.from_tensors(SEED).map(lambda seed: rand_augment(batch, seed))))
    assert np.abs(first.astype(int) - compiled.numpy()).max() <= 1
    assert (first != rand_augment(batch, SEED + 1).numpy()).any()


@pytest.mark.parametrize(
    ("name", "function"), [("equalized", ImageOps.equalize), ("contrast_stretched", ImageOps.autocontrast)]
)
def test_histograms_are_those_of_each_image_as_pillow_has_them(name, function):
    batch = np.random.default_rng(0).normal(110, 20, (6, 40, 30, 3)).clip(0, 255).astype(np.uint8)
    batch[5] = 77  # one colour has nothing to stretch
    result = CHANGES[name](tf.cast(batch, tf.float32), SEED).numpy()
    for image, own in zip(batch, result, strict=True):
        assert np.abs(own - np.asarray(function(Image.fromarray(image)))).max() < 1.01


def test_what_is_brighter_than_the_threshold_is_turned_over():
    batch = tf.cast(images(200), tf.float32)
    result = CHANGES["solarized"](batch, SEED).numpy()
    same = result == batch.numpy()
    np.testing.assert_array_equal(result[~same], 255 - batch.numpy()[~same])
    assert same[batch.numpy() < 127].all()
    assert 0.01 < (~same).mean() < 0.4
