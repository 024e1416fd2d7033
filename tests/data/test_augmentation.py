"""Augmentation against a few lines of NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from hmnas_tf.data import AUGMENTATIONS, augment_and_normalise
from hmnas_tf.data.augmentation import cutout, normalise, random_crop, random_flip
from hmnas_tf.data.keras_augmentation import FoldedSeeds, colour, erase, rotate

SEED = tf.constant([3, 14], tf.int64)
PLAIN = {"mean": (0.0,), "std": (1.0,)}


def images(count: int, height: int, width: int, channels: int = 1) -> np.ndarray:
    """No pixel is 0, so that padding and holes can be told from content."""
    values = np.random.default_rng(0).integers(1, 256, (count, height, width, channels))
    return values.astype(np.uint8)


@pytest.mark.parametrize("shape", [(8, 8), (12, 8), (5, 20)])
def test_crop_is_a_window_of_the_padded_image(shape):
    height, width = shape
    pad_y, pad_x = max(1, height // 8), max(1, width // 8)
    batch = images(64, height, width)
    result = random_crop(tf.constant(batch), SEED).numpy()
    offsets = set()
    for before, after in zip(batch, result, strict=True):
        padded = np.pad(before, [(pad_y, pad_y), (pad_x, pad_x), (0, 0)])
        found = [
            (top, left)
            for top in range(2 * pad_y + 1)
            for left in range(2 * pad_x + 1)
            if np.array_equal(padded[top : top + height, left : left + width], after)
        ]
        assert len(found) == 1
        offsets.add(found[0])
    # one offset an image, and each of the possible ones occurs: 64 draws of 9 or 15
    assert len(offsets) == (2 * pad_y + 1) * (2 * pad_x + 1)


def test_crop_pads_by_four_at_32():
    batch = images(512, 32, 32)
    result = random_crop(tf.constant(batch), SEED).numpy()[..., 0]
    black_rows = (result == 0).all(axis=2).sum(axis=1)
    assert sorted(set(black_rows)) == [0, 1, 2, 3, 4]


def test_flip_mirrors_half_of_the_images_left_to_right():
    batch = images(4000, 2, 3)
    result = random_flip(tf.constant(batch), SEED).numpy()
    mirrored = (result == batch[:, :, ::-1]).all(axis=(1, 2, 3))
    same = (result == batch).all(axis=(1, 2, 3))
    assert (mirrored | same).all()
    assert abs(mirrored.mean() - 0.5) < 0.04  # five standard deviations


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", ["colour", "erase", "rotate"])
def test_layers_of_keras_draw_from_the_seed_alone_and_for_each_image(name, channels):
    function = AUGMENTATIONS[name].function
    after = AUGMENTATIONS[name].after_normalising
    batch = tf.constant(np.repeat(images(1, 12, 10, channels), 40, axis=0))
    batch = tf.cast(batch, tf.float32) / 255 if after else batch
    first, again, other = (
        function(batch, tf.constant(seed, tf.int64)).numpy() for seed in ([3, 1], [3, 1], [3, 2])
    )
    assert first.dtype == (np.float32 if after else np.uint8)
    assert first.shape == batch.shape
    assert first.tobytes() == again.tobytes()
    assert (first != other).any()
    kinds = len({image.tobytes() for image in first})
    assert kinds > 30 if name != "erase" else 15 < kinds < 35  # half of them stay as they are
    graph = tf.data.Dataset.from_tensors(0).map(lambda _: function(batch, tf.constant([3, 1], tf.int64)))
    np.testing.assert_allclose(next(iter(graph)).numpy().astype(float), first.astype(float), atol=1)


def test_a_rotation_is_that_of_keras_with_the_same_angles():
    batch = tf.constant(images(8, 16, 16), tf.float32)
    layer = keras.layers.RandomRotation(15 / 360, fill_mode="constant", seed=0)
    drawn = layer.get_random_transformation(batch, seed=FoldedSeeds(SEED))
    assert np.abs(drawn["angle"]).max() <= 15
    expected = layer.transform_images(batch, drawn)
    np.testing.assert_array_equal(rotate(tf.cast(batch, tf.uint8), SEED), np.round(expected).astype(np.uint8))


def test_colours_change_within_their_range_and_a_grey_image_stays_grey():
    grey = tf.constant(np.full((64, 4, 4, 3), 128, np.uint8))
    changed = colour(grey, SEED).numpy().astype(int)
    assert np.ptp(changed, axis=(1, 2, 3)).max() <= 1  # one colour an image, and no hue
    assert 128 - 51 <= changed.min() < 100
    assert 156 < changed.max() <= 128 + 51


def test_erasing_zeroes_a_rectangle_of_half_of_the_images():
    batch = tf.ones((2000, 16, 16, 2))
    holes = erase(batch, SEED).numpy() == 0
    touched = holes.any(axis=(1, 2, 3))
    assert abs(touched.mean() - 0.5) < 0.06
    for hole in holes[touched][:50]:
        rows, columns = np.nonzero(hole.any(axis=(1, 2)))[0], np.nonzero(hole.any(axis=(0, 2)))[0]
        assert hole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert hole.mean() < 0.45


@pytest.mark.parametrize(("height", "width", "side"), [(32, 32, 16), (8, 8, 4), (9, 15, 4), (28, 28, 14)])
def test_cutout_zeroes_one_square_clipped_at_the_borders(height, width, side):
    batch = images(600, height, width, 2).astype(np.float32)
    result = cutout(tf.constant(batch), SEED).numpy()
    rows, columns = set(), set()
    for before, after in zip(batch, result, strict=True):
        hole = (after == 0).all(axis=2)
        y, x = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
        expected = np.zeros((height, width), bool)
        expected[y[0] : y[-1] + 1, x[0] : x[-1] + 1] = True
        assert np.array_equal(hole, expected)
        assert np.array_equal(after[~hole], before[~hole])
        assert side // 2 <= len(y) <= side
        assert side // 2 <= len(x) <= side
        assert len(y) == side or y[0] == 0 or y[-1] == height - 1
        rows.update(y)
        columns.update(x)
    assert (len(rows), len(columns)) == (height, width)


def test_cutout_centre_is_uniform():
    side, size, count = 16, 32, 4000
    result = cutout(tf.ones([count, size, size, 1]), SEED).numpy()
    centres = np.arange(size)
    covered = np.minimum(centres + side // 2, size) - np.maximum(centres - side // 2, 0)
    assert abs((result == 0).mean() - covered.mean() ** 2 / size**2) < 0.004


def test_normalise_is_the_formula():
    batch = images(4, 3, 5, 3)
    mean, std = np.array([0.1, 0.5, 0.9]), np.array([0.2, 1.0, 0.3])
    result = normalise(tf.constant(batch), mean, std)
    assert result.dtype == tf.float32
    np.testing.assert_allclose(result, (batch / 255 - mean) / std, rtol=1e-5, atol=1e-6)


def test_cutout_comes_after_normalising_and_padding_before():
    batch = np.full((256, 8, 8, 1), 255, np.uint8)
    values = augment_and_normalise(batch, SEED, ["crop", "cutout"], mean=(0.25,), std=(0.5,)).numpy()
    assert {float(value) for value in np.unique(values)} == {-0.5, 0.0, 1.5}  # padding, hole, content


def test_each_augmentation_draws_from_its_own_seed():
    batch = images(32, 8, 8)
    both = augment_and_normalise(batch, SEED, ["flip", "cutout"], **PLAIN).numpy()
    alone = augment_and_normalise(batch, SEED, ["cutout"], **PLAIN).numpy()
    assert np.array_equal(both == 0, alone == 0)
    assert not np.array_equal(both, alone)


@pytest.mark.parametrize("name", sorted(name for name, own in AUGMENTATIONS.items() if not own.mixes))
def test_every_augmentation_is_a_pure_function_of_the_seed(name):
    batch = images(16, 8, 12, 3)
    arguments = {"names": [name], "mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0)}
    compiled = tf.function(lambda x, seed: augment_and_normalise(x, seed, **arguments))
    first = augment_and_normalise(batch, SEED, **arguments)
    assert first.shape == batch.shape
    assert first.dtype == tf.float32
    assert np.array_equal(first, augment_and_normalise(batch, SEED, **arguments))
    np.testing.assert_allclose(first, compiled(batch, SEED), rtol=1e-6, atol=1e-6)
    assert not np.array_equal(first, augment_and_normalise(batch, SEED + 1, **arguments))
    assert not np.array_equal(first, augment_and_normalise(batch, SEED, (), *list(arguments.values())[1:]))


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="among color_jitter, .*, rotate, got 'blur'"):
        augment_and_normalise(images(1, 4, 4), SEED, ["blur"], **PLAIN)
